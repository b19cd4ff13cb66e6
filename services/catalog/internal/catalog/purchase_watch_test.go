package catalog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// The number of requests that wait is limited: of one user, and of all. When they leave, nothing is left of them.
func TestWatchesAreBounded(t *testing.T) {
	t.Parallel()
	w := NewWatch(nil, time.Hour, slog.New(slog.DiscardHandler))
	var leaves []func()
	enter := func(user int64) bool {
		_, leave, ok := w.enter(user, uuid.New())
		if ok {
			leaves = append(leaves, leave)
		}
		return ok
	}
	for range maxWatchingEach {
		if !enter(1) {
			t.Fatalf("%d requests of a user wait, and no more may", len(leaves))
		}
	}
	if enter(1) {
		t.Error("a user has one request too many")
	}
	for user := int64(2); len(leaves) < maxWatching; user++ {
		if !enter(user) {
			t.Fatalf("%d requests wait, and no more may", len(leaves))
		}
	}
	if enter(1000) {
		t.Error("one request too many waits")
	}
	for _, leave := range leaves {
		leave()
	}
	if w.all != 0 || len(w.by) != 0 || len(w.users) != 0 {
		t.Errorf("%d requests, %d purchases and %d users are left", w.all, len(w.by), len(w.users))
	}
}

// looks are the results of a store. The last one ends the test.
type looks struct {
	results []error
	stop    func()
}

func (l *looks) SettledOf(context.Context, []uuid.UUID) ([]uuid.UUID, error) {
	err := l.results[0]
	if l.results = l.results[1:]; len(l.results) == 0 {
		l.stop()
	}
	return nil, err
}

// Of several failures in a row, only the first is logged, and none while the service is stopping.
func TestTheWatchLogsTheFirstFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		first, second := errors.New("first"), errors.New("second")
		store := &looks{results: []error{nil, first, first, nil, second, nil, errors.New("stopped")}, stop: cancel}
		var log bytes.Buffer
		w := NewWatch(store, time.Minute, slog.New(slog.NewTextHandler(&log, nil)))
		_, leave, _ := w.enter(1, id(1))
		defer leave()
		w.Run(ctx)
		if text := log.String(); strings.Count(text, "\n") != 2 || strings.Count(text, "error=first") != 1 || strings.Count(text, "error=second") != 1 {
			t.Errorf("logged: %s", text)
		}
	})
}

// oneRow is a store with one purchase, which is settled when it is asked for a second time by the Watch.
type oneRow struct {
	PurchaseStore // its other methods are not called
	p             Purchase
	err           error
	looks         int
}

func (o *oneRow) Purchase(context.Context, int64, uuid.UUID) (Purchase, error) { return o.p, o.err }

func (o *oneRow) SettledOf(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if o.looks++; o.looks < 2 {
		return nil, nil
	}
	o.p.Status = Completed
	return ids, nil
}

// A request waits for a purchase that is pending, and for no longer than it may.
func TestAwait(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		row         oneRow
		every, wait time.Duration
		took        time.Duration
		status      Status
		err         error
	}{
		"settled":                  {oneRow{p: Purchase{Status: Completed}}, time.Second, time.Minute, 0, Completed, nil},
		"unknown":                  {oneRow{err: ErrPurchaseNotFound}, time.Second, time.Minute, 0, "", ErrPurchaseNotFound},
		"settled meanwhile":        {oneRow{p: Purchase{Status: Pending}}, time.Second, time.Minute, 2 * time.Second, Completed, nil},
		"pending for longer":       {oneRow{p: Purchase{Status: Pending}}, time.Hour, 3 * time.Second, 3 * time.Second, Pending, nil},
		"pending, wait for a week": {oneRow{p: Purchase{Status: Pending}}, time.Hour, 7 * 24 * time.Hour, 15 * time.Second, Pending, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			watch := NewWatch(&c.row, c.every, slog.New(slog.DiscardHandler))
			done := make(chan struct{})
			go func() {
				defer close(done)
				watch.Run(ctx)
			}()
			s := &Purchases{PurchasesConfig: PurchasesConfig{Store: &c.row, Watch: watch}}
			began := time.Now()
			p, applied, err := s.Await(ctx, 1, id(1), c.wait)
			if took := time.Since(began); took != c.took || p.Status != c.status || !applied || !errors.Is(err, c.err) {
				t.Errorf("%s: %q, %v, %v after %v", name, p.Status, applied, err, took)
			}
			cancel()
			<-done
		})
	}
}

func TestAllWhoWaitForAPurchaseAreReleased(t *testing.T) {
	t.Parallel()
	w := NewWatch(nil, time.Hour, slog.New(slog.DiscardHandler))
	first, leaveFirst, _ := w.enter(1, id(1))
	second, leaveSecond, _ := w.enter(1, id(1))
	other, leaveOther, _ := w.enter(1, id(2))
	w.settled(id(1))
	w.settled(id(1)) // no request waits any more
	<-first
	<-second
	select {
	case <-other:
		t.Error("a request for another purchase is released")
	default:
	}
	leaveFirst()
	third, leaveThird, _ := w.enter(1, id(1)) // before the second has left
	leaveSecond()
	w.settled(id(1))
	<-third
	leaveThird()
	leaveOther()
	if w.all != 0 || len(w.by) != 0 {
		t.Errorf("%d requests and %d purchases are left", w.all, len(w.by))
	}
}
