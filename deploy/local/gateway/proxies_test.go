package gateway

import (
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"lavka/libs/service/httpserver"
	"lavka/libs/service/proxies"
)

// A proxy in front of the gateway, such as one for TLS, may say which client it serves. Others may not.
func TestAProxyInFront(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	billing := up(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	for trusted, want := range map[string]string{"127.0.0.1/32": "198.51.100.7", "10.0.0.0/8": "127.0.0.1", "": "127.0.0.1"} {
		cfg := Config{Replicas: map[string][]Replica{"billing": {billing}}, MaxConnections: 10, Log: slog.New(slog.DiscardHandler)}
		if trusted != "" {
			cfg.TrustedProxies = proxies.Trusted{netip.MustParsePrefix(trusted)}
		}
		addr := served(t, New(cfg))
		raw(t, addr, "GET /bills HTTP/1.1\r\nHost: shop.example\r\nConnection: close, X-Forwarded-For\r\nX-Forwarded-For: 203.0.113.9, 198.51.100.7:55123\r\nX-Forwarded-Host: x\r\n\r\n")
		r := <-seen
		if got := r.Header["X-Forwarded-For"]; len(got) != 1 || got[0] != want || r.Header.Get("X-Forwarded-Host") != "" {
			t.Errorf("with %q trusted: %v, want %s", trusted, r.Header, want)
		}
	}
}

// The side that connected closes an idle connection first: a request on a connection that the other end is closing would be lost.
func TestIdleConnectionsAreClosedByWhoConnected(t *testing.T) {
	t.Parallel()
	if own := newUpstream("").streaming.IdleConnTimeout; own <= 0 || own >= httpserver.IdleTimeout {
		t.Errorf("the gateway keeps idle connections for %v, the services for %v", own, httpserver.IdleTimeout)
	}
	behind := idleTime(Config{TrustedProxies: proxies.Trusted{netip.MustParsePrefix("10.0.0.0/8")}})
	if longest := 10 * time.Minute; behind <= longest || httpserver.IdleTimeout <= longest {
		t.Errorf("proxies in front keep idle connections for up to %v, the gateway for %v", longest, behind)
	}
}
