package natsconn_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lavka/libs/natsconn"
	"lavka/libs/natstest"
)

// A server that reads no more, since it is frozen or the network swallows all,
// must not hold those who publish, as it does for a minute by nats.go's default.
func TestAServerThatTakesNothing(t *testing.T) {
	t.Parallel()
	address, stall := stalling(t, natstest.Start(t).URL)
	var connects atomic.Int64
	nc, err := natsconn.Connect("nats://"+address, "test", quiet, func() { connects.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	eventually(t, "connected", nc.IsConnected)
	stall(true)
	body := make([]byte, 64<<10)
	for begin := time.Now(); err == nil && time.Since(begin) < 50*time.Second; { // until the system's buffers are full
		err = nc.Publish("test", body)
	}
	if err == nil {
		t.Error("publishing never failed")
	}
	eventually(t, "it has given up", func() bool { return !nc.IsConnected() })
	stall(false)
	eventually(t, "connected again", func() bool { return connects.Load() > 1 && nc.IsConnected() })
}

// stalling is the address of a way to a server on which no more is read from
// clients while it stalls.
func stalling(t *testing.T, serverURL string) (address string, stall func(bool)) {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var gate sync.RWMutex // held while it stalls
	var running sync.WaitGroup
	serve := func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial("tcp", u.Host)
		if err != nil {
			return
		}
		defer server.Close()
		running.Go(func() {
			defer client.Close()
			_, _ = io.Copy(client, server) // until either has gone
		})
		for b := make([]byte, 32<<10); ; {
			gate.RLock()
			gate.RUnlock()
			n, err := client.Read(b)
			if err != nil {
				return
			}
			if _, err := server.Write(b[:n]); err != nil {
				return
			}
		}
	}
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String(), func(on bool) {
		if on {
			gate.Lock()
		} else {
			gate.Unlock()
		}
	}
}
