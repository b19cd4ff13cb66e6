package gateway

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Replica says where one process of a service is, as host:port.
type Replica struct {
	Addr         string // for requests
	InternalAddr string // for its health
}

// A replica is asked for its health so often, and has so long to answer.
const (
	probeEvery = 200 * time.Millisecond
	probeLimit = time.Second
)

// replica is a Replica, whether it is ready, and the connections to it.
type replica struct {
	Replica
	transport *http.Transport
	ready     atomic.Bool
	opened    atomic.Bool // it has been ready before
}

func newReplica(at Replica) *replica {
	return &replica{Replica: at, transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   1024,             // each burst would otherwise open its connections anew
		IdleConnTimeout:       30 * time.Second, // below the services' own 90 s: we close, so no request meets a closing connection
		ResponseHeaderTimeout: answerTime,
		DisableCompression:    true, // bodies go through as they are
	}}
}

// watch asks the replica again and again whether it is ready, until ctx ends.
func (r *replica) watch(ctx context.Context, probes http.RoundTripper, log *slog.Logger) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		if ready := r.probe(ctx, probes); ctx.Err() == nil && ready != r.ready.Load() {
			r.turn(ready, log)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *replica) probe(ctx context.Context, probes http.RoundTripper) bool {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.InternalAddr+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := probes.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // for the connection to be used again
	return err == nil && resp.StatusCode == http.StatusOK
}

// turn takes in that the replica is ready, or is no more. It closes the idle connections to one that is not, before that one does:
// a request that set out on a connection which the other end is closing would be lost.
func (r *replica) turn(ready bool, log *slog.Logger) {
	r.ready.Store(ready)
	again := r.opened.Swap(true)
	switch {
	case !ready:
		r.transport.CloseIdleConnections()
		log.Info("a replica is not ready; others get its requests")
	case again:
		log.Info("a replica is ready again")
	}
}
