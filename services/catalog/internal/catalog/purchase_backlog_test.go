package catalog

import (
	"errors"
	"testing"
)

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
