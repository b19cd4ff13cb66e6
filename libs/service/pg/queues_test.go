package pg_test

import (
	"context"
	"errors"
	"testing"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/waittest"
)

func TestQueues(t *testing.T) {
	t.Parallel()
	var q pg.Queues[int]
	running, gate := make(chan int, 10), make(chan struct{})
	results := make(chan error, 10)
	start := func(ctx context.Context, key, n int) {
		begun := make(chan struct{})
		go func() {
			close(begun)
			results <- q.Do(ctx, key, func() error {
				running <- n
				<-gate
				return nil
			})
		}()
		<-begun
	}
	start(t.Context(), 1, 1)
	if n := <-running; n != 1 {
		t.Fatal(n)
	}
	ctx, leave := context.WithCancel(t.Context())
	start(ctx, 1, 2)
	leave()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("one that left: %v", err)
	}
	start(t.Context(), 1, 3) // waits for the first, although the one before it has left
	start(t.Context(), 2, 4) // another key does not wait
	if n := <-running; n != 4 {
		t.Errorf("%d runs", n)
	}
	select {
	case n := <-running:
		t.Errorf("%d runs beside the first", n)
	default:
	}
	close(gate)
	for range 3 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := <-running; n != 3 {
		t.Errorf("%d ran last", n)
	}
	waittest.Eventually(t, "the queues are empty", func() bool { return pg.Queued(&q) == 0 })
}
