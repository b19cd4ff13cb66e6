package natsproxy_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"lavka/libs/testkit/natstest"
	"lavka/tests/faults/natsproxy"
)

// patience is how long a test waits for what has to come.
const patience = 60 * time.Second

// wire is a server and two of its clients, one through the proxy.
type wire struct {
	*natsproxy.Proxy
	t           *testing.T
	server      *natstest.Server
	url         string // through the proxy
	far, beside *nats.Conn
}

func newWire(t *testing.T, seed uint64) *wire {
	t.Helper()
	w := &wire{t: t, server: natstest.Start(t)}
	u, err := url.Parse(w.server.URL)
	must(t, err)
	w.Proxy, err = natsproxy.New(u.Host, seed)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.url, err = w.Through(w.server.URL)
	must(t, err)
	w.far, w.beside = w.connect(w.url), w.connect(w.server.URL)
	return w
}

func (w *wire) connect(url string) *nats.Conn {
	w.t.Helper()
	nc, err := natstest.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	must(w.t, err)
	w.t.Cleanup(nc.Close)
	return nc
}

func (w *wire) subscribe(nc *nats.Conn, subject string) *nats.Subscription {
	w.t.Helper()
	sub, err := nc.SubscribeSync(subject)
	must(w.t, err)
	must(w.t, sub.SetPendingLimits(-1, -1))
	must(w.t, nc.FlushTimeout(patience))
	return sub
}

// publish sends messages 0 to n-1 and returns when the server has taken in
// what came through, and delivered it.
func (w *wire) publish(nc *nats.Conn, subject string, n int) {
	w.t.Helper()
	for i := range n {
		must(w.t, nc.Publish(subject, fmt.Append(nil, i)))
	}
	w.settle()
}

// settle returns when everything has arrived that is not held back.
func (w *wire) settle() {
	w.t.Helper()
	for _, nc := range []*nats.Conn{w.far, w.beside, w.far} {
		must(w.t, nc.FlushTimeout(patience))
	}
}

// waiting takes what has arrived.
func (w *wire) waiting(sub *nats.Subscription) (got []string) {
	w.t.Helper()
	n, _, err := sub.Pending()
	must(w.t, err)
	return w.next(sub, n)
}

// next waits for the next n messages.
func (w *wire) next(sub *nats.Subscription, n int) (got []string) {
	w.t.Helper()
	for range n {
		m, err := sub.NextMsg(patience)
		must(w.t, err)
		got = append(got, string(m.Data))
	}
	return got
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// sorted is in the order of the numbers.
func sorted(all []string) []string {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return all
}

// bothWays runs a test with messages that go to the server and with such that
// come from it.
func bothWays(t *testing.T, test func(t *testing.T, w *wire, from, to *nats.Conn)) {
	t.Run("to server", func(t *testing.T) {
		t.Parallel()
		w := newWire(t, 1)
		test(t, w, w.far, w.beside)
	})
	t.Run("to client", func(t *testing.T) {
		t.Parallel()
		w := newWire(t, 1)
		test(t, w, w.beside, w.far)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
