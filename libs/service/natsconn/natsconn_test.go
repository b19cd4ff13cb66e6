package natsconn_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"lavka/libs/service/natsconn"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// connected returns a connection to a server of the test's own.
func connected(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := natsconn.Connect(natstest.Start(t).URL, "test", quiet, func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestConnectsForEver(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	server.Stop()
	var connects atomic.Int64
	nc, err := natsconn.Connect(server.URL, "test", quiet, func() { connects.Add(1) })
	if err != nil {
		t.Fatalf("connect while the server is down: %v", err)
	}
	defer nc.Close()
	// Messages are not buffered: they would be stale by the time they are sent.
	if err := nc.Publish("x", nil); err == nil {
		t.Error("a publish succeeded without a connection")
	}
	for want := range int64(3) {
		server.Start()
		waittest.Eventually(t, "connected", func() bool { return connects.Load() == want+1 && nc.IsConnected() })
		if err := nc.Publish("x", nil); err != nil {
			t.Error(err)
		}
		server.Stop()
		waittest.Eventually(t, "disconnected", func() bool { return !nc.IsConnected() })
	}
	if _, err := natsconn.Connect("nats://a b", "test", quiet, func() {}); err == nil {
		t.Error("an invalid URL was accepted")
	}
}

func TestDrainWaitsForHandlers(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	nc, err := natsconn.Connect(server.URL, "test", quiet, func() {})
	if err != nil {
		t.Fatal(err)
	}
	started, finish := make(chan struct{}), make(chan struct{})
	var handled atomic.Int64
	if _, err := nc.Subscribe("x", func(*nats.Msg) {
		if handled.Load() == 0 {
			close(started)
			<-finish
		}
		handled.Add(1)
	}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := nc.Publish("x", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	<-started
	drained := make(chan error, 1)
	go func() { drained <- natsconn.Drain(nc, natsconn.DrainLimit) }()
	waittest.Eventually(t, "draining", nc.IsDraining)
	close(finish)
	if err := <-drained; err != nil || handled.Load() != 10 || !nc.IsClosed() {
		t.Errorf("%v; %d of 10 handled, closed: %v", err, handled.Load(), nc.IsClosed())
	}
	if err := natsconn.Drain(nc, 0); err != nil {
		t.Errorf("drained twice: %v", err)
	}
}

func TestDrainGivesUp(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	nc, err := natsconn.Connect(server.URL, "test", quiet, func() {})
	if err != nil {
		t.Fatal(err)
	}
	started, finish, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	if _, err := nc.Subscribe("x", func(*nats.Msg) {
		close(started)
		<-finish
		close(ended)
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("x", nil); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := natsconn.Drain(nc, 20*time.Millisecond); err == nil || !nc.IsClosed() {
		t.Errorf("%v, closed: %v", err, nc.IsClosed())
	}
	close(finish)
	<-ended
}

func TestDrainWithoutAServer(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	nc, err := natsconn.Connect(server.URL, "test", quiet, func() {})
	if err != nil {
		t.Fatal(err)
	}
	server.Stop()
	waittest.Eventually(t, "disconnected", func() bool { return !nc.IsConnected() })
	if err := natsconn.Drain(nc, natsconn.DrainLimit); err != nil || !nc.IsClosed() {
		t.Errorf("%v, closed: %v", err, nc.IsClosed())
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	_, js := connected(t)
	if _, err := js.Stream(t.Context(), "NONE"); !natsconn.Missing(err) {
		t.Errorf("a missing stream: %v", err)
	}
	if _, err := js.Publish(t.Context(), "none", nil, jetstream.WithRetryAttempts(0)); !natsconn.Missing(err) {
		t.Errorf("publish without a stream: %v", err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SOME", Subjects: []string{"some"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Consumer(t.Context(), "none"); !natsconn.Missing(err) {
		t.Errorf("a missing consumer: %v", err)
	}
	if natsconn.Missing(nil) || natsconn.Missing(context.DeadlineExceeded) || natsconn.Missing(nats.ErrConnectionClosed) {
		t.Error("an unrelated error counts as missing")
	}
}

// The error for an invalid URL repeats no part of it: any part may belong to the
// password.
func TestABrokenURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"nats://auth:canary@127.0.0.1:x", "nats://auth:can/ary@127.0.0.1:4222", "nats://auth:can ary@127.0.0.1:4222", "nats://auth:can%zzary@127.0.0.1:4222",
		"host=127.0.0.1 password='canary", "nats://auth:x@127.0.0.1:4222,nats://auth:can ary@127.0.0.1:4222",
	} {
		nc, err := natsconn.Connect(url, "test", slog.New(slog.DiscardHandler), func() {})
		if err == nil || !strings.Contains(err.Error(), "NATS_URL") || strings.Contains(err.Error(), "ary") {
			t.Errorf("%s: %v", url, err)
			nc.Close()
		}
	}
}
