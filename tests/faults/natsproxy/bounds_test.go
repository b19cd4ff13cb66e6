package natsproxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lavka/libs/testkit/waittest"
	"lavka/tests/faults/natsproxy"
)

func TestHeldFramesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWire(t, 1)
	const n, bound = 5000, 4096
	sub := w.subscribe(w.beside, "x")
	w.Set(natsproxy.Rule{Subject: "x", Delay: 1, MaxDelay: 1000 * time.Hour})
	w.publish(w.far, "x", n)
	if got := w.waiting(sub); len(got) != n-bound || got[0] != fmt.Sprint(bound) {
		t.Errorf("%d arrived, the first is %v", len(got), got[:min(1, len(got))])
	}
	if c := w.Counts(); c != (natsproxy.Counts{Delayed: bound, Passed: n - bound}) {
		t.Errorf("%+v", c)
	}
	// By size too.
	w.Clear()
	w.next(sub, bound)
	w.Set(natsproxy.Rule{Subject: "x", Delay: 1, MaxDelay: 1000 * time.Hour})
	for range 40 {
		must(t, w.far.Publish("x", make([]byte, 1<<20)))
	}
	w.settle()
	if got := w.waiting(sub); len(got) < 40-16 || len(got) > 40-15 {
		t.Errorf("%d of 40 MiB are not held", len(got))
	}
}

// The server refuses what it said was too big as soon as it is announced.
func TestTheServerRefusesMessagesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	w := newWire(t, 1)
	c, err := net.Dial("tcp", w.Addr())
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	in := bufio.NewReader(c)
	if info, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(info, "INFO {") {
		t.Fatalf("%q, %v", info, err)
	}
	_, err = c.Write([]byte("CONNECT {\"verbose\":false}\r\nPUB x 2000000\r\nthis is not all"))
	must(t, err)
	if answer, err := in.ReadString('\n'); err != nil || answer != "-ERR 'Maximum Payload Violation'\r\n" {
		t.Errorf("%q, %v", answer, err)
	}
}

// ends are a client and a server that the test plays.
func ends(t *testing.T) (p *natsproxy.Proxy, client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	p, err = natsproxy.New(l.Addr().String(), 1)
	must(t, err)
	c, err := net.Dial("tcp", p.Addr())
	must(t, err)
	s, err := l.Accept()
	must(t, err)
	must(t, errors.Join(c.SetDeadline(time.Now().Add(patience)), s.SetDeadline(time.Now().Add(patience))))
	return p, c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestClosingsGoThrough(t *testing.T) {
	t.Parallel()
	for _, turn := range []bool{false, true} {
		for _, broken := range []bool{false, true} {
			p, one, other := ends(t)
			if turn {
				one, other = other, one
			}
			if broken {
				must(t, one.SetLinger(0))
			}
			must(t, one.Close())
			if _, err := io.ReadAll(other); errors.Is(err, syscall.ECONNRESET) != broken || !broken && err != nil {
				t.Errorf("server closed: %v, with a reset: %v; the other end got %v", turn, broken, err)
			}
			other.Close()
			must(t, p.Close())
		}
	}
}

// When an end closes, its held frames are sent first. An incomplete frame comes
// last; otherwise held frames would be taken as the rest of it.
func TestHeldFramesAreSentBeforeTheEnd(t *testing.T) {
	t.Parallel()
	p, client, server := ends(t)
	defer server.Close()
	p.Set(natsproxy.Rule{Subject: "x", Delay: 1, MaxDelay: 1000 * time.Hour})
	const said = "PUB x 3\r\none\r\nPUB x 3\r\ntwo\r\n"
	_, err := client.Write([]byte("PING\r\n" + said))
	must(t, err)
	waittest.Eventually(t, "both are held", func() bool { return p.Counts().Delayed == 2 })
	const begun = "PUB y 99\r\nonly a part"
	_, err = client.Write([]byte(begun))
	must(t, err)
	must(t, client.Close())
	if got, err := io.ReadAll(server); err != nil || string(got) != "PING\r\n"+said+begun {
		t.Errorf("%q, %v", got, err)
	}
	must(t, p.Close())
}

// A receiver that does not read delays only its own messages.
func TestClearDoesNotWaitForAReceiver(t *testing.T) {
	t.Parallel()
	p, client, server := ends(t)
	defer server.Close()
	p.Set(natsproxy.Rule{Subject: "x", Delay: 1, MaxDelay: 1000 * time.Hour})
	_, err := client.Write([]byte("PUB x 3\r\none\r\n"))
	must(t, err)
	waittest.Eventually(t, "one is held", func() bool { return p.Counts().Delayed == 1 })
	must(t, client.SetWriteDeadline(time.Now().Add(time.Second)))
	much := "PUB y 60000000\r\n" + strings.Repeat("y", 60_000_000) + "\r\n"
	if _, err := client.Write([]byte(much + much)); err == nil {
		t.Fatal("the receiver is reading")
	}
	p.Clear()
	must(t, client.Close())
	if got, err := io.ReadAll(server); err != nil || !bytes.Contains(got, []byte("PUB x 3\r\none\r\n")) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	must(t, p.Close())
}

// Not parallel: no other test's goroutines may start or end meanwhile.
func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for _, rule := range []natsproxy.Rule{{}, {Delay: 1, MaxDelay: time.Hour}, {Delay: 1, MaxDelay: time.Millisecond}} {
		p, client, server := ends(t)
		p.Set(rule)
		_, err := client.Write(bytes.Repeat([]byte("PUB x 3\r\none\r\n"), 1000))
		must(t, err)
		p.Clear()
		must(t, p.Close())
		if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("connecting to a closed proxy: %v", err)
		}
		client.Close()
		server.Close()
	}
	goleak.VerifyNone(t, before)
}
