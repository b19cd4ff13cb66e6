package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// Replica holds the addresses of one process of a service, as host:port.
type Replica struct {
	Addr         string // for requests
	InternalAddr string // for health probes
}

// How often a replica's health is probed, and how long it has to respond.
const (
	probeEvery = 200 * time.Millisecond
	probeLimit = time.Second
)

// replica is a Replica with its state and the connections to it.
type replica struct {
	Replica
	upstream *upstream
	ready    atomic.Bool
	opened   atomic.Bool // whether it has ever been ready
}

func newReplica(at Replica) *replica { return &replica{Replica: at, upstream: newUpstream(at.Addr)} }

// watch probes the replica until ctx ends.
func (r *replica) watch(ctx context.Context, probes http.RoundTripper, log *slog.Logger) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		if ready := r.probe(ctx, probes); ctx.Err() == nil && ready != r.ready.Load() {
			r.turn(ready, log)
		}
		r.upstream.closeIdle(idleLimit)
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
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is reused
	return err == nil && resp.StatusCode == http.StatusOK
}

// turn records whether the replica is ready. If it is not, turn closes the idle connections to it before the replica does:
// a request on a connection that the other end is closing would be lost.
func (r *replica) turn(ready bool, log *slog.Logger) {
	r.ready.Store(ready)
	again := r.opened.Swap(true)
	switch {
	case !ready:
		r.upstream.closeIdle(0)
		log.Info("a replica is not ready; its requests go to the others")
	case again:
		log.Info("a replica is ready again")
	}
}
