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

// Until returns f as a function that also ends when ctx ends: for work that must not
// outlive the service's context.
func Until(ctx context.Context, f func(context.Context)) func(context.Context) {
	return func(running context.Context) {
		both, cancel := context.WithCancel(running)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		f(both)
	}
}

// Stop ends the workers' context and waits until all have returned. Further
// calls do nothing.
func (w *Workers) Stop() {
	w.cancel()
	w.wait.Wait()
}
