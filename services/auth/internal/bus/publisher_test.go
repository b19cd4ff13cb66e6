package bus

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
	"lavka/services/auth/internal/auth"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// source stands in for the database: it holds user 1.
type source struct {
	mu         sync.Mutex
	user       auth.User
	news       []int64
	marked     []int64 // versions
	known      string
	all        int           // calls of Fill
	changes    []auth.Change // the latest first
	changesErr error
	onRead     func(n int)  // runs before the nth read of the user
	onMark     func() error // runs before a version is marked
	readCount  int
}

func (s *source) ClaimNews(context.Context, int, time.Duration) ([]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.news
	s.news = nil
	return news, nil
}
func (s *source) ClaimRepeats(context.Context, int, time.Duration) ([]int64, error) { return nil, nil }

func (s *source) User(context.Context, int64) (auth.User, error) {
	s.mu.Lock()
	s.readCount++
	n := s.readCount
	s.mu.Unlock()
	if s.onRead != nil {
		s.onRead(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user, nil
}

func (s *source) MarkPublished(_ context.Context, _, version int64, _, _, _ time.Duration) error {
	if s.onMark != nil {
		if err := s.onMark(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marked = append(s.marked, version)
	return nil
}

func (s *source) Now(context.Context) (time.Time, error) { return reconnected, nil }

// reconnected is when the database says that a publisher begins to republish.
var reconnected = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// Changes returns the changes below before, as the database does.
func (s *source) Changes(_ context.Context, since time.Time, before auth.Change, limit int) (page []auth.Change, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changes {
		if len(page) < limit && c.At.After(since) && (c.At.Before(before.At) || c.At.Equal(before.At) && c.UserID < before.UserID) {
			page = append(page, c)
		}
	}
	return page, s.changesErr
}

func (s *source) Fill(context.Context, string, int) (progress, done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all++
	return false, true, nil
}

func (s *source) Stream(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known, nil
}

func (s *source) RememberStream(_ context.Context, created string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = created
	return nil
}
func (s *source) Due(context.Context) (int64, error) { return 0, nil }

func newPublisher(t *testing.T, s *source) *Publisher {
	t.Helper()
	return newPublisherOn(t, s, natstest.Start(t))
}

func newPublisherOn(t *testing.T, s *source, server *natstest.Server) *Publisher {
	t.Helper()
	nc, err := natstest.Connect(server.URL, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	p := NewPublisher(s, 1, slog.New(slog.DiscardHandler))
	p.nc, p.js = nc, js
	return p
}

func (p *Publisher) once(t *testing.T) error {
	t.Helper()
	_, err := p.runOnce(t.Context())
	return err
}

func (p *Publisher) last(t *testing.T) wire.UserChanged {
	t.Helper()
	msg, err := p.stream.GetLastMsgForSubject(t.Context(), wire.SubjectChanged+".1")
	if err != nil {
		t.Fatal(err)
	}
	user, err := wire.DecodeUserChanged(msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func TestPublish(t *testing.T) {
	t.Parallel()
	s := &source{user: auth.User{ID: 1, Login: "anna", Role: auth.RoleUser, Version: 3, TokenVersion: 2}, news: []int64{1}}
	p := newPublisher(t, s)
	if err := p.once(t); err != nil {
		t.Fatal(err)
	}
	if got := p.last(t); got.Version != 3 || got.TokenVersion != 2 || got.Status != "inactive" || got.Login != "anna" {
		t.Errorf("%+v", got)
	}
	if len(s.marked) != 1 || s.marked[0] != 3 {
		t.Errorf("marked: %v", s.marked)
	}
	if s.all != 1 || s.known == "" {
		t.Errorf("a new stream: all users republished %d times, remembered as %q", s.all, s.known)
	}
	p.stream = nil
	if err := p.once(t); err != nil || s.all != 1 {
		t.Errorf("the same stream: all users republished %d times, %v", s.all, err)
	}
	cfg := p.stream.CachedInfo().Config
	if cfg.MaxMsgsPerSubject != 1 || cfg.Storage != jetstream.FileStorage || cfg.Discard != jetstream.DiscardOld || cfg.Subjects[0] != "users.changed.*" {
		t.Errorf("%+v", cfg)
	}
}

// A replica that has read an old row must not overwrite what another replica has
// published since: NATS refuses the message, and the replica reads the row again.
func TestRefusedSequence(t *testing.T) {
	t.Parallel()
	s := &source{user: auth.User{ID: 1, Login: "anna", Role: auth.RoleUser, Version: 2, TokenVersion: 1}, news: []int64{1}}
	p := newPublisher(t, s)
	s.onRead = func(n int) {
		if n != 1 {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.user.Version = 3
			return
		}
		data, err := wire.Encode(wire.UserChanged{V: 1, ID: 1, Login: "anna", Role: "user", Status: "active", Version: 3})
		if err != nil {
			t.Error(err)
		}
		if _, err := p.js.Publish(t.Context(), wire.SubjectChanged+"."+strconv.Itoa(1), data); err != nil {
			t.Error(err)
		}
	}
	if err := p.once(t); err != nil {
		t.Fatal(err)
	}
	if s.readCount != 2 || p.last(t).Version != 3 || len(s.marked) != 1 || s.marked[0] != 3 {
		t.Errorf("read %d times, marked %v, last %+v", s.readCount, s.marked, p.last(t))
	}
}

// A user that could not be marked as published stays due; publishing them again is
// harmless.
func TestMarkFails(t *testing.T) {
	t.Parallel()
	s := &source{user: auth.User{ID: 1, Login: "anna", Role: auth.RoleUser, Version: 2, TokenVersion: 1}, news: []int64{1}}
	unreachable := errors.New("the database is unreachable")
	s.onMark = func() error { return unreachable }
	p := newPublisher(t, s)
	if err := p.once(t); !errors.Is(err, unreachable) {
		t.Errorf("%v", err)
	}
	s.onMark, s.news = nil, []int64{1}
	if err := p.once(t); err != nil || len(s.marked) != 1 || p.last(t).Version != 2 {
		t.Errorf("%v, marked %v", err, s.marked)
	}
}

// A failure is logged once, and the recovery only when a user has been published.
func TestAFailureIsLoggedOnce(t *testing.T) {
	t.Parallel()
	s := &source{user: auth.User{ID: 1, Login: "anna", Role: auth.RoleUser, Version: 2, TokenVersion: 1}, news: []int64{1}}
	server := natstest.Start(t)
	p := newPublisherOn(t, s, server)
	var log bytes.Buffer
	p.log = slog.New(slog.NewTextHandler(&log, nil))
	logged := func(failures, recoveries int) {
		t.Helper()
		if strings.Count(log.String(), "can't publish users") != failures || strings.Count(log.String(), "users are being published again") != recoveries {
			t.Errorf("want %d failures and %d recoveries:\n%s", failures, recoveries, log.String())
		}
	}
	s.onMark = func() error { return errors.New("the database is unreachable") }
	for range 2 {
		s.news = []int64{1}
		p.step(t.Context())
		logged(1, 0)
	}
	s.onMark = nil
	server.Stop()
	waittest.Eventually(t, "disconnected", func() bool { return !p.nc.IsConnected() })
	p.step(t.Context())
	logged(1, 0)
	server.Start()
	waittest.Eventually(t, "connected", p.nc.IsConnected)
	p.stream, s.news = nil, nil
	p.step(t.Context())
	logged(1, 0) // there was nothing to publish
	s.news = []int64{1}
	p.step(t.Context())
	logged(1, 1)
	s.news = []int64{1}
	p.step(t.Context())
	logged(1, 1)
}

func TestStreamGone(t *testing.T) {
	t.Parallel()
	s := &source{user: auth.User{ID: 1, Login: "anna", Role: auth.RoleUser, Version: 2, TokenVersion: 1}}
	p := newPublisher(t, s)
	if err := p.once(t); err != nil {
		t.Fatal(err)
	}
	if err := p.js.DeleteStream(t.Context(), wire.StreamUsers); err != nil {
		t.Fatal(err)
	}
	s.news = []int64{1}
	if err := p.once(t); err == nil || len(s.marked) != 0 {
		t.Errorf("publishing to a deleted stream: %v, marked %v", err, s.marked)
	}
	s.news = []int64{1}
	// Right after its last stream is deleted, NATS may refuse a new one: it still removes the directory of the streams.
	waittest.Eventually(t, "the user is published to a new stream", func() bool { return p.once(t) == nil })
	if len(s.marked) != 1 || s.all != 2 {
		t.Errorf("marked %v, all users republished %d times", s.marked, s.all)
	}
}

// An existing stream gets the configuration and the number of copies that are wanted. A single server refuses more than
// one copy.
func TestStreamOfAnotherShape(t *testing.T) {
	t.Parallel()
	s := &source{}
	p := newPublisher(t, s)
	if _, err := p.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: wire.StreamUsers, Subjects: []string{"users.changed.*"}, MaxMsgsPerSubject: 7}); err != nil {
		t.Fatal(err)
	}
	if err := p.once(t); err != nil {
		t.Fatal(err)
	}
	if n := p.stream.CachedInfo().Config.MaxMsgsPerSubject; n != 1 {
		t.Errorf("%d messages per subject, want 1", n)
	}
	p.stream, p.copies = nil, 3
	var refused *jetstream.APIError
	if err := p.once(t); !errors.As(err, &refused) || refused.ErrorCode != 10074 { // JSStreamReplicasNotSupportedErr
		t.Errorf("three copies on a single server: %v, want them refused", err)
	}
}

// After a reconnect, recent changes are republished in pages, the latest first, except
// those that another replica has republished since. A failure loses none of them.
func TestRecentChangesAreRepublished(t *testing.T) {
	t.Parallel()
	s := &source{user: auth.User{ID: 1, Login: "anna", Role: auth.RoleUser, Version: 2, TokenVersion: 1}}
	const users = 250
	due := reconnected.Add(later)
	for i := range users {
		s.changes = append(s.changes, auth.Change{UserID: int64(users - i), At: reconnected.Add(-time.Minute), PublishAt: due})
	}
	s.changes[7].PublishAt = due.Add(time.Minute) // by another replica, since
	s.changes = append(s.changes, auth.Change{UserID: users + 1, At: reconnected.Add(-2 * recent), PublishAt: due})
	p := newPublisher(t, s)
	p.lost = true
	s.onMark = func() error { return errors.New("the database is unreachable") }
	if err := p.once(t); err == nil || p.again == nil {
		t.Fatalf("%v, the walk is %v", err, p.again)
	}
	s.onMark = nil
	waittest.Eventually(t, "all are republished", func() bool {
		if err := p.once(t); err != nil {
			t.Error(err)
		}
		return p.again == nil
	})
	if len(s.marked) != users-1 {
		t.Errorf("%d users republished, want %d", len(s.marked), users-1)
	}
}
