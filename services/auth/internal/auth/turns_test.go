package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lavka/libs/domain/problem"
	"lavka/libs/testkit/waittest"
)

// queue is turns in which requests wait for as long as it takes, and the order in
// which the turns began.
type queue struct {
	*turns
	t     *testing.T
	mu    sync.Mutex
	order []string
	all   sync.WaitGroup
}

// A turn counts as 36 seconds of an hour: with one turn at a time, 100 requests wait.
const turnTook = time.Hour / 100

func newQueue(t *testing.T, atOnce int) *queue {
	t.Helper()
	return &queue{turns: newTurns(atOnce, time.Hour, turnTook, func() time.Time { return noon }), t: t}
}

// add adds a request that works for no time. It returns when the request waits.
func (q *queue) add(ctx context.Context, c claim) {
	q.t.Helper()
	before := q.waiting()
	q.all.Go(func() {
		end, err := q.enter(ctx, c, always)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				q.t.Error(err)
			}
			return
		}
		q.mu.Lock()
		q.order = append(q.order, c.login)
		q.mu.Unlock()
		end()
	})
	waittest.Eventually(q.t, "the request waits", func() bool { return q.waiting() == before+1 })
}

func (q *queue) hold(as caller) (end func()) {
	q.t.Helper()
	end, err := q.enter(q.t.Context(), claim{as, "holder", "holder"}, always)
	if err != nil {
		q.t.Fatal(err)
	}
	return end
}

// However many requests an address or a login has, those of others have their turns
// in between.
func TestTurnsAreFair(t *testing.T) {
	t.Parallel()
	q := newQueue(t, 1)
	end := q.hold(member)
	for range 4 {
		q.add(t.Context(), claim{member, "A", "a1"})
	}
	for range 2 {
		q.add(t.Context(), claim{member, "A", "a2"})
	}
	for _, c := range []claim{{member, "B", "b1"}, {member, "C", "c1"}, {member, "C", "c1"}} {
		q.add(t.Context(), c)
	}
	end()
	q.all.Wait()
	want := []string{"a1", "b1", "c1", "a2", "c1", "a1", "a2", "a1", "a1"}
	if !slices.Equal(q.order, want) {
		t.Errorf("%v, want %v", q.order, want)
	}
}

// What can be done within patience waits, whether it comes from one address or from
// many. The next one is refused immediately, and another address is not.
func TestOnlyWhatWouldWaitTooLongIsRefused(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]func(i int) string{
		"one address":    func(int) string { return "A" },
		"many addresses": func(i int) string { return fmt.Sprint("A", i) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t, 2)
			ends := []func(){q.hold(member), q.hold(member)}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			const fit = 2 * 100
			for i := range fit {
				q.add(ctx, claim{member, address(i), fmt.Sprint("login", i)})
			}
			_, err := q.enter(ctx, claim{member, address(fit), "late"}, always)
			if !errors.Is(err, ErrOverloaded) || problem.From(err).RetryAfter != turnTook/2 {
				t.Errorf("%v after %v, want %v", err, problem.From(err).RetryAfter, turnTook/2)
			}
			if n := q.waiting(); n != fit {
				t.Errorf("%d wait", n)
			}
			if name == "one address" {
				q.add(ctx, claim{member, "B", "other address"})
				q.add(ctx, claim{newcomer, "A", "newcomer"})
			}
			// When that time has passed, there is room again.
			ends[0]()
			waittest.Eventually(t, "all but one have had their turns", func() bool { return q.waiting() == 0 })
			ends[1]()
			cancel()
			q.all.Wait()
			if q.running != 0 || q.lines[member].running != 0 || q.lines[newcomer].running != 0 {
				t.Errorf("%d turns never end", q.running)
			}
		})
	}
}

// The number of requests that wait is bounded, even if they come from many addresses
// with many logins each.
func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	q := newQueue(t, 1)
	end := q.hold(member)
	refused := 0
	for i := range 5_000 {
		c := claim{member, fmt.Sprint("A", i%200), fmt.Sprint("login", i%7)}
		if q.wait(c) > q.patience {
			refused++
			continue
		}
		q.lines[member].push(&waiter{claim: c, may: always, began: make(chan error, 1)})
	}
	// The harmonic series: each address may have as many as fit among the others.
	if n := q.waiting(); n > 600 || n+refused != 5_000 {
		t.Errorf("%d wait", n)
	}
	end()
	if n := q.waiting(); n == 0 || q.running != 1 {
		t.Errorf("%d wait, %d run", n, q.running)
	}
}

// Of many requests that have waited for as long as they may, all but a few are
// refused. The few wait until their clients leave.
func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	ts := newTurns(1, 10*time.Millisecond, time.Microsecond, time.Now)
	end, err := ts.enter(t.Context(), claim{}, always) // takes longer than expected
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	const many = 20
	left := make(chan error, many)
	for range many {
		go func() {
			_, err := ts.enter(ctx, claim{}, always)
			left <- err
		}()
	}
	for range many - few {
		if err := <-left; !errors.Is(err, ErrOverloaded) || problem.From(err).RetryAfter != time.Second {
			t.Errorf("one of many: %v after %v", err, problem.From(err).RetryAfter)
		}
	}
	if n := ts.waiting(); n != few {
		t.Errorf("%d wait", n)
	}
	leave()
	for range few {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("one of the few whose client left: %v", err)
		}
	}
	end()
	if ts.running != 0 || ts.waiting() != 0 {
		t.Errorf("%d run, %d wait", ts.running, ts.waiting())
	}
}

// A client that leaves when its turn begins must not keep the turn.
func TestAClientLeavesAsItsTurnBegins(t *testing.T) {
	t.Parallel()
	ts := newTurns(1, time.Hour, time.Microsecond, time.Now)
	for range 200 {
		end, err := ts.enter(t.Context(), claim{}, always)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var both sync.WaitGroup
		both.Go(func() {
			if end, err := ts.enter(ctx, claim{}, always); err == nil {
				end()
			}
		})
		both.Go(cancel)
		end()
		both.Wait()
		if ts.running != 0 || ts.waiting() != 0 {
			t.Fatalf("%d run, %d wait", ts.running, ts.waiting())
		}
	}
}

// A storm of newcomers leaves members half of the turns, and the other way round.
func TestRegistrationsAndLoginsShareTheTurns(t *testing.T) {
	t.Parallel()
	t.Run("one turn at a time", func(t *testing.T) {
		t.Parallel()
		q := newQueue(t, 1)
		end := q.hold(newcomer)
		for range 3 {
			q.add(t.Context(), claim{newcomer, "A", "new"})
		}
		for range 3 {
			q.add(t.Context(), claim{member, "A", "old"})
		}
		end()
		q.all.Wait()
		if want := []string{"old", "new", "old", "new", "old", "new"}; !slices.Equal(q.order, want) {
			t.Errorf("%v, want %v", q.order, want)
		}
	})
	t.Run("several", func(t *testing.T) {
		t.Parallel()
		q := newQueue(t, 4)
		ctx, leave := context.WithCancel(t.Context())
		ends := []func(){q.hold(newcomer), q.hold(newcomer)}
		q.add(ctx, claim{newcomer, "A", "new"})
		for range 2 {
			q.hold(member)() // takes a turn that newcomers may not have
		}
		if q.running != 2 || q.waiting() != 1 {
			t.Errorf("%d turns, %d wait", q.running, q.waiting())
		}
		leave()
		q.all.Wait()
		for _, end := range ends {
			end()
		}
		if q.running != 0 {
			t.Errorf("%d turns never end", q.running)
		}
	})
}

// The expected duration of a turn follows what is measured.
func TestTheDurationOfATurnIsMeasured(t *testing.T) {
	t.Parallel()
	ts := newTurns(1, time.Hour, time.Second, time.Now)
	turn := func(took time.Duration) {
		end, err := ts.enter(t.Context(), claim{}, always)
		if err != nil {
			t.Fatal(err)
		}
		_ = end
		ts.end(member, took)
	}
	turn(time.Hour)
	if got := ts.lines[member].took; got > 1200*time.Millisecond {
		t.Errorf("one long turn counts as %v", got)
	}
	for range 100 {
		turn(4 * time.Second)
	}
	if got := ts.lines[member].took; got < 3900*time.Millisecond || got > 4*time.Second {
		t.Errorf("turns of 4 s count as %v", got)
	}
	for range 100 {
		turn(time.Second)
	}
	if got := ts.lines[member].took; got < time.Second || got > 1100*time.Millisecond {
		t.Errorf("turns of 1 s count as %v", got)
	}
}

// A request that may not begin yet does not keep others waiting, and one that is
// refused costs no turn.
func TestARequestThatMayNotBeginYet(t *testing.T) {
	t.Parallel()
	q := newQueue(t, 2)
	end := q.hold(member)
	may, mustWait, refusal := make(chan bool, 100), true, errors.New("no")
	done := make(chan error, 2)
	enter := func(c claim, b begin) {
		before := q.waiting()
		go func() {
			end, err := q.enter(t.Context(), c, b)
			if err == nil {
				end()
			}
			done <- err
		}()
		waittest.Eventually(t, "it waits", func() bool { return q.waiting() == before+1 })
	}
	enter(claim{member, "A", "a"}, func() (bool, error) { // called with the turns locked
		may <- !mustWait
		return !mustWait, nil
	})
	refused := false
	other := q.hold(member)
	enter(claim{member, "B", "b"}, func() (bool, error) {
		refused = true
		return false, refusal
	})
	other()
	if err := <-done; !errors.Is(err, refusal) || !refused {
		t.Errorf("%v", err)
	}
	q.hold(member)()
	if q.waiting() != 1 {
		t.Errorf("%d wait", q.waiting())
	}
	q.mu.Lock()
	mustWait = false
	q.mu.Unlock()
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Turns yield only while requests wait, and only as far as all that wait have their
// turns within half of patience.
func TestTurnsYield(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		waiting int
		pause   time.Duration
	}{
		"nothing waits":            {0, 0},
		"one waits":                {1, 20 * time.Millisecond},
		"many wait":                {100, 10 * time.Millisecond},
		"as many as patience lets": {200, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ts := newTurns(2, 2*time.Second, 10*time.Millisecond, time.Now)
				ctx, leave := context.WithCancel(t.Context())
				enter := func() func() {
					end, err := ts.enter(ctx, claim{}, always)
					if err != nil {
						t.Error(err)
					}
					return end
				}
				first, second := enter(), enter()
				began := make(chan time.Time, c.waiting+1)
				wait := func() {
					if end, err := ts.enter(ctx, claim{}, always); err == nil {
						began <- time.Now()
						<-ctx.Done()
						end()
					}
				}
				for range c.waiting {
					go wait()
				}
				synctest.Wait()
				time.Sleep(10 * time.Millisecond)
				ts.yield(20 * time.Millisecond)
				ended := time.Now()
				first()
				if c.waiting == 0 {
					go wait()
				}
				if got := (<-began).Sub(ended); got != c.pause {
					t.Errorf("a pause of %v, want %v", got, c.pause)
				}
				leave()
				second()
				synctest.Wait()
				if ts.running != 0 {
					t.Errorf("%d turns never end", ts.running)
				}
			})
		})
	}
}
