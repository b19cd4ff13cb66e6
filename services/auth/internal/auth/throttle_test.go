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
	a, err := t.Begin(login, address)
	if err == nil {
		a.End(Failed)
	}
	return err
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
			a, err := th.Begin("anna", "192.0.2.1")
			if err != nil {
				t.Fatal(err)
			}
			a.End(outcome)
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
	a, err := th.Begin("anna", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	a.End(Succeeded)
	for range perPair.burst {
		if err := th.fail("anna", "192.0.2.1"); err != nil {
			t.Errorf("success did not reset the pair: %v", err)
		}
	}
}

// An attempt in flight reserves a try, so that concurrent guesses get no more tries
// than sequential ones. The reservation is released when the attempt ends.
func TestThrottleHoldsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	th, clock := newThrottle(t)
	begin := func() Attempt {
		t.Helper()
		a, err := th.Begin("anna", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	refused := func(wait time.Duration) {
		t.Helper()
		_, err := th.Begin("anna", "192.0.2.1")
		if !errors.Is(err, ErrTooManyAttempts) || problem.From(err).RetryAfter != wait {
			t.Errorf("%v after %v, want %v", err, problem.From(err).RetryAfter, wait)
		}
	}
	var open []Attempt
	for range perPair.burst {
		open = append(open, begin())
	}
	refused(decided)
	open[0].End(Undecided)
	open[0] = begin()
	refused(decided)
	for i, a := range open {
		refused(decided)
		a.End(Failed)
		if i == 0 {
			refused(decided) // one has failed, the others are still in flight
		}
	}
	refused(perPair.every)
	clock.Time = clock.Add(perPair.every)
	last := begin()
	refused(decided)
	last.End(Succeeded)
	begin().End(Succeeded)
	if th.pairs.Len() != 0 {
		t.Error("success is remembered")
	}
}

// More attempts can be in flight than an address may fail. If all of them fail, the
// wait is still bounded.
func TestThrottleWaitIsBounded(t *testing.T) {
	t.Parallel()
	th, clock := newThrottle(t)
	var open []Attempt
	for i := range 3 * perAddress.burst {
		a, err := th.Begin(fmt.Sprint("user", i), "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, a)
	}
	for _, a := range open {
		a.End(Failed)
	}
	err := th.fail("anna", "192.0.2.1")
	if want := time.Duration(perAddress.burst) * perAddress.every; problem.From(err).RetryAfter != want {
		t.Errorf("%v after %v, want %v", err, problem.From(err).RetryAfter, want)
	}
	clock.Time = clock.Add(problem.From(err).RetryAfter)
	if err := th.fail("anna", "192.0.2.1"); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

func TestThrottleNewcomers(t *testing.T) {
	t.Parallel()
	th, clock := newThrottle(t)
	for range perNewcomers.burst {
		if err := th.MayJoin("192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		th.Joined("192.0.2.1")
	}
	if err := th.MayJoin("192.0.2.1"); !errors.Is(err, ErrTooManyAttempts) || problem.From(err).RetryAfter != perNewcomers.every {
		t.Errorf("%v after %v", err, problem.From(err).RetryAfter)
	}
	if err := th.MayJoin("192.0.2.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	if err := th.fail("anna", "192.0.2.1"); err != nil {
		t.Errorf("a login from an address that used up its registrations: %v", err)
	}
	clock.Time = clock.Add(perNewcomers.every)
	if err := th.MayJoin("192.0.2.1"); err != nil {
		t.Errorf("after the wait: %v", err)
	}
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
	a, err := th.Begin("anna", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	th.pairs.Purge()
	a.End(Failed)
	if both, ok := th.pairs.Get(a.key); !ok || both.inFlight != 0 || !both.failed.fullAt.Equal(noon.Add(perPair.every)) {
		t.Errorf("%+v", both)
	}
}
