package revocation_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/natsconn"
	"lavka/libs/revocation"
)

// The news of a disabled user goes down with a dying connection. After the
// reconnect it must be heard, though nobody else changes.
func TestNewsThatWentDownWithTheConnectionIsHeard(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	f.say(1, 1, 1)
	f.say(2, 1, 1)
	link := newLink(t, f.nats.URL)
	nc, err := natsconn.Connect(link.url, "victim", slog.New(slog.DiscardHandler), func() {})
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
	f.say(1, 2, 2)
	eventually(t, "news on a good link", func() bool { return v.Revoked(1, 1) })

	lost := link.swallow([]byte("users.changed.2"))
	f.say(2, 2, 2)
	<-lost
	if v.Revoked(2, 1) {
		t.Fatal("nothing was lost, so this test shows nothing")
	}
	link.cut()
	eventually(t, "the news that was lost", func() bool { return v.Revoked(2, 1) })
}

// link is a TCP proxy in front of a server, which can swallow what the server
// says and cut its connections.
type link struct {
	url      string
	server   string
	listener net.Listener

	mu     sync.Mutex
	conns  []net.Conn
	victim []byte        // swallow from here on when the server says this
	lost   chan struct{} // closed then
	works  sync.WaitGroup
}

func newLink(t *testing.T, server string) *link {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{server: u.Host}
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l.url = "nats://" + l.listener.Addr().String()
	l.works.Go(l.accept)
	t.Cleanup(func() {
		l.listener.Close()
		l.cut()
		l.works.Wait()
	})
	return l
}

func (l *link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.server)
		if err != nil {
			client.Close()
			continue
		}
		l.mu.Lock()
		l.conns = append(l.conns, client, server)
		l.mu.Unlock()
		l.works.Go(func() {
			// Both ends are closed by cut; whichever error comes first ends it.
			_, _ = io.Copy(server, client)
		})
		l.works.Go(func() { l.deliver(client, server) })
	}
}

func (l *link) deliver(client, server net.Conn) {
	swallowing := false
	for buf := make([]byte, 64<<10); ; {
		n, err := server.Read(buf)
		if err != nil {
			client.Close()
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
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// swallow drops what a connection brings, from those bytes on.
func (l *link) swallow(victim []byte) (lost <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.victim, l.lost = victim, make(chan struct{})
	return l.lost
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}
