package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"lavka/libs/domain/problem"
	"lavka/libs/testkit/waittest"
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
	c := NewCredentials(credentialStore{"anna": hashPassword("violet tram")}, newHasher(2), throttle, DefaultStrength)
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

// A throttled attempt must not cost a hash, nor wait for one: that is the purpose of
// the throttle.
func TestThrottleComesBeforeTheHash(t *testing.T) {
	t.Parallel()
	throttle, _ := newThrottle(t)
	for throttle.fail("anna", "192.0.2.1") == nil {
		continue
	}
	hasher := newHasher(1)
	defer hasher.hold(t)()
	c := NewCredentials(credentialStore{}, hasher, throttle, DefaultStrength)
	if _, _, err := c.Check(t.Context(), "anna", "x", "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%v", err)
	}
	// An attempt whose password was never checked does not count.
	hasher.turns.patience, hasher.turns.few = 1, 0
	for range 2 * perPair.burst {
		if _, _, err := c.Check(t.Context(), "bert", "x", "192.0.2.1"); !errors.Is(err, ErrOverloaded) {
			t.Fatalf("%v", err)
		}
	}
}

// atOnce checks passwords concurrently, and returns the number of each answer.
func (c *Credentials) atOnce(t *testing.T, n int, login func(i int) string, password string) map[string]int {
	t.Helper()
	answers := map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			_, _, err := c.Check(t.Context(), login(i), password, "192.0.2.1")
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

// Concurrent guesses get no more tries than sequential ones. The right password is
// never refused as a guess, however often it is sent at once, and is accepted as
// soon as the outcome of wrong ones is known.
func TestManyGuessesAtOnce(t *testing.T) {
	t.Parallel()
	throttle, clock := newThrottle(t)
	hasher := newHasher(2)
	hasher.compare = func(phc, password string) (bool, error) { return phc == password, nil }
	c := NewCredentials(credentialStore{"anna": "violet tram"}, hasher, throttle, DefaultStrength)
	anna := func(int) string { return "anna" }
	if got := c.atOnce(t, 100, anna, "violet tram"); got["ok"] != 100 {
		t.Errorf("concurrent logins with the right password: %v", got)
	}
	got := c.atOnce(t, 90, anna, "wrong")
	if got["invalid_credentials"] != perPair.burst || got["too_many_attempts"] != 90-perPair.burst {
		t.Errorf("concurrent guesses: %v, but only %d may be checked", got, perPair.burst)
	}
	_, _, err := c.Check(t.Context(), "anna", "violet tram", "192.0.2.1")
	wait := problem.From(err).RetryAfter
	if !errors.Is(err, ErrTooManyAttempts) || wait > perPair.every {
		t.Errorf("%v after %v, want %v at most", err, wait, perPair.every)
	}
	clock.Time = clock.Add(wait)
	if got := c.atOnce(t, 50, anna, "violet tram"); got["ok"] != 50 {
		t.Errorf("after the wait, when one try is left: %v", got)
	}
}

// While the attempts in flight have reserved all tries of a login, others wait for
// their outcome although there are free turns.
func TestAttemptsWaitForThoseInFlight(t *testing.T) {
	t.Parallel()
	throttle, _ := newThrottle(t)
	hasher := newHasher(2 * perPair.burst)
	outcome := make(chan struct{})
	hasher.compare = func(phc, password string) (bool, error) {
		<-outcome
		return phc == password, nil
	}
	c := NewCredentials(credentialStore{"anna": "violet tram"}, hasher, throttle, DefaultStrength)
	const n = 20
	answers := make(chan map[string]int)
	go func() { answers <- c.atOnce(t, n, func(int) string { return "anna" }, "violet tram") }()
	waittest.Eventually(t, "all but the reserved tries wait", func() bool { return hasher.Waiting() == n-perPair.burst })
	close(outcome)
	if got := <-answers; got["ok"] != n {
		t.Errorf("%v, want the right password to be accepted", got)
	}
}

// Guesses at many logins from one address get no more tries than sequential ones
// either.
func TestManyGuessesAtManyLoginsAtOnce(t *testing.T) {
	t.Parallel()
	throttle, _ := newThrottle(t)
	hasher := newHasher(2)
	hasher.compare = func(phc, password string) (bool, error) { return phc == password, nil }
	c := NewCredentials(credentialStore{}, hasher, throttle, DefaultStrength)
	const n = 500
	got := c.atOnce(t, n, func(i int) string { return fmt.Sprint("user", i) }, "wrong")
	if got["invalid_credentials"] != perAddress.burst || got["too_many_attempts"] != n-perAddress.burst {
		t.Errorf("concurrent guesses: %v, but only %d may be checked", got, perAddress.burst)
	}
}

// A newcomer that was refused because too many are waiting is not counted: it was
// told to retry.
func TestNewcomersAreCounted(t *testing.T) {
	t.Parallel()
	throttle, _ := newThrottle(t)
	hasher := newHasher(1)
	c := NewCredentials(credentialStore{"anna": hashPassword("violet tram")}, hasher, throttle, DefaultStrength)
	register := func(taken error) error {
		return c.AsNewcomer("192.0.2.1", func() error {
			_, err := c.HashNewcomer(t.Context(), "bert", "violet tram 77 lamps", "192.0.2.1", func() error { return taken })
			return err
		})
	}
	end := hasher.hold(t)
	hasher.turns.patience, hasher.turns.few = 1, 0
	if err := register(nil); !errors.Is(err, ErrOverloaded) {
		t.Errorf("%v", err)
	}
	if _, err := c.CheckNewcomer(t.Context(), "anna", "violet tram", "192.0.2.1"); !errors.Is(err, ErrOverloaded) {
		t.Errorf("%v", err)
	}
	end()
	hasher.turns.patience, hasher.turns.few = time.Hour, few
	if throttle.newcomers.Len() != 0 {
		t.Error("newcomers that were refused were counted")
	}
	counted := func(n int) {
		t.Helper()
		if joined, _ := throttle.newcomers.Get("192.0.2.1"); joined.inFlight != 0 || !joined.used.fullAt.Equal(noon.Add(time.Duration(n)*perNewcomers.every)) {
			t.Errorf("%+v, want %d newcomers", joined, n)
		}
	}
	if err := register(nil); err != nil {
		t.Error(err)
	}
	if user, err := c.CheckNewcomer(t.Context(), "anna", "violet tram", "192.0.2.1"); err != nil || user.ID != 1 {
		t.Errorf("%+v %v", user, err)
	}
	counted(2)
	if err := register(ErrLoginTaken); !errors.Is(err, ErrLoginTaken) {
		t.Errorf("%v", err)
	}
	counted(3)
	for {
		end, err := throttle.Join("192.0.2.1")
		if err != nil {
			break
		}
		end(true)
	}
	if err := register(nil); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%v", err)
	}
	if _, err := c.CheckNewcomer(t.Context(), "anna", "violet tram", "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%v", err)
	}
	if _, _, err := c.Check(t.Context(), "anna", "violet tram", "192.0.2.1"); err != nil {
		t.Errorf("a login from an address that used up its registrations: %v", err)
	}
}
