package natsproxy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"lavka/libs/testkit/waittest"
	"lavka/tests/faults/natsproxy"
)

func TestWithoutRulesNothingChanges(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, w *wire, from, to *nats.Conn) {
		const n = 10_000
		w.Set(natsproxy.Rule{Subject: "another", Drop: 1, Duplicate: 1, Delay: 1})
		sub := w.subscribe(to, "x")
		random := rand.New(rand.NewPCG(3, 4))
		var sent []*nats.Msg
		for i := range n {
			m := &nats.Msg{Subject: "x", Data: awkward(random), Header: nats.Header{"Number": {fmt.Sprint(i)}}}
			if i%3 == 0 {
				m.Header, m.Reply = nil, "no.subscriber"
			}
			sent = append(sent, m)
			must(t, from.PublishMsg(m))
		}
		for i, want := range sent {
			got, err := sub.NextMsg(patience)
			must(t, err)
			if !bytes.Equal(got.Data, want.Data) || got.Reply != want.Reply || !reflect.DeepEqual(got.Header, want.Header) {
				t.Fatalf("message %d is %+v, and was %+v", i, got, want)
			}
		}
		if c := w.Counts(); c != (natsproxy.Counts{Passed: n}) {
			t.Errorf("%+v", c)
		}
		if servers := w.far.DiscoveredServers(); len(servers) > 0 {
			t.Errorf("the client knows ways past the proxy: %v", servers)
		}
	})
}

// awkward is what a careless reader takes for the protocol.
func awkward(random *rand.Rand) []byte {
	var data []byte
	for range random.IntN(12) {
		switch random.IntN(4) {
		case 0:
			data = append(data, "\r\n"...)
		case 1:
			data = append(data, "PUB x 3\r\nabc\r\nMSG x 1 3\r\nHMSG x 1 12 14\r\n-ERR 'x'\r\nPING\r\n"...)
		case 2:
			data = append(data, make([]byte, random.IntN(3000))...)
		default:
			data = append(data, byte(random.Uint32()), 0xff, 0)
		}
	}
	return data
}

func TestDuplicate(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, w *wire, from, to *nats.Conn) {
		const n = 1000
		sub := w.subscribe(to, "x")
		w.Set(natsproxy.Rule{Subject: "x", Duplicate: 1})
		w.publish(from, "x", n)
		got := w.waiting(sub)
		var want []string
		for _, s := range numbers(n) {
			want = append(want, s, s)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d messages, or not each twice and in order", len(got))
		}
		if c := w.Counts(); c != (natsproxy.Counts{Duplicated: n}) {
			t.Errorf("%+v", c)
		}
	})
}

func TestDrop(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, w *wire, from, to *nats.Conn) {
		const n = 1000
		sub, other := w.subscribe(to, "x"), w.subscribe(to, "y")
		w.Set(natsproxy.Rule{Subject: "x", Drop: 0.3})
		w.publish(from, "x", n)
		w.publish(from, "y", n)
		got, c := w.waiting(sub), w.Counts()
		if len(got) != n-c.Dropped || c.Dropped < n/5 || c.Dropped > 2*n/5 || c.Passed != 2*n-c.Dropped {
			t.Errorf("%d arrived; %+v", len(got), c)
		}
		if !slices.Equal(got, sorted(got)) {
			t.Error("those that are left are out of order")
		}
		if all := w.waiting(other); !slices.Equal(all, numbers(n)) {
			t.Errorf("%d arrived of what no rule is about", len(all))
		}
	})
}

func TestDelayedMessagesOvertakeEachOther(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, w *wire, from, to *nats.Conn) {
		const n = 500
		sub := w.subscribe(to, "x")
		w.Set(natsproxy.Rule{Subject: "x", Delay: 0.5, MaxDelay: 500 * time.Millisecond})
		w.publish(from, "x", n)
		got := w.next(sub, n)
		if slices.Equal(got, numbers(n)) || !slices.Equal(sorted(got), numbers(n)) {
			t.Errorf("they arrived in order, or not all: %v", got)
		}
		w.settle()
		if more := w.waiting(sub); len(more) > 0 {
			t.Errorf("and then came %v", more)
		}
		if c := w.Counts(); c.Delayed < n/3 || c.Delayed > 2*n/3 || c.Passed+c.Delayed != n {
			t.Errorf("%+v", c)
		}
	})
}

func TestHeldFramesAreReleasedInOrder(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, w *wire, from, to *nats.Conn) {
		const n = 100
		sub, other := w.subscribe(to, "x"), w.subscribe(to, "y")
		w.Set(natsproxy.Rule{Subject: "x", Delay: 1, MaxDelay: 1000 * time.Hour})
		w.publish(from, "x", n)
		w.publish(from, "y", n)
		if got := w.waiting(sub); len(got) > 0 {
			t.Errorf("%v are not held back", got)
		}
		if got := w.waiting(other); !slices.Equal(got, numbers(n)) {
			t.Errorf("%d arrived of what no rule is about", len(got))
		}
		w.Clear()
		if got := w.next(sub, n); !slices.Equal(got, numbers(n)) {
			t.Errorf("released: %v", got)
		}
		w.publish(from, "x", n)
		if got := w.waiting(sub); !slices.Equal(got, numbers(n)) {
			t.Errorf("without rules: %v", got)
		}
	})
}

func TestTheSeedDecides(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) []string {
		w := newWire(t, seed)
		sub := w.subscribe(w.beside, "x")
		w.Set(natsproxy.Rule{Subject: "x", Drop: 0.5, Duplicate: 0.5})
		w.publish(w.far, "x", 200)
		return w.waiting(sub)
	}
	first := run(7)
	if again := run(7); !slices.Equal(first, again) {
		t.Errorf("the same seed, and\n%v\n%v", first, again)
	}
	if other := run(8); slices.Equal(first, other) {
		t.Error("another seed, and the same happens")
	}
}

func TestTheServerGoesAndComes(t *testing.T) {
	t.Parallel()
	w := newWire(t, 1)
	sub := w.subscribe(w.beside, "x")
	for range 3 {
		w.server.Stop()
		waittest.Eventually(t, "disconnected", func() bool { return !w.far.IsConnected() })
		w.server.Start()
		waittest.Eventually(t, "connected again", func() bool { return w.far.IsConnected() && w.beside.IsConnected() })
		w.settle()
		w.publish(w.far, "x", 1)
		if got := w.next(sub, 1); got[0] != "0" {
			t.Errorf("%v", got)
		}
	}
}
