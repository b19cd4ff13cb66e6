package natsconn_test

import (
	"io"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"lavka/libs/service/natsconn"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/tcprelay"
	"lavka/libs/testkit/waittest"
)

// While the client dials a server that accepts connections and says nothing, as a
// frozen one does, neither a publish nor IsConnected waits for it. When the server
// speaks again, the client connects.
func TestDialingDelaysNoPublish(t *testing.T) {
	t.Parallel()
	server, err := url.Parse(natstest.Start(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	var silent atomic.Bool
	dialed, over := make(chan struct{}), make(chan struct{})
	relay, err := tcprelay.New(server.Host, func(p *tcprelay.Pair) {
		if silent.Load() {
			select {
			case dialed <- struct{}{}:
				<-over
			case <-over:
			}
			return
		}
		upstream, err := p.Dial()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(p.Client, upstream); p.Reset() }() // until either side closes
		_, _ = io.Copy(upstream, p.Client)
	})
	if err != nil {
		t.Fatal(err)
	}
	through, err := relay.Through(server.String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := natsconn.Connect(through, "test", quiet, func() {})
	if err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "connected", nc.IsConnected)

	silent.Store(true)
	relay.Reset()
	var took time.Duration
	for range 5 { // on a busy machine, anything may take a second once
		<-dialed
		begin := time.Now()
		if nc.IsConnected() || nc.Publish("test", nil) == nil {
			t.Fatal("the client is connected to a server that said nothing")
		}
		if took = time.Since(begin); took < time.Second {
			break
		}
	}
	if took >= time.Second {
		t.Errorf("five times, IsConnected and a publish waited for a dial, which lasts for two seconds; the last time for %v", took)
	}
	silent.Store(false)
	close(over)
	waittest.Eventually(t, "connected again", nc.IsConnected)
	nc.Close()
	if err := relay.Close(); err != nil {
		t.Error(err)
	}
}
