package auth

import (
	"context"
	"errors"
	"sync"
	"testing"

	"lavka/libs/domain/problem"
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
		// The attempt over the limit is refused before the password is checked.
		if _, _, err := c.Check(t.Context(), "anna", "wrong", "192.0.2.1"); errors.Is(err, ErrTooManyAttempts) {
			break
		}
	}
	if _, _, err := c.Check(t.Context(), "anna", "violet tram", "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("the right password after too many wrong ones: %v, want ErrTooManyAttempts", err)
	}
	if _, _, err := c.Check(t.Context(), "anna", "violet tram", "192.0.2.7"); err != nil {
		t.Errorf("the owner from another address: %v", err)
	}
}

// A throttled attempt must not cost a hash: that is the purpose of the throttle.
func TestThrottleComesBeforeTheHash(t *testing.T) {
	t.Parallel()
	throttle, _ := newThrottle(t)
	for throttle.fail("anna", "192.0.2.1") == nil {
		continue
	}
	hasher := NewHasher(1, 0)
	hasher.all.places <- struct{}{} // so that hashing returns ErrOverloaded
	c := NewCredentials(credentialStore{}, hasher, throttle)
	if _, _, err := c.Check(t.Context(), "anna", "x", "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%v", err)
	}
	// An attempt whose password was never checked does not count.
	for range 2 * perPair.burst {
		if _, _, err := c.Check(t.Context(), "bert", "x", "192.0.2.1"); !errors.Is(err, ErrOverloaded) {
			t.Fatalf("%v", err)
		}
	}
}

// Concurrent guesses get no more tries than sequential ones, and the right password
// is accepted as soon as their outcome is known.
func TestManyGuessesAtOnce(t *testing.T) {
	t.Parallel()
	throttle, clock := newThrottle(t)
	hasher := NewHasher(2, 100)
	c := NewCredentials(credentialStore{"anna": hashPassword("violet tram")}, hasher, throttle)
	atOnce := func(password string, n int) (answers map[string]int) {
		answers = map[string]int{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				_, _, err := c.Check(t.Context(), "anna", password, "192.0.2.1")
				answer := "ok"
				if err != nil {
					answer = problem.From(err).Code
				}
				mu.Lock()
				defer mu.Unlock()
				answers[answer]++
			})
		}
		all.Wait()
		return answers
	}
	if got := atOnce("violet tram", perPair.burst); got["ok"] != perPair.burst {
		t.Errorf("concurrent logins with the right password: %v", got)
	}
	got := atOnce("wrong", 90)
	if got["invalid_credentials"] != perPair.burst || got["too_many_attempts"] != 90-perPair.burst {
		t.Errorf("concurrent guesses: %v, but only %d may be checked", got, perPair.burst)
	}
	_, _, err := c.Check(t.Context(), "anna", "violet tram", "192.0.2.1")
	wait := problem.From(err).RetryAfter
	if !errors.Is(err, ErrTooManyAttempts) || wait > perPair.every {
		t.Errorf("%v after %v, want %v at most", err, wait, perPair.every)
	}
	clock.Time = clock.Add(wait)
	if got := atOnce("violet tram", 1); got["ok"] != 1 {
		t.Errorf("after the wait: %v", got)
	}
}

// A newcomer that was refused because too many are waiting is not counted: it was
// told to retry.
func TestNewcomersAreCounted(t *testing.T) {
	t.Parallel()
	throttle, _ := newThrottle(t)
	hasher := NewHasher(1, 0)
	c := NewCredentials(credentialStore{"anna": hashPassword("violet tram")}, hasher, throttle)
	free := func() error { return nil }
	hasher.all.places <- struct{}{}
	if _, err := c.HashNewcomer(t.Context(), "bert", "violet tram 77 lamps", "192.0.2.1", free); !errors.Is(err, ErrOverloaded) {
		t.Errorf("%v", err)
	}
	if _, err := c.CheckNewcomer(t.Context(), "anna", "violet tram", "192.0.2.1"); !errors.Is(err, ErrOverloaded) {
		t.Errorf("%v", err)
	}
	<-hasher.all.places
	if throttle.newcomers.Len() != 0 {
		t.Error("newcomers that were refused were counted")
	}
	if _, err := c.HashNewcomer(t.Context(), "bert", "violet tram 77 lamps", "192.0.2.1", free); err != nil {
		t.Error(err)
	}
	if user, err := c.CheckNewcomer(t.Context(), "anna", "violet tram", "192.0.2.1"); err != nil || user.ID != 1 {
		t.Errorf("%+v %v", user, err)
	}
	if joined, _ := throttle.newcomers.Get("192.0.2.1"); !joined.fullAt.Equal(noon.Add(2 * perNewcomers.every)) {
		t.Errorf("two newcomers were not counted: %+v", joined)
	}
	if _, err := c.HashNewcomer(t.Context(), "anna", "violet tram 77 lamps", "192.0.2.1", func() error { return ErrLoginTaken }); !errors.Is(err, ErrLoginTaken) {
		t.Errorf("%v", err)
	}
	if joined, _ := throttle.newcomers.Get("192.0.2.1"); !joined.fullAt.Equal(noon.Add(3 * perNewcomers.every)) {
		t.Errorf("a registration for a taken login was not counted: %+v", joined)
	}
	for throttle.MayJoin("192.0.2.1") == nil {
		throttle.Joined("192.0.2.1")
	}
	if _, err := c.HashNewcomer(t.Context(), "bert", "violet tram 77 lamps", "192.0.2.1", free); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%v", err)
	}
	if _, err := c.CheckNewcomer(t.Context(), "anna", "violet tram", "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%v", err)
	}
	if _, _, err := c.Check(t.Context(), "anna", "violet tram", "192.0.2.1"); err != nil {
		t.Errorf("a login from an address that used up its registrations: %v", err)
	}
}
