// Package workers runs a service's background work. The work outlives the
// service's context by the time that requests take to finish, since those
// requests may still need it.
package workers

import (
	"context"
	"sync"
)

// Workers are functions that run until Stop.
type Workers struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// Start runs each function in a goroutine. Their context has the values of ctx
// and ends when Stop is called, not when ctx ends.
func Start(ctx context.Context, run ...func(context.Context)) *Workers {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Workers{cancel: cancel}
	for _, f := range run {
		w.wait.Go(func() { f(ctx) })
	}
	return w
}

// Stop ends the workers' context and waits until all have returned. Further
// calls do nothing.
func (w *Workers) Stop() {
	w.cancel()
	w.wait.Wait()
}
