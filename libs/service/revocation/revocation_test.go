package revocation_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"lavka/libs/contract/streams"
	"lavka/libs/contract/wire"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/revocation"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixture struct {
	t    *testing.T
	nats *natstest.Server
	js   jetstream.JetStream

	mu       sync.Mutex
	now      time.Time
	database map[int64]int64 // token versions in auth's database
	broken   bool            // the source fails
	asked    int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, nats: natstest.Start(t), now: time.Now(), database: map[int64]int64{}}
	nc, err := natsconn.Connect(f.nats.URL, "test", slog.New(slog.DiscardHandler), func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if f.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// source stands in for auth's database.
func (f *fixture) source(_ context.Context, report func(userID, tokenVersion int64)) error {
	f.mu.Lock()
	broken, versions := f.broken, maps.Clone(f.database)
	f.asked++
	f.mu.Unlock()
	if broken {
		return errors.New("auth is unreachable")
	}
	for id, version := range versions {
		report(id, version)
	}
	return nil
}

func (f *fixture) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// run starts a replica's Versions, which listen until the test ends.
func (f *fixture) run(lifetime time.Duration) *revocation.Versions {
	f.t.Helper()
	v := revocation.New(f.js, f.source, lifetime, slog.New(slog.DiscardHandler), f.clock)
	ctx, cancel := context.WithCancel(f.t.Context())
	var running sync.WaitGroup
	running.Go(func() { v.Run(ctx) })
	f.t.Cleanup(func() { cancel(); running.Wait() })
	return v
}

func (f *fixture) makeStream() {
	f.t.Helper()
	waittest.Eventually(f.t, "the stream is created", func() bool {
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		defer cancel()
		_, err := f.js.CreateStream(ctx, streams.Users(1))
		return err == nil
	})
}

func (f *fixture) publishUser(userID, version, tokenVersion int64) {
	f.t.Helper()
	data, err := wire.Encode(wire.UserChanged{V: wire.Version, ID: userID, Login: "anna", Role: "user", Status: "active", Version: version, TokenVersion: tokenVersion})
	if err != nil {
		f.t.Fatal(err)
	}
	f.publish(userID, data)
}

func (f *fixture) publish(userID int64, data []byte) {
	f.t.Helper()
	if _, err := f.js.Publish(f.t.Context(), wire.SubjectChanged+"."+strconv.FormatInt(userID, 10), data); err != nil {
		f.t.Fatal(err)
	}
}

func TestTheFirstReadAndLaterMessages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	for id := range int64(500) {
		f.publishUser(id+1, 1, id%3+1)
	}
	v := f.run(10 * time.Minute)
	<-v.Loaded()
	if !v.Ready() {
		t.Error("loaded but not ready")
	}
	waittest.Eventually(t, "all earlier messages are received", func() bool { return v.Known() == 500 })
	for id := range int64(500) {
		if own := id%3 + 1; v.Revoked(id+1, own) || !v.Revoked(id+1, own-1) {
			t.Fatalf("user %d with token version %d: wrong verdict for it or for the one below", id+1, own)
		}
	}
	if v.Revoked(501, 1) {
		t.Error("an unknown user's token is revoked")
	}
	f.publishUser(7, 2, 9)
	waittest.Eventually(t, "the change", func() bool { return v.Revoked(7, 8) })
	f.publish(8, []byte(`{"v":1,"id":8,"status":"of a later release","token_version":9}`))
	waittest.Eventually(t, "a change that can't be read", func() bool { return v.Revoked(8, 8) })
	if v.Revoked(7, 9) {
		t.Error("the newest token is revoked")
	}
	// Known versions stay in force, whatever arrives late.
	f.publish(8, []byte("not a user"))
	f.publishUser(7, 1, 1)
	f.publishUser(9, 2, 7)
	waittest.Eventually(t, "the later message", func() bool { return v.Revoked(9, 6) })
	if !v.Revoked(7, 8) {
		t.Error("an older message has made a revoked token valid again")
	}
}

// The stream lags behind auth's database, as after an outage in which auth could
// not publish: a replica must not become ready with the stream's data alone.
func TestAStreamThatLagsBehind(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	f.publishUser(1, 1, 1)
	f.database[1], f.database[2] = 2, 5
	f.broken = true
	v := f.run(10 * time.Minute)
	waittest.Eventually(t, "auth is asked repeatedly", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.asked >= 3 })
	if v.Ready() {
		t.Error("ready before auth has answered")
	}
	f.set(func() { f.broken = false })
	<-v.Loaded()
	if !v.Revoked(1, 1) || v.Revoked(1, 2) || !v.Revoked(2, 4) {
		t.Error("ready, but disagrees with auth's database")
	}

	// Once ready, it must not repeat the question: it has to receive changes while auth is down.
	f.set(func() { f.broken, f.asked = true, 0 })
	if err := f.js.DeleteStream(t.Context(), wire.StreamUsers); err != nil {
		t.Fatal(err)
	}
	f.makeStream()
	f.publishUser(1, 3, 3)
	waittest.Eventually(t, "a change on the new stream", func() bool { return v.Revoked(1, 2) })
	f.set(func() {
		if f.asked > 0 {
			t.Errorf("auth was asked %d more times", f.asked)
		}
	})
}

func TestNotReadyWithoutAStream(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.nats.Stop()
	v := f.run(10 * time.Minute)
	if v.Ready() {
		t.Error("ready without NATS")
	}
	f.nats.Start()
	f.makeStream()
	<-v.Loaded()
	f.publishUser(1, 1, 2)
	waittest.Eventually(t, "the change", func() bool { return v.Revoked(1, 1) })
}

func TestStreamMadeAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	for range 20 {
		f.publishUser(1, 1, 1)
	}
	f.publishUser(2, 1, 5)
	v := f.run(10 * time.Minute)
	waittest.Eventually(t, "all earlier messages are received", func() bool { return v.Known() == 2 })
	if err := f.js.DeleteStream(t.Context(), wire.StreamUsers); err != nil {
		t.Fatal(err)
	}
	f.makeStream()
	f.publishUser(1, 2, 2) // with the sequence number 1
	waittest.Eventually(t, "a change on the new stream", func() bool { return v.Revoked(1, 1) })
	if !v.Revoked(2, 4) {
		t.Error("a known version was forgotten")
	}

	f.nats.Stop()
	f.nats.Wipe()
	if !v.Revoked(1, 1) {
		t.Error("a known version was forgotten while NATS was down")
	}
	f.nats.Start()
	f.makeStream()
	f.publishUser(1, 3, 3)
	waittest.Eventually(t, "a change after NATS restarted without its store", func() bool { return v.Revoked(1, 2) })
}

func TestForgetsWhatNoTokenOutlives(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	f.publishUser(1, 1, 2)
	v := f.run(10 * time.Minute)
	waittest.Eventually(t, "the earlier message is received", func() bool { return v.Revoked(1, 1) })
	pass := func(d time.Duration) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.now = f.now.Add(d)
	}
	pass(11 * time.Minute) // a token of version 1 may still be valid by a slower clock
	f.publishUser(2, 1, 2)
	waittest.Eventually(t, "the change", func() bool { return v.Revoked(2, 1) })
	if !v.Revoked(1, 1) {
		t.Error("forgotten too early")
	}
	pass(7 * time.Minute)
	f.publishUser(3, 1, 2)
	waittest.Eventually(t, "the change", func() bool { return v.Revoked(3, 1) })
	if v.Known() != 2 || v.Revoked(1, 1) || !v.Revoked(2, 1) {
		t.Errorf("%d users are known, want users 2 and 3", v.Known())
	}
}
