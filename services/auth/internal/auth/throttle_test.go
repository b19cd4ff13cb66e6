package auth

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"lavka/libs/domain/problem"
)

type clock struct{ time.Time }

func newThrottle(t *testing.T) (*Throttle, *clock) {
	t.Helper()
	c := &clock{noon}
	th, err := NewThrottle(func() time.Time { return c.Time })
	if err != nil {
		t.Fatal(err)
	}
	return th, c
}

func (t *Throttle) fail(login, address string) error {
	a, began, err := t.Begin(login, address)
	if began {
		a.End(Failed)
	}
	return err
}

// begin begins an attempt for which there is a try.
func (t *Throttle) begin(tt *testing.T, login, address string) Attempt {
	tt.Helper()
	a, began, err := t.Begin(login, address)
	if !began || err != nil {
		tt.Fatal(began, err)
	}
	return a
}

// Who has set a new password with a link can log in at once, although they had failed
// too often before. The failures of the address stay.
func TestThrottleForgives(t *testing.T) {
	t.Parallel()
	th, _ := newThrottle(t)
	const address = "192.0.2.1"
	for i := range perAddress.burst {
		if err := th.fail(fmt.Sprint("user", i/perPair.burst), address); err != nil {
			t.Fatal(i, err)
		}
	}
	th.Forgive("USER0", "192.0.2.2")
	if err := th.Check("user0", address); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("the failures of the address were cleared: %v", err)
	}
	th, _ = newThrottle(t)
	for range perPair.burst {
		if err := th.fail("anna", address); err != nil {
			t.Fatal(err)
		}
	}
	th.Forgive("anna", "192.0.2.2")
	if err := th.Check("anna", address); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("another address's failures were cleared: %v", err)
	}
	th.Forgive("ANNA", address)
	if err := th.Check("anna", address); err != nil {
		t.Error(err)
	}
	th.Forgive("nobody", address)
}

// Every request to reset a password counts, for the pair and for the address, and
// apart from logins.
func TestThrottleResets(t *testing.T) {
	t.Parallel()
	th, clock := newThrottle(t)
	const address = "192.0.2.1"
	for range perReset.burst {
		if err := th.Request("anna", address); err != nil {
			t.Fatal(err)
		}
	}
	clock.Time = clock.Add(time.Second)
	err := th.Request("ANNA", address)
	if !errors.Is(err, ErrTooManyAttempts) || problem.From(err).RetryAfter != perReset.every-time.Second {
		t.Fatalf("%v after %v, want to wait %v", err, problem.From(err).RetryAfter, perReset.every-time.Second)
	}
	if err := th.Request("anna", "192.0.2.2"); err != nil {
		t.Errorf("from another address: %v", err)
	}
	if err := th.Check("anna", address); err != nil {
		t.Errorf("a login: %v", err)
	}
	for i := range perResetAddress.burst - perReset.burst {
		if err := th.Request(fmt.Sprint("user", i), address); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := th.Request("bert", address); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%d from one address: %v", perResetAddress.burst+1, err)
	}
	for i := range perReset.burst + 1 { // no user can have these logins
		if err := th.Request(fmt.Sprint("?", i), "192.0.2.3"); (err != nil) != (i == perReset.burst) {
			t.Errorf("invalid login %d: %v", i, err)
		}
	}
	clock.Time = clock.Add(perReset.every)
	if err := th.Request("anna", "192.0.2.2"); err != nil {
		t.Error(err)
	}
	for range throttled + 10 {
		clock.Time = clock.Add(time.Nanosecond)
		_ = th.Request("anna", fmt.Sprint(clock.UnixNano()))
	}
	if n, m := th.resets.Len(), th.resetAddrs.Len(); n > throttled || m > throttled {
		t.Errorf("%d pairs and %d addresses are kept", n, m)
	}
}

func TestThrottlePair(t *testing.T) {
	t.Parallel()
	th, clock := newThrottle(t)
	for range perPair.burst {
		if err := th.fail("anna", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	clock.Time = clock.Add(time.Second)
	err := th.fail("ANNA", "192.0.2.1")
	if !errors.Is(err, ErrTooManyAttempts) || problem.From(err).RetryAfter != perPair.every-time.Second {
		t.Fatalf("%v after %v, want to wait %v", err, problem.From(err).RetryAfter, perPair.every-time.Second)
	}
	if err := th.fail("anna", "192.0.2.2"); err != nil {
		t.Errorf("the owner is locked out at another address: %v", err)
	}
	if err := th.fail("bert", "192.0.2.1"); err != nil {
		t.Errorf("another login from the same address is locked out: %v", err)
	}
	clock.Time = clock.Add(perPair.every - time.Second)
	if err := th.fail("anna", "192.0.2.1"); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	if err := th.fail("anna", "192.0.2.1"); err == nil {
		t.Error("one wait allowed two tries")
	}
}

func TestThrottleAddress(t *testing.T) {
	t.Parallel()
	th, _ := newThrottle(t)
	for i := range perAddress.burst {
		if err := th.fail(fmt.Sprint("user", i), "2001:db8:1:2::1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := th.fail("anna", "2001:db8:1:2:ffff::7"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("another address of the same network: %v", err)
	}
	if err := th.fail("anna", "2001:db8:1:3::1"); err != nil {
		t.Errorf("the neighbouring network: %v", err)
	}
	if got := th.pairs.Len(); got != perAddress.burst+1 {
		t.Errorf("%d pairs are remembered: refused attempts must not add any", got)
	}
}

func TestThrottleForgets(t *testing.T) {
	t.Parallel()
	th, _ := newThrottle(t)
	for range 3 * perAddress.burst { // successful and undecided attempts do not count
		for _, outcome := range []Outcome{Succeeded, Undecided} {
			th.begin(t, "anna", "192.0.2.1").End(outcome)
		}
	}
	if th.pairs.Len() != 0 || th.addrs.Len() != 0 {
		t.Error("success is remembered")
	}
	for range perPair.burst - 1 {
		if err := th.fail("anna", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	th.begin(t, "anna", "192.0.2.1").End(Succeeded)
	for range perPair.burst {
		if err := th.fail("anna", "192.0.2.1"); err != nil {
			t.Errorf("success did not reset the pair: %v", err)
		}
	}
}

// Logging in with an account of one's own gives no more guesses at others.
func TestSuccessDoesNotClearTheAddress(t *testing.T) {
	t.Parallel()
	th, _ := newThrottle(t)
	for i := range perAddress.burst {
		if err := th.fail(fmt.Sprint("user", i), "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		if i < perAddress.burst-1 {
			th.begin(t, "mallory", "192.0.2.1").End(Succeeded)
		}
	}
	if err := th.fail("anna", "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("%v, want ErrTooManyAttempts", err)
	}
}

// An attempt in flight reserves a try, so that concurrent guesses get no more tries
// than sequential ones. The reservation is released when the attempt ends.
func TestThrottleHoldsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit limit
		login func(i int) string
	}{
		"the tries of a login":    {perPair, func(int) string { return "anna" }},
		"the tries of an address": {perAddress, func(i int) string { return fmt.Sprint("user", i) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			th, clock := newThrottle(t)
			i := 0
			begin := func() Attempt {
				t.Helper()
				i++
				return th.begin(t, c.login(i), "192.0.2.1")
			}
			waits := func() {
				t.Helper()
				if _, began, err := th.Begin(c.login(0), "192.0.2.1"); began || err != nil {
					t.Errorf("%v %v, want to wait for those in flight", began, err)
				}
			}
			refused := func(wait time.Duration) {
				t.Helper()
				_, began, err := th.Begin(c.login(0), "192.0.2.1")
				if began || !errors.Is(err, ErrTooManyAttempts) || problem.From(err).RetryAfter != wait {
					t.Errorf("%v after %v, want %v", err, problem.From(err).RetryAfter, wait)
				}
				if err := th.Check(c.login(0), "192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) || problem.From(err).RetryAfter != wait {
					t.Errorf("%v after %v, want %v", err, problem.From(err).RetryAfter, wait)
				}
			}
			var open []Attempt
			for range c.limit.burst {
				open = append(open, begin())
			}
			waits()
			if err := th.Check(c.login(0), "192.0.2.1"); err != nil {
				t.Errorf("%v, but none has failed", err)
			}
			open[0].End(Undecided)
			open[0] = begin()
			waits()
			for _, a := range open {
				waits()
				a.End(Failed)
			}
			refused(c.limit.every)
			clock.Time = clock.Add(c.limit.every)
			last := begin()
			waits()
			last.End(Succeeded)
			begin().End(Undecided)
			clock.Time = clock.Add(24 * time.Hour)
			begin().End(Undecided)
			if th.addrs.Len() != 0 || c.limit == perPair && th.pairs.Len() != 0 {
				t.Error("failures of a day ago are remembered")
			}
		})
	}
}

// An attacker who keeps as many guesses in flight as the address has tries gets no
// more of them decided than one who sends them one by one.
func TestGuessesAtOnceGainNothing(t *testing.T) {
	t.Parallel()
	const during = 200 * time.Second
	guess := func(atOnce int) (decided int) {
		th, clock := newThrottle(t)
		for end := clock.Add(during); clock.Before(end); clock.Time = clock.Add(time.Second) {
			for begun := true; begun; {
				var open []Attempt
				for range atOnce {
					if a, began, _ := th.Begin(fmt.Sprint("user", decided+len(open)), "192.0.2.1"); began {
						open = append(open, a)
					}
				}
				for _, a := range open {
					a.End(Failed)
				}
				decided += len(open)
				begun = len(open) > 0
			}
		}
		return decided
	}
	one, many := guess(1), guess(100)
	if want := perAddress.burst + int(during/perAddress.every); one > want || many != one {
		t.Errorf("%d guesses one by one, %d at once, want at most %d", one, many, want)
	}
}

func TestThrottleNewcomers(t *testing.T) {
	t.Parallel()
	th, clock := newThrottle(t)
	join := func() func(bool) {
		t.Helper()
		end, err := th.Join("192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		return end
	}
	refused := func(wait time.Duration) {
		t.Helper()
		if _, err := th.Join("192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) || problem.From(err).RetryAfter != wait {
			t.Errorf("%v after %v, want %v", err, problem.From(err).RetryAfter, wait)
		}
	}
	var open []func(bool)
	for range perNewcomers.burst {
		open = append(open, join())
	}
	refused(decided)
	open[0](false)
	open[0] = join()
	refused(decided)
	for _, end := range open {
		end(true)
	}
	refused(perNewcomers.every)
	if _, err := th.Join("192.0.2.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	if err := th.fail("anna", "192.0.2.1"); err != nil {
		t.Errorf("a login from an address that used up its registrations: %v", err)
	}
	clock.Time = clock.Add(perNewcomers.every)
	join()(true)
	refused(perNewcomers.every)
}

func TestThrottleMemoryIsBounded(t *testing.T) {
	t.Parallel()
	th, _ := newThrottle(t)
	for i := range throttled + 100 {
		if err := th.fail("anna", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)); err != nil {
			t.Fatal(err)
		}
	}
	if th.pairs.Len() != throttled || th.addrs.Len() != throttled {
		t.Errorf("%d pairs and %d addresses are remembered", th.pairs.Len(), th.addrs.Len())
	}
	// Invalid logins share one pair.
	th, _ = newThrottle(t)
	for i := range 5 {
		if err := th.fail(fmt.Sprint("?", i), "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	if th.pairs.Len() != 1 {
		t.Errorf("%d pairs", th.pairs.Len())
	}
	// A failure counts even if its pair was evicted while the attempt was in flight.
	th, _ = newThrottle(t)
	a := th.begin(t, "anna", "192.0.2.1")
	th.pairs.Purge()
	a.End(Failed)
	if both, ok := th.pairs.Get(a.key); !ok || both.inFlight != 0 || !both.used.fullAt.Equal(noon.Add(perPair.every)) {
		t.Errorf("%+v", both)
	}
}
