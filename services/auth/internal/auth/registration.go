package auth

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// registrations lets one registration of a login run at a time. Once it has
// succeeded, those that wait for it are refused without any work. The zero value is
// ready for use.
type registrations struct {
	mu      sync.Mutex
	waiting map[string][]chan bool // of logins that are being registered; true means that the login is taken
}

// do calls register when no other registration of the login is running. It returns
// ErrLoginTaken instead if another one finds the login taken or takes it, and the
// error of ctx if ctx ends first.
func (r *registrations) do(ctx context.Context, login string, register func() error) (err error) {
	taken, err := r.wait(ctx, login)
	if err != nil {
		return err
	}
	if taken {
		return ErrLoginTaken
	}
	registered := false // also if register panics
	defer func() { r.end(login, registered || errors.Is(err, ErrLoginTaken)) }()
	err = register()
	registered = err == nil
	return err
}

// wait returns true if the login is taken, and otherwise when it is the caller's
// turn.
func (r *registrations) wait(ctx context.Context, login string) (taken bool, err error) {
	r.mu.Lock()
	if _, running := r.waiting[login]; !running {
		if r.waiting == nil {
			r.waiting = map[string][]chan bool{}
		}
		r.waiting[login] = nil
		r.mu.Unlock()
		return false, nil
	}
	turn := make(chan bool, 1)
	r.waiting[login] = append(r.waiting[login], turn)
	r.mu.Unlock()
	select {
	case taken := <-turn:
		return taken, nil
	case <-ctx.Done():
		return false, r.leave(login, turn, ctx.Err())
	}
}

// leave removes a registration that no longer waits. If it is its turn, the next one
// gets it.
func (r *registrations) leave(login string, turn chan bool, why error) error {
	r.mu.Lock()
	waiting := r.waiting[login]
	if i := slices.Index(waiting, turn); i >= 0 {
		r.waiting[login] = slices.Delete(waiting, i, i+1)
		r.mu.Unlock()
		return why
	}
	r.mu.Unlock()
	if taken := <-turn; !taken {
		r.end(login, false)
	}
	return why
}

// end ends the running registration of a login.
func (r *registrations) end(login string, taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.waiting[login]
	switch {
	case taken:
		delete(r.waiting, login)
		for _, turn := range waiting {
			turn <- true
		}
	case len(waiting) == 0:
		delete(r.waiting, login)
	default:
		r.waiting[login] = waiting[1:]
		waiting[0] <- false
	}
}
