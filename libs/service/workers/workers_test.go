package workers_test

import (
	"context"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"lavka/libs/service/workers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWorkersOutliveTheContextAndEndWithStop(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var ended atomic.Int32
	running := make(chan error, 2)
	run := func(ctx context.Context) {
		running <- ctx.Err()
		<-ctx.Done()
		ended.Add(1)
	}
	cancel()
	w := workers.Start(ctx, run, run)
	for range 2 {
		if err := <-running; err != nil {
			t.Errorf("the work was ended with its context: %v", err)
		}
	}
	w.Stop()
	if n := ended.Load(); n != 2 {
		t.Errorf("Stop returned when %d of 2 workers had ended", n)
	}
	w.Stop()
}

func TestUntilEndsWithTheContextAndWithStop(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(cancel func(), w *workers.Workers){
		"the context": func(cancel func(), _ *workers.Workers) { cancel() },
		"Stop":        func(_ func(), w *workers.Workers) { w.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan struct{})
			w := workers.Start(ctx, workers.Until(ctx, func(ctx context.Context) {
				<-ctx.Done()
				close(ended)
			}))
			end(cancel, w)
			<-ended
			w.Stop()
		})
	}
}
