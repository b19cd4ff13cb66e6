package auth

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lavka/libs/testkit/waittest"
)

func noCheck() error { return nil }

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	h := NewHasher(2, 2)
	first, err := h.Hash(t.Context(), member, "violet tram", noCheck)
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.Hash(t.Context(), member, "violet tram", noCheck)
	if err != nil {
		t.Fatal(err)
	}
	if first == second || !strings.HasPrefix(first, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%s, %s", first, second)
	}
	for password, want := range map[string]bool{"violet tram": true, "violet tran": false, "": false, "violet tram ": false} {
		if got, err := h.Verify(t.Context(), member, first, password); err != nil || got != want {
			t.Errorf("%q: %v %v, want %v", password, got, err, want)
		}
	}
	if _, err := h.Verify(t.Context(), member, "$2a$10$x", "violet tram"); err == nil {
		t.Error("a hash of an unknown kind is accepted")
	}
	weak := errors.New("weak")
	if _, err := h.Hash(t.Context(), member, "x", func() error { return weak }); !errors.Is(err, weak) {
		t.Errorf("%v, want the error of the check", err)
	}
}

// An unknown login takes as long as a wrong password, because a hash of the same
// cost is computed.
func TestNobodysHashIsAsDear(t *testing.T) {
	t.Parallel()
	h := NewHasher(1, 1)
	ours, err := parsePHC(hashPassword("violet tram"))
	if err != nil {
		t.Fatal(err)
	}
	dummy, err := parsePHC(h.dummy)
	if err != nil {
		t.Fatal(err)
	}
	if ours.memory != dummy.memory || ours.time != dummy.time || ours.threads != dummy.threads || len(ours.hash) != len(dummy.hash) {
		t.Errorf("the cost of %+v differs from that of %+v", dummy, ours)
	}
	// It waits for its turn like any other.
	h.all.places <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Verify(ctx, member, "", "violet tram"); !errors.Is(err, context.Canceled) {
		t.Errorf("the dummy hash was not computed in turn: %v", err)
	}
	<-h.all.places
	if same, err := h.Verify(t.Context(), member, "", "violet tram"); same || err != nil {
		t.Errorf("a password matches the dummy hash: %v %v", same, err)
	}
}

func TestHashQueueIsBounded(t *testing.T) {
	t.Parallel()
	h := NewHasher(1, 2)
	h.all.places <- struct{}{} // another caller is hashing
	ctx, leave := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	left := make(chan error, 2)
	for range 2 {
		waiting.Go(func() {
			_, err := h.Verify(ctx, member, "", "x")
			left <- err
		})
	}
	waittest.Eventually(t, "two wait", func() bool { return h.Waiting() == 2 })
	if _, err := h.Verify(t.Context(), member, "", "x"); !errors.Is(err, ErrOverloaded) {
		t.Errorf("the third caller: %v, want ErrOverloaded", err)
	}
	leave()
	waiting.Wait()
	for range 2 {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("a caller whose request ended: %v", err)
		}
	}
	if h.Waiting() != 0 {
		t.Errorf("%d still wait", h.Waiting())
	}
	<-h.all.places
	if _, err := h.Verify(t.Context(), member, "", "x"); err != nil {
		t.Errorf("after the storm: %v", err)
	}
}

// Of many callers that wait for half a second, all but a few are refused.
func TestManyDoNotWaitLongForATurn(t *testing.T) {
	t.Parallel()
	l := newLine(1, 100, 10*time.Millisecond)
	l.places <- struct{}{} // another caller is hashing and never finishes
	ctx, leave := context.WithCancel(t.Context())
	const callers = 20
	left := make(chan error, callers)
	for range callers {
		go func() { left <- l.enter(ctx) }()
	}
	for range callers - few {
		if err := <-left; !errors.Is(err, ErrOverloaded) {
			t.Errorf("one of many: %v, want ErrOverloaded", err)
		}
	}
	// By now the few have waited longer than their patience, and are still waiting.
	if n := l.waiting.Load(); n != few {
		t.Errorf("%d wait", n)
	}
	leave()
	for range few {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("one of the few whose request ended: %v", err)
		}
	}
	if n := l.waiting.Load(); n != 0 {
		t.Errorf("%d wait after all have left", n)
	}
}

// However many newcomers there are, they get at most half of the turns and wait in
// a line of their own.
func TestNewcomersLeaveTheTurnsToMembers(t *testing.T) {
	t.Parallel()
	h := NewHasher(2, 6)
	ctx, leave := context.WithCancel(t.Context())
	goOn := make(chan struct{})
	var newcomers sync.WaitGroup
	var hashing atomic.Int64
	for range 4 {
		newcomers.Go(func() {
			_, err := h.Hash(ctx, newcomer, "violet tram", func() error {
				hashing.Add(1)
				<-goOn
				return nil
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	waittest.Eventually(t, "one newcomer hashes and three wait", func() bool { return h.Waiting() == 3 && hashing.Load() == 1 })
	if _, err := h.Verify(t.Context(), newcomer, "", "x"); !errors.Is(err, ErrOverloaded) {
		t.Errorf("one newcomer too many: %v, want ErrOverloaded", err)
	}
	for range 3 {
		if _, err := h.Verify(t.Context(), member, "", "x"); err != nil {
			t.Errorf("a member during a storm of newcomers: %v", err)
		}
	}
	if n := hashing.Load(); n != 1 {
		t.Errorf("%d newcomers hash at once", n)
	}
	leave()
	close(goOn)
	newcomers.Wait()
	if h.Waiting() != 0 || len(h.all.places) != 0 || len(h.newcomers.places) != 0 {
		t.Errorf("%d wait and %d hash after all have left", h.Waiting(), len(h.all.places))
	}
}

func TestParsePHC(t *testing.T) {
	t.Parallel()
	good := hashPassword("x")
	for _, text := range []string{
		"", "x", strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1), strings.Replace(good, "t=2", "t=0", 1),
		strings.Replace(good, "p=1", "p=0", 1), strings.Replace(good, "m=19456", "m=99999999", 1), good + "$", good[:strings.LastIndex(good, "$")] + "$AAAA", good[:len(good)-1] + "!",
	} {
		if _, err := parsePHC(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
