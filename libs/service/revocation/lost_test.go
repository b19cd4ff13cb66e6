package revocation_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/url"
	"strconv"
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
func TestALostMessageIsReceivedAfterTheReconnect(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	f.publishUser(1, 1, 1)
	f.publishUser(2, 1, 1)
	link, url := newLink(t, f.nats.URL)
	v := f.through(url)
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

// One message is lost on a connection that stays. The next one shows the gap, and both
// are received.
func TestAGapIsNoticed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	link, url := newLink(t, f.nats.URL)
	v := f.through(url)
	f.publishUser(1, 2, 2)
	waittest.Eventually(t, "the change on a working link", func() bool { return v.Revoked(1, 1) })

	lost := link.omit([]byte(" users.changed.2 "))
	f.publishUser(2, 2, 2)
	<-lost
	f.publishUser(3, 2, 2)
	waittest.Eventually(t, "the change after the gap", func() bool { return v.Revoked(3, 1) })
	waittest.Eventually(t, "the change that was lost", func() bool { return v.Revoked(2, 1) })
}

// through starts a replica's Versions, which listen on a connection of their own.
func (f *fixture) through(url string) *revocation.Versions {
	f.t.Helper()
	nc, err := natsconn.Connect(url, "victim", slog.New(slog.DiscardHandler), func() {})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		f.t.Fatal(err)
	}
	v := revocation.New(js, f.source, 10*time.Minute, slog.New(slog.DiscardHandler), time.Now)
	ctx, cancel := context.WithCancel(f.t.Context())
	var running sync.WaitGroup
	running.Go(func() { v.Run(ctx) })
	f.t.Cleanup(func() { cancel(); running.Wait() })
	<-v.Loaded()
	return v
}

// link is a relay to a server that can drop what the server sends.
type link struct {
	*tcprelay.Relay

	mu     sync.Mutex
	victim []byte        // once the server sends this, drop it
	only   bool          // drop that message only, rather than everything from there on
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
	for from := bufio.NewReader(server); ; {
		message, err := readMessage(from)
		if err != nil {
			return
		}
		l.mu.Lock()
		drop := l.victim != nil && bytes.Contains(message, l.victim)
		if drop {
			swallowing, l.victim = !l.only, nil
			close(l.lost)
		}
		l.mu.Unlock()
		if drop || swallowing {
			continue
		}
		if _, err := p.Client.Write(message); err != nil {
			return
		}
	}
}

// readMessage reads a message of NATS's client protocol: a line and, if the line ends
// with a size, a payload of that size.
func readMessage(from *bufio.Reader) ([]byte, error) {
	message, err := from.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(message, []byte("MSG ")) && !bytes.HasPrefix(message, []byte("HMSG ")) {
		return message, nil
	}
	fields := bytes.Fields(message)
	size, err := strconv.Atoi(string(fields[len(fields)-1]))
	if err != nil {
		return nil, err
	}
	payload := make([]byte, size+len("\r\n"))
	_, err = io.ReadFull(from, payload)
	return append(message, payload...), err
}

// swallow drops what the server sends on a connection, from the message with those
// bytes on.
func (l *link) swallow(victim []byte) (lost <-chan struct{}) { return l.drop(victim, false) }

// omit drops the message with those bytes.
func (l *link) omit(victim []byte) (lost <-chan struct{}) { return l.drop(victim, true) }

func (l *link) drop(victim []byte, only bool) (lost <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.victim, l.only, l.lost = victim, only, make(chan struct{})
	return l.lost
}
