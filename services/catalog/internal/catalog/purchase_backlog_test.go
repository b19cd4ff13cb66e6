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
)

// censuses are the results of counts. The last one ends the test.
type censuses struct {
	results []any // a Census or an error
	atLeast []int
	stop    func()
	shown   []int
}

func (c *censuses) Pending(_ context.Context, atLeast int) (Census, error) {
	result := c.results[len(c.atLeast)]
	if c.atLeast = append(c.atLeast, atLeast); len(c.atLeast) == len(c.results) {
		c.stop()
	}
	if err, failed := result.(error); failed {
		return Census{}, err
	}
	return result.(Census), nil
}

// shownBy is the metrics that a Counter sets.
type shownBy struct{ *censuses }

func (s shownBy) Pending(n int, _ time.Duration) { s.shown = append(s.shown, n) }

// After a count that fails the one before stays in use. An error is logged, unless the service is stopping.
func TestCounter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		all := &censuses{results: []any{Census{Total: 3}, errors.New("unreachable"), Census{Total: 5}, errors.New("stopped")}, stop: cancel}
		var log bytes.Buffer
		began := time.Now()
		backlog := NewBacklog(Limits{Pending: 10, PendingPerUser: 50})
		(&Counter{Store: all, Backlog: backlog, Metrics: shownBy{all}, Log: slog.New(slog.NewTextHandler(&log, nil)), Every: time.Minute}).Run(ctx)
		if took := time.Since(began); took != 3*time.Minute {
			t.Errorf("four counts took %v", took)
		}
		if len(all.shown) != 2 || all.shown[0] != 3 || all.shown[1] != 5 {
			t.Errorf("shown: %v", all.shown)
		}
		if !backlog.Room(1, 4, 0) || backlog.Room(1, 5, 0) {
			t.Error("the last count is not in use")
		}
		for _, atLeast := range all.atLeast {
			if atLeast != 5 { // a tenth of a user's limit
				t.Errorf("users with %d were counted", atLeast)
			}
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "unreachable") {
			t.Errorf("logged: %s", text)
		}
	})
}

func TestRoom(t *testing.T) {
	t.Parallel()
	b := NewBacklog(Limits{Pending: 10, PendingPerUser: 3})
	room := func(user int64, more, moreOfUser int, want bool) {
		t.Helper()
		if got := b.Room(user, more, moreOfUser); got != want {
			t.Errorf("room for user %d and %d/%d more: %v, want %v", user, more, moreOfUser, got, want)
		}
	}
	room(1, 0, 0, true)
	room(1, 9, 2, true)
	room(1, 10, 0, false)
	room(1, 0, 3, false)
	b.add(1, 1)
	b.add(1, 1)
	room(1, 0, 0, true)
	room(1, 1, 1, false)
	room(2, 1, 0, true)
	if _, err := b.count(func() (Census, error) {
		b.add(2, 1) // placed during the count
		return Census{Total: 8, Users: map[int64]int{1: 3}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	room(1, 0, 0, false)
	room(2, 0, 0, true)
	room(2, 1, 0, false)
	b.add(1, -1)
	room(1, 0, 0, true)
	unreachable := errors.New("unreachable")
	if _, err := b.count(func() (Census, error) { return Census{}, unreachable }); !errors.Is(err, unreachable) {
		t.Fatal(err)
	}
	room(1, 0, 0, true) // as before
	room(1, 2, 0, false)
	if _, err := b.count(func() (Census, error) { return Census{Total: 9}, nil }); err != nil {
		t.Fatal(err)
	}
	if b.total != 0 || len(b.users) != 0 {
		t.Errorf("%d and %v are left after a count with no concurrent change", b.total, b.users)
	}
}
