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

// A server that stops reading, because it is frozen or the network drops
// everything, must not block publishers. With nats.go's default it does for a minute.
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
	for err == nil { // until the operating system's buffers are full
		begin := time.Now()
		err = nc.Publish("test", body)
		held = time.Since(begin)
	}
	if held > 30*time.Second {
		t.Errorf("a publish blocked for %v, want at most 30s", held)
	}
	waittest.Eventually(t, "the client gives up the connection", func() bool { return !nc.IsConnected() })
	resume()
	waittest.Eventually(t, "reconnected", func() bool { return connects.Load() > 1 && nc.IsConnected() })
}

// stalling returns a URL that leads to the server through a relay. From stall until
// resume, the relay reads nothing from clients.
func stalling(t *testing.T, serverURL string) (through string, stall func() (resume func())) {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{}, 1) // full while stalled
	r, err := tcprelay.New(u.Host, func(p *tcprelay.Pair) {
		server, err := p.Dial()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(p.Client, server); p.Reset() }() // until either side closes
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
