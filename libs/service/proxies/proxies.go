// Package proxies finds the address of a request's client behind trusted proxies.
package proxies

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Trusted are the networks of the proxies whose X-Forwarded-For is believed. No other
// address is trusted, whatever network it is in.
type Trusted []netip.Prefix

// The reasons for which a trusted proxy's clients can't be told apart.
var (
	ErrUnreadable = errors.New("X-Forwarded-For has an entry that is not an address")
	ErrForwarded  = errors.New("the request has Forwarded and no X-Forwarded-For, and only the latter is read")
)

// Has reports whether an [http.Request.RemoteAddr] is a trusted proxy's.
func (t Trusted) Has(remoteAddr string) bool {
	if len(t) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(remoteAddr)
	return err == nil && t.contains(plain(peer.Addr()))
}

// Client returns the address of a request's client: the right-most one of the peer's
// and of those in X-Forwarded-For that is not a trusted proxy's, or the left-most if
// all are. Entries may have a port, and IPv6 addresses brackets, as some gateways
// write them; empty ones don't count. If a trusted proxy does not say which client it
// serves, Client returns the proxy's address, and why.
func (t Trusted) Client(r *http.Request) (string, error) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		host, _, _ := net.SplitHostPort(r.RemoteAddr) // "" if it has none
		return host, nil
	}
	client := plain(peer.Addr())
	if !t.contains(client) {
		return client.String(), nil
	}
	lines := r.Header["X-Forwarded-For"] // several mean the same as one (RFC 9110, section 5.3)
	if len(lines) == 0 && r.Header.Get("Forwarded") != "" {
		return client.String(), ErrForwarded
	}
	entries := strings.Split(strings.Join(lines, ","), ",")
	for i := len(entries) - 1; i >= 0 && t.contains(client); i-- {
		entry := strings.Trim(entries[i], " \t\"")
		if entry == "" {
			continue
		}
		next, ok := parse(entry)
		if !ok {
			return client.String(), ErrUnreadable
		}
		client = next
	}
	return client.String(), nil
}

func (t Trusted) contains(addr netip.Addr) bool {
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func parse(entry string) (netip.Addr, bool) {
	bare := entry
	if inner, ok := strings.CutPrefix(entry, "["); ok {
		bare = strings.TrimSuffix(inner, "]")
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		return plain(addr), true
	}
	withPort, err := netip.ParseAddrPort(entry)
	return plain(withPort.Addr()), err == nil
}

func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// Warner returns a function that logs an error of [Trusted.Client], at most once a
// minute.
func Warner(log *slog.Logger) func(*http.Request, error) {
	var last atomic.Int64
	return func(r *http.Request, err error) {
		now, before := time.Now().Unix(), last.Load()
		if now-before >= 60 && last.CompareAndSwap(before, now) {
			log.WarnContext(r.Context(), "a trusted proxy does not say which client it serves; its clients count as one address, and so are throttled together", "proxy", r.RemoteAddr, "error", err)
		}
	}
}
