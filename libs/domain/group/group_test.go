package group_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lavka/libs/domain/group"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestItemsThatArriveMeanwhileAreInTheNextGroup(t *testing.T) {
	t.Parallel()
	started, release := make(chan int, 10), make(chan struct{})
	g := group.New(group.Config{Max: 100, Queue: 100, InFlight: 1}, func(_ context.Context, items []int) []int {
		started <- len(items)
		<-release
		return items
	})
	results := make(chan int, 10)
	add := func(i int) {
		if err := g.Add(t.Context(), i, func(r int) { results <- r }); err != nil {
			t.Error(err)
		}
	}
	add(0)
	if n := <-started; n != 1 {
		t.Fatalf("the first group has %d items", n)
	}
	for i := 1; i <= 5; i++ {
		add(i)
	}
	release <- struct{}{}
	if n := <-started; n != 5 {
		t.Errorf("the second group has %d items, want all 5 that waited", n)
	}
	release <- struct{}{}
	for want := range 6 {
		if got := <-results; got != want {
			t.Errorf("result %d, want %d: order of arrival", got, want)
		}
	}
	g.Close()
}

func TestEveryItemIsSettledOnceAndGroupsAreBounded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[int]int{}
	g := group.New(group.Config{Max: 7, Queue: 1000, InFlight: 3}, func(_ context.Context, items []int) []int {
		if len(items) > 7 {
			t.Errorf("a group of %d", len(items))
		}
		mu.Lock()
		defer mu.Unlock()
		for _, i := range items {
			seen[i]++
		}
		return items
	})
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			if r, err := g.Do(context.Background(), i); err != nil || r != i {
				t.Errorf("item %d: %d, %v", i, r, err)
			}
		})
	}
	all.Wait()
	g.Close()
	for i := range 1000 {
		if seen[i] != 1 {
			t.Errorf("item %d was settled %d times", i, seen[i])
		}
	}
}

func TestAFullQueueRefusesAtOnceAndCloseSettlesTheRest(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}, 10), make(chan struct{})
	g := group.New(group.Config{Max: 10, Queue: 2, InFlight: 1}, func(_ context.Context, items []int) []int {
		started <- struct{}{}
		<-release
		return items
	})
	settled := make(chan int, 10)
	keep := func(r int) { settled <- r }
	if err := g.Add(t.Context(), 1, keep); err != nil {
		t.Fatal(err)
	}
	<-started
	for i := 2; i <= 3; i++ {
		if err := g.Add(t.Context(), i, keep); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Add(t.Context(), 4, keep); !errors.Is(err, group.ErrFull) {
		t.Fatalf("a full queue: %v", err)
	}
	close(release)
	g.Close()
	if len(settled) != 3 {
		t.Errorf("%d settled after Close, want 3", len(settled))
	}
	if err := g.Add(t.Context(), 5, keep); !errors.Is(err, group.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	g.Close()
}

func TestACanceledCallerLosesOnlyItsResult(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	settled := make(chan int, 1)
	g := group.New(group.Config{Max: 1, Queue: 1, InFlight: 1}, func(_ context.Context, items []int) []int {
		<-release
		settled <- items[0]
		return items
	})
	ctx, leave := context.WithCancel(context.Background())
	leave()
	if _, err := g.Do(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Fatalf("Do: %v", err)
	}
	close(release)
	if got := <-settled; got != 1 {
		t.Errorf("settled %d", got)
	}
	g.Close()
}

func TestAGroupIsHeldUntilItIsLargeEnough(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(g *group.Group[int, int], wanted *atomic.Int64){
		"by what comes":             func(g *group.Group[int, int], _ *atomic.Int64) { add(t, g, 3) },
		"since less will do":        func(g *group.Group[int, int], wanted *atomic.Int64) { wanted.Store(2); g.Recheck() },
		"since it does not wait on": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holdFor := time.Hour
			if end == nil {
				holdFor = time.Millisecond
			}
			asked, started := make(chan int, 100), make(chan int, 10)
			var wanted atomic.Int64
			wanted.Store(3)
			g := group.New(group.Config{Max: 100, Queue: 100, InFlight: 1, HoldFor: holdFor, Hold: func(items int) bool {
				asked <- items
				return items < int(wanted.Load())
			}}, func(_ context.Context, items []int) []int {
				started <- len(items)
				return items
			})
			add(t, g, 1)
			if end == nil {
				<-started
			} else {
				add(t, g, 2)
				for n := range asked { // until both are held
					if n == 2 {
						break
					}
				}
				if len(started) > 0 {
					t.Fatalf("a group of %d began", <-started)
				}
				end(g, &wanted)
				if n := <-started; n < 2 {
					t.Errorf("a group of %d began", n)
				}
			}
			g.Close()
		})
	}
}

// Each answer calls Recheck, so it must cost nothing while no group is held back.
func TestRecheckIsForHeldGroupsOnly(t *testing.T) {
	t.Parallel()
	asked := make(chan int, 100)
	g := group.New(group.Config{Max: 100, Queue: 100, InFlight: 1, HoldFor: time.Hour, Hold: func(items int) bool {
		asked <- items
		return items < 2
	}}, func(_ context.Context, items []int) []int { return items })
	add(t, g, 1)
	<-asked      // it is held
	add(t, g, 2) // with this one, it is not
	g.Close()
	before := len(asked)
	g.Recheck()
	if again := len(asked) - before; again != 0 {
		t.Errorf("Recheck called Hold %d times after the group", again)
	}
}

func TestAFullGroupIsNotHeld(t *testing.T) {
	t.Parallel()
	for _, waiting := range []int{3, 4} {
		begun, end := make(chan int, 10), make(chan struct{})
		g := group.New(group.Config{Max: 3, Queue: 10, InFlight: 1, HoldFor: time.Hour, Hold: func(items int) bool {
			return items > 1 // the first goes alone, so that others wait behind it
		}}, func(_ context.Context, items []int) []int {
			begun <- len(items)
			<-end
			return items
		})
		add(t, g, 0)
		<-begun
		for i := range waiting {
			add(t, g, i)
		}
		end <- struct{}{}
		select {
		case n := <-begun:
			if n != 3 {
				t.Errorf("a group of %d began", n)
			}
		case <-time.After(time.Minute):
			t.Fatal("it was held")
		}
		end <- struct{}{}
		if waiting > 3 {
			if n := <-begun; n != 1 {
				t.Errorf("a group of %d began behind the full one", n)
			}
			end <- struct{}{}
		}
		g.Close()
	}
}

func add(t *testing.T, g *group.Group[int, int], item int) {
	t.Helper()
	if err := g.Add(t.Context(), item, func(int) {}); err != nil {
		t.Error(err)
	}
}
