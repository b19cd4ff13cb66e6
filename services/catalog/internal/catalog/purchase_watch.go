package catalog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

// MaxWatch is how long a request waits for a purchase to be settled, at most.
const MaxWatch = 15 * time.Second

// The most requests of a replica that wait for purchases to be settled. Others are
// answered at once.
const (
	maxWatching     = 256
	maxWatchingEach = 32 // of one user
)

// WatchStore looks for purchases that have been settled.
type WatchStore interface {
	// SettledOf returns those of the purchases that are settled.
	SettledOf(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error)
}

// Watch lets requests wait until purchases are settled, by whichever replica.
type Watch struct {
	store WatchStore
	log   *slog.Logger
	every time.Duration
	ended chan struct{} // closed when Run ends

	mu    sync.Mutex
	by    map[uuid.UUID]*watched
	all   int           // requests that wait
	users map[int64]int // of each
}

// watched is a purchase that requests wait for.
type watched struct {
	waiting int
	settled chan struct{}
}

// NewWatch returns a Watch that looks once in every.
func NewWatch(store WatchStore, every time.Duration, log *slog.Logger) *Watch {
	return &Watch{store: store, log: log, every: every, ended: make(chan struct{}), by: map[uuid.UUID]*watched{}, users: map[int64]int{}}
}

// Run looks for settled purchases until ctx ends: in one statement for all requests
// that wait. Then it releases them, and no more can wait. It must be called once.
func (w *Watch) Run(ctx context.Context) {
	defer close(w.ended)
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := w.once(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			w.log.WarnContext(ctx, "can't look for settled purchases that requests wait for; retrying", "error", err)
		}
		failing = err != nil
	}
}

func (w *Watch) once(ctx context.Context) error {
	ids := w.ids()
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	settled, err := w.store.SettledOf(ctx, ids)
	for _, id := range settled {
		w.settled(id)
	}
	return err
}

func (w *Watch) ids() []uuid.UUID {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]uuid.UUID, 0, len(w.by))
	for id := range w.by {
		ids = append(ids, id)
	}
	return ids
}

// settled releases the requests that wait for a purchase.
func (w *Watch) settled(id uuid.UUID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one, ok := w.by[id]; ok {
		close(one.settled)
		delete(w.by, id)
	}
}

// enter adds a request that waits, unless there are too many. leave ends it.
func (w *Watch) enter(userID int64, id uuid.UUID) (settled <-chan struct{}, leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= maxWatching || w.users[userID] >= maxWatchingEach {
		return nil, nil, false
	}
	one, known := w.by[id]
	if !known {
		one = &watched{settled: make(chan struct{})}
		w.by[id] = one
	}
	one.waiting++
	w.all++
	w.users[userID]++
	return one.settled, func() { w.leave(userID, id, one) }, true
}

func (w *Watch) leave(userID int64, id uuid.UUID, one *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.users[userID]--; w.users[userID] == 0 {
		delete(w.users, userID)
	}
	if one.waiting--; one.waiting == 0 && w.by[id] == one {
		delete(w.by, id)
	}
}

// Await returns one of the user's purchases, as Get does, and waits until it is settled,
// at most for wait or MaxWatch. It reports whether it would have waited: not if too many
// requests wait already.
func (s *Purchases) Await(ctx context.Context, userID int64, id uuid.UUID, wait time.Duration) (p Purchase, applied bool, err error) {
	// The request waits before it reads the row: what is settled after the row was read
	// is not missed.
	settled, leave, ok := s.Watch.enter(userID, id)
	if !ok {
		p, err = s.Get(ctx, userID, id)
		return p, false, err
	}
	defer leave()
	p, err = s.Get(ctx, userID, id)
	if err != nil || p.Status != Pending {
		return p, true, err
	}
	timer := time.NewTimer(min(wait, MaxWatch))
	defer timer.Stop()
	select {
	case <-settled:
	case <-timer.C:
	case <-s.Watch.ended:
	case <-ctx.Done():
		return p, true, nil
	}
	p, err = s.Get(ctx, userID, id)
	return p, true, err
}
