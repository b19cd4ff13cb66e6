package revocation_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/service/natsconn"
	"lavka/libs/service/revocation"
	"lavka/libs/testkit/tcprelay"
	"lavka/libs/testkit/waittest"
)

// The message about a disabled user is lost with a broken connection. It must be
// received after the reconnect, even if no other user changes.
func TestNewsThatWentDownWithTheConnectionIsHeard(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	f.publishUser(1, 1, 1)
	f.publishUser(2, 1, 1)
	link, url := newLink(t, f.nats.URL)
	nc, err := natsconn.Connect(url, "victim", slog.New(slog.DiscardHandler), func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	v := revocation.New(js, f.source, 10*time.Minute, slog.New(slog.DiscardHandler), time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { v.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	<-v.Loaded()
	f.publishUser(1, 2, 2)
	waittest.Eventually(t, "the change on a working link", func() bool { return v.Revoked(1, 1) })

	lost := link.swallow([]byte("users.changed.2"))
	f.publishUser(2, 2, 2)
	<-lost
	if v.Revoked(2, 1) {
		t.Fatal("the message was not lost, so this test proves nothing")
	}
	link.Reset()
	waittest.Eventually(t, "the change that was lost", func() bool { return v.Revoked(2, 1) })
}

// link is a relay to a server that can drop what the server sends.
type link struct {
	*tcprelay.Relay

	mu     sync.Mutex
	victim []byte        // once the server sends this, drop everything from there on
	lost   chan struct{} // closed when dropping starts
}

// newLink opens a link and returns the URL that leads through it.
func newLink(t *testing.T, server string) (*link, string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{}
	if l.Relay, err = tcprelay.New(u.Host, l.serve); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	through, err := l.Through(server)
	if err != nil {
		t.Fatal(err)
	}
	return l, through
}

func (l *link) serve(p *tcprelay.Pair) {
	server, err := p.Dial()
	if err != nil {
		return
	}
	go func() { _, _ = io.Copy(server, p.Client); p.Reset() }() // the first side to close ends both
	swallowing := false
	for buf := make([]byte, 64<<10); ; {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		l.mu.Lock()
		if l.victim != nil && bytes.Contains(buf[:n], l.victim) {
			swallowing, l.victim = true, nil
			close(l.lost)
		}
		l.mu.Unlock()
		if swallowing {
			continue
		}
		if _, err := p.Client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// swallow drops what the server sends on a connection, from those bytes on.
func (l *link) swallow(victim []byte) (lost <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.victim, l.lost = victim, make(chan struct{})
	return l.lost
}
