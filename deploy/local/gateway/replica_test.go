package gateway

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lavka/libs/testkit/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a replica whose health a test sets.
type fake struct {
	Replica
	health atomic.Int32 // the status of /readyz; 0 for no response
	probes atomic.Int32

	mu   sync.Mutex
	idle map[net.Conn]bool // connections without a request
}

func newFake(t *testing.T, name string, health int32) *fake {
	t.Helper()
	f := &fake{idle: map[net.Conn]bool{}}
	f.health.Store(health)
	s := httptest.NewUnstartedServer(echo(name))
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if state == http.StateIdle {
			f.idle[c] = true
		} else {
			delete(f.idle, c)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	f.Replica = Replica{s.Listener.Addr().String(), listening(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		f.probes.Add(1)
		if f.health.Load() == 0 {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(int(f.health.Load()))
	})}
	return f
}

func (f *fake) idleConnections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.idle)
}

// answering returns, sorted, the replicas that got a series of purchases.
func answering(t *testing.T, addr string) string {
	t.Helper()
	count := map[string]int{}
	for range 30 {
		resp, body := raw(t, addr, "POST /purchases HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
		if resp.StatusCode != 200 || body != "body" {
			t.Errorf("%s %q", resp.Status, body)
		}
		count[resp.Header.Get("X-Service")]++
	}
	var names []string
	for _, name := range []string{"a", "b", "c"} {
		if count[name] > 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

func TestOnlyReadyReplicasAreAsked(t *testing.T) {
	t.Parallel()
	a, b, c := newFake(t, "a", 503), newFake(t, "b", 503), newFake(t, "c", 503)
	addr := front(t, map[string][]Replica{"catalog": {a.Replica, b.Replica, c.Replica}})
	goTo := func(want string) func() bool { return func() bool { return answering(t, addr) == want } }
	if got := answering(t, addr); got != "a b c" {
		t.Errorf("no replica is ready, so all should be tried, but %q responded", got)
	}
	a.health.Store(200)
	waittest.Eventually(t, "requests go to the only ready one", goTo("a"))
	c.health.Store(200)
	waittest.Eventually(t, "requests go to both that are ready", goTo("a c"))
	a.health.Store(0)
	waittest.Eventually(t, "none go to one whose probes get no response", goTo("c"))
	c.health.Store(503)
	waittest.Eventually(t, "all are tried again", goTo("a b c"))
}

// The gateway closes its connections to a draining replica before the replica does.
func TestNoConnectionIsKeptToOneThatIsNotReady(t *testing.T) {
	t.Parallel()
	a := newFake(t, "a", 200)
	addr := front(t, map[string][]Replica{"catalog": {a.Replica}})
	waittest.Eventually(t, "it is probed", func() bool { return a.probes.Load() > 2 })
	answering(t, addr)
	waittest.Eventually(t, "connections are kept for the next requests", func() bool { return a.idleConnections() > 0 })
	a.health.Store(503)
	waittest.Eventually(t, "its connections are closed", func() bool { return a.idleConnections() == 0 })
}

func TestAReadyReplicaThatIsGone(t *testing.T) {
	t.Parallel()
	gone, notReady := newFake(t, "gone", 200), newFake(t, "b", 503)
	gone.Addr = closedAddr(t) // its probes still succeed, as if it had just died
	addr := front(t, map[string][]Replica{"catalog": {gone.Replica, notReady.Replica}})
	waittest.Eventually(t, "both are probed", func() bool { return gone.probes.Load() > 2 && notReady.probes.Load() > 2 })
	if got := answering(t, addr); got != "b" {
		t.Errorf("%q answered", got)
	}
}

func TestProbesStopWithTheGateway(t *testing.T) {
	t.Parallel()
	a, silent := newFake(t, "a", 200), newFake(t, "b", 0)
	_, g := frontWith(t, map[string][]Replica{"catalog": {a.Replica, silent.Replica}}, func(*Gateway) {})
	waittest.Eventually(t, "they are probed", func() bool { return a.probes.Load() > 2 && silent.probes.Load() > 0 })
	if err := g.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	asked := a.probes.Load()
	time.Sleep(3 * probeEvery) // for probes that must not come
	if now := a.probes.Load(); now != asked {
		t.Errorf("probed %d times after the end", now-asked)
	}
}
