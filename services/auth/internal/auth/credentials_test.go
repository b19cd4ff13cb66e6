package auth

import (
	"context"
	"errors"
	"testing"
)

type credentialStore map[string]string // hash by login

func (s credentialStore) Credential(_ context.Context, login string) (User, string, error) {
	if hash, ok := s[Fold(login)]; ok {
		return User{ID: 1, Login: login}, hash, nil
	}
	return User{}, "", ErrUserNotFound
}

func TestCheckCredentials(t *testing.T) {
	t.Parallel()
	throttle, _ := newThrottle(t)
	c := NewCredentials(credentialStore{"anna": hashPassword("violet tram")}, NewHasher(2, 10), throttle)
	if user, _, err := c.Check(t.Context(), "Anna", "violet tram", "192.0.2.1"); err != nil || user.ID != 1 {
		t.Errorf("the right password: %v %v", user, err)
	}
	for _, pair := range [][2]string{{"anna", "violet tran"}, {"bert", "violet tram"}, {"not a login", "violet tram"}, {"", ""}} {
		if _, _, err := c.Check(t.Context(), pair[0], pair[1], "192.0.2.1"); !errors.Is(err, ErrInvalidCredentials) {
			t.Errorf("%q: %v", pair, err)
		}
	}
	for range perPair.burst {
		// The one that goes over the limit is refused without a look.
		if _, _, err := c.Check(t.Context(), "anna", "wrong", "192.0.2.1"); errors.Is(err, ErrTooManyAttempts) {
			break
		}
	}
	if _, _, err := c.Check(t.Context(), "anna", "violet tram", "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("the right password after too many wrong ones: %v", err)
	}
	if _, _, err := c.Check(t.Context(), "anna", "violet tram", "192.0.2.7"); err != nil {
		t.Errorf("the owner elsewhere: %v", err)
	}
}

// A throttled attempt must cost no hash: that is what throttling is for.
func TestThrottleComesBeforeTheHash(t *testing.T) {
	t.Parallel()
	throttle, _ := newThrottle(t)
	for throttle.fail("anna", "192.0.2.1") == nil {
		continue
	}
	hasher := NewHasher(1, 0)
	hasher.slots <- struct{}{} // whoever hashes is told overloaded
	c := NewCredentials(credentialStore{}, hasher, throttle)
	if _, _, err := c.Check(t.Context(), "anna", "x", "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%v", err)
	}
	// Nor does an attempt count that was never looked at.
	for range 2 * perPair.burst {
		if _, _, err := c.Check(t.Context(), "bert", "x", "192.0.2.1"); !errors.Is(err, ErrOverloaded) {
			t.Fatalf("%v", err)
		}
	}
}
