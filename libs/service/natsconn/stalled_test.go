package natsconn_test

import (
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lavka/libs/service/natsconn"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/tcprelay"
	"lavka/libs/testkit/waittest"
)

// A server that reads no more, since it is frozen or the network swallows all,
// must not hold those who publish, as it does for a minute by nats.go's default.
func TestAServerThatTakesNothing(t *testing.T) {
	t.Parallel()
	url, stall := stalling(t, natstest.Start(t).URL)
	var connects atomic.Int64
	nc, err := natsconn.Connect(url, "test", quiet, func() { connects.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	waittest.Eventually(t, "connected", nc.IsConnected)
	resume := stall()
	body := make([]byte, 64<<10)
	held := time.Duration(0)
	for err == nil { // until the system's buffers are full
		begin := time.Now()
		err = nc.Publish("test", body)
		held = time.Since(begin)
	}
	if held > 30*time.Second {
		t.Errorf("publishing was held for %v", held)
	}
	waittest.Eventually(t, "it has given up", func() bool { return !nc.IsConnected() })
	resume()
	waittest.Eventually(t, "connected again", func() bool { return connects.Load() > 1 && nc.IsConnected() })
}

// stalling is a URL that leads to a server, on a way on which no more is read
// from clients from stall on until resume.
func stalling(t *testing.T, serverURL string) (through string, stall func() (resume func())) {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{}, 1) // full while it stalls
	r, err := tcprelay.New(u.Host, func(p *tcprelay.Pair) {
		server, err := p.Dial()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(p.Client, server); p.Reset() }() // until either has gone
		for b := make([]byte, 32<<10); ; {
			gate <- struct{}{}
			<-gate
			n, err := p.Client.Read(b)
			if err != nil {
				return
			}
			if _, err := server.Write(b[:n]); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if through, err = r.Through(serverURL); err != nil {
		t.Fatal(err)
	}
	return through, func() (resume func()) {
		gate <- struct{}{}
		resume = sync.OnceFunc(func() { <-gate })
		t.Cleanup(resume)
		return resume
	}
}
