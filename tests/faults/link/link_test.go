package link_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lavka/tests/faults/link"
)

func TestAGoodLinkChangesNothing(t *testing.T) {
	t.Parallel()
	client, server := newWire(t).dial()
	up, down := make([]byte, 5<<20), make([]byte, 3<<20)
	rand.Read(up)
	rand.Read(down)
	var all sync.WaitGroup
	talk := func(e *end, says, hears []byte) {
		all.Go(func() {
			if _, err := e.Write(says); err != nil {
				t.Error(err)
			}
			if err := e.CloseWrite(); err != nil { // the other one may still speak
				t.Error(err)
			}
		})
		all.Go(func() {
			if got, err := io.ReadAll(e); err != nil || !bytes.Equal(got, hears) {
				t.Errorf("got %d bytes, want the %d sent: %v", len(got), len(hears), err)
			}
		})
	}
	talk(client, up, down)
	talk(server, down, up)
	all.Wait()
}

func TestAResetGoesThrough(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	for range 2 {
		broken, other := w.dial()
		broken.say("hello")
		other.hear("hello")
		must(t, broken.SetLinger(0))
		must(t, broken.Close())
		other.hearEnd(syscall.ECONNRESET)
	}
}

func TestAServerThatIsAway(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	must(t, w.server.Close())
	c, err := net.Dial("tcp", w.Addr())
	if err == nil {
		w.end(c).hearEnd(syscall.ECONNRESET)
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	client, server := w.dial()
	must(t, w.Cut())
	client.hearEnd(syscall.ECONNRESET)
	server.hearEnd(syscall.ECONNRESET)
	if _, err := net.Dial("tcp", w.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting through a link that is cut: %v", err)
	}
	must(t, w.Heal())
	client, server = w.dial()
	client.say("back")
	server.hear("back")
}

func TestReset(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	client, server := w.dial()
	w.Reset()
	client.hearEnd(syscall.ECONNRESET)
	server.hearEnd(syscall.ECONNRESET)
	w.dial()
}

func TestBlackhole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		d        link.Direction
		up, down bool // what still goes
	}{
		"up": {link.Up, false, true}, "down": {link.Down, true, false}, "both": {link.Both, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			client, server := w.dial()
			client.say("before")
			server.hear("before")
			untouched, _ := w.dial()
			w.Blackhole(c.d)
			for _, way := range []struct {
				from, to *end
				goes     bool
			}{{client, server, c.up}, {server, client, c.down}} {
				way.from.say("hello")
				if way.goes {
					way.to.hear("hello")
				} else {
					way.to.hearNothing()
				}
			}
			// The receiver of nothing does not notice either that the other end has closed.
			gone, deaf := client, server
			if c.up {
				gone, deaf = server, client
			}
			must(t, gone.Close())
			deaf.hearNothing()

			// A new connection is accepted, but nothing is passed on.
			newcomer, err := net.Dial("tcp", w.Addr())
			must(t, err)
			w.end(newcomer).say("hello?")
			w.end(newcomer).hearNothing()
			must(t, w.server.(*net.TCPListener).SetDeadline(time.Now().Add(moment)))
			if _, err := w.server.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the server got the new connection: %v", err)
			}

			must(t, w.Heal())
			deaf.hearEnd(syscall.ECONNRESET)
			w.end(newcomer).hearEnd(syscall.ECONNRESET)
			untouched.hearNothing()
			client, server = w.dial()
			client.say("back")
			server.hear("back")
		})
	}
}

// A connection that has lost data must not continue as if it had not, even when
// another direction is lost instead.
func TestAConnectionThatLostDataStaysBroken(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	client, server := w.dial()
	w.Blackhole(link.Up)
	client.say("lost")
	server.hearNothing()
	w.Blackhole(link.Down)
	client.say("and this makes no sense without it")
	server.hearNothing()
	must(t, w.Heal())
	server.hearEnd(syscall.ECONNRESET)
}

func TestSlow(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	client, server := w.dial()
	const latency, jitter = 100 * time.Millisecond, 50 * time.Millisecond
	w.Slow(latency, jitter)
	began := time.Now()
	client.say("ping")
	server.hear("ping")
	server.say("pong")
	client.hear("pong")
	if took := time.Since(began); took < 2*(latency-jitter) {
		t.Errorf("there and back in %v", took)
	}
}

// Data does not wait until earlier data has arrived.
func TestSlowDoesNotThrottle(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	client, server := w.dial()
	const latency, often = 5 * time.Second, 20
	w.Slow(latency, 0)
	began := time.Now()
	for range often {
		<-time.After(5 * time.Millisecond) // or they would all go at once
		client.say("0123456789")
	}
	for range often {
		server.hear("0123456789")
	}
	if took := time.Since(began); took < latency || took > 2*latency-time.Second {
		t.Errorf("%d in a row took %v", often, took)
	}
}

func TestHeldDataArrivesWhenHealed(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	client, server := w.dial()
	w.Slow(time.Hour, time.Minute)
	client.say("one ")
	client.say("two")
	must(t, client.CloseWrite())
	server.hearNothing()
	must(t, w.Heal())
	server.hear("one two")
	server.hearEnd(io.EOF)
	server.say("thanks")
	client.hear("thanks")
}

// Data in flight is bounded: a sender of more has to wait.
func TestASlowLinkIsBounded(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	client, server := w.dial()
	w.Slow(time.Hour, 0)
	must(t, client.SetWriteDeadline(time.Now().Add(2*time.Second)))
	n, err := client.Write(make([]byte, 256<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes were accepted, %v", n, err)
	}
	must(t, w.Heal())
	must(t, client.Close())
	if got, err := io.Copy(io.Discard, server); err != nil || got != int64(n) {
		t.Errorf("%d bytes of %d arrived, %v", got, n, err)
	}
}

func TestThrough(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	got, err := w.Through("postgres://ann:s%3Acret@127.0.0.1:5432/shop?sslmode=disable")
	must(t, err)
	u, err := url.Parse(got)
	must(t, err)
	if password, _ := u.User.Password(); u.Host != w.Addr() || password != "s:cret" || u.Path != "/shop" || u.RawQuery != "sslmode=disable" {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{"host=/tmp password=cret", "nats://ann:cret@[::1", ""} {
		if got, err := w.Through(bad); err == nil || bytes.Contains([]byte(err.Error()), []byte("cret")) {
			t.Errorf("%q: got %q, %v", bad, got, err)
		}
	}
}

// Not parallel: no other test's goroutines may start or end meanwhile.
func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for _, fault := range []func(*link.Link){
		func(*link.Link) {},
		func(l *link.Link) { l.Blackhole(link.Both) },
		func(l *link.Link) { l.Slow(time.Hour, 0) },
		func(l *link.Link) { must(t, l.Cut()) },
	} {
		server, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		l, err := link.New(server.Addr().String())
		must(t, err)
		w := &wire{Link: l, t: t, server: server}
		client, other := w.dial()
		fault(l)
		_, _ = client.Write(make([]byte, 1<<20)) // whether it goes is the fault's business
		must(t, l.Close())
		if _, err := net.Dial("tcp", l.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("connecting through a closed link: %v", err)
		}
		other.Close()
		client.Close()
		server.Close()
	}
	goleak.VerifyNone(t, before)
}
