package proxies

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(texts ...string) (t Trusted) {
	for _, text := range texts {
		t = append(t, netip.MustParsePrefix(text))
	}
	return t
}

func TestClient(t *testing.T) {
	t.Parallel()
	gateway := []string{"192.0.2.0/24"}
	for name, c := range map[string]struct {
		trusted   []string
		forwarded []string
		want      string
		err       error
	}{
		"no proxy is trusted":             {nil, []string{"198.51.100.7"}, "192.0.2.1", nil},
		"another is trusted":              {[]string{"10.0.0.0/8"}, []string{"198.51.100.7"}, "192.0.2.1", nil},
		"the gateway is trusted":          {gateway, []string{"198.51.100.7"}, "198.51.100.7", nil},
		"the client lies":                 {gateway, []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7", nil},
		"the client lies in another line": {gateway, []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7", nil},
		"the client lies, unreadably":     {gateway, []string{"x, 198.51.100.7"}, "198.51.100.7", nil},
		"by way of two":                   {[]string{"192.0.2.0/24", "10.0.0.1/32"}, []string{"198.51.100.7, 10.0.0.1"}, "198.51.100.7", nil},
		"nothing is said":                 {gateway, nil, "192.0.2.1", nil},
		"all are trusted":                 {gateway, []string{"192.0.2.9, 192.0.2.8"}, "192.0.2.9", nil},
		"with a port":                     {gateway, []string{"198.51.100.7:55123"}, "198.51.100.7", nil},
		"with a port, by way of two":      {[]string{"192.0.2.0/24", "10.0.0.1/32"}, []string{"203.0.113.9:1, 198.51.100.7:2, 10.0.0.1:3"}, "198.51.100.7", nil},
		"IPv6":                            {gateway, []string{"2001:DB8::1"}, "2001:db8::1", nil},
		"IPv6 in brackets":                {gateway, []string{"[2001:db8::1]"}, "2001:db8::1", nil},
		"IPv6 with a port":                {gateway, []string{"[2001:db8::1]:443"}, "2001:db8::1", nil},
		"IPv6 in quotes":                  {gateway, []string{`"[2001:db8::1]:443"`}, "2001:db8::1", nil},
		"IPv4 as IPv6":                    {gateway, []string{"::ffff:198.51.100.7"}, "198.51.100.7", nil},
		"with a zone":                     {gateway, []string{"fe80::1%eth0"}, "fe80::1", nil},
		"spaces and empty members":        {gateway, []string{" 198.51.100.7 ,\t, ", ""}, "198.51.100.7", nil},
		"not an address":                  {gateway, []string{"203.0.113.9, unknown"}, "192.0.2.1", ErrUnreadable},
		"a name":                          {gateway, []string{"client.example:80"}, "192.0.2.1", ErrUnreadable},
		"not an address behind a proxy":   {[]string{"192.0.2.0/24", "10.0.0.1/32"}, []string{"_hidden, 10.0.0.1"}, "10.0.0.1", ErrUnreadable},
	} {
		r := httptest.NewRequest("GET", "/", nil) // from 192.0.2.1
		r.Header["X-Forwarded-For"] = c.forwarded
		if got, err := prefixes(c.trusted...).Client(r); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %s %v, want %s %v", name, got, err, c.want, c.err)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Forwarded", "for=198.51.100.7")
	if got, err := prefixes(gateway...).Client(r); got != "192.0.2.1" || !errors.Is(err, ErrForwarded) {
		t.Errorf("Forwarded alone: %s %v", got, err)
	}
	if got, err := prefixes().Client(r); got != "192.0.2.1" || err != nil {
		t.Errorf("a stranger's Forwarded: %s %v", got, err)
	}
}

// An address is a proxy's only if it was configured, not because it is private.
func TestPrivateNetworksAreNoProxies(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1", "::1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1", "fe80::1", "fd00::1", "::ffff:10.1.2.3"} {
		peer := netip.AddrPortFrom(netip.MustParseAddr(addr), 1).String()
		for _, trusted := range []Trusted{nil, prefixes("192.0.2.0/24")} {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = peer
			r.Header.Set("X-Forwarded-For", "198.51.100.7")
			if got, _ := trusted.Client(r); got != plain(netip.MustParseAddr(addr)).String() || trusted.Has(peer) {
				t.Errorf("%s is trusted with %v: %s", addr, trusted, got)
			}
			r.RemoteAddr = "192.0.2.1:1"
			r.Header.Set("X-Forwarded-For", "198.51.100.7, "+addr)
			if got, _ := prefixes("192.0.2.0/24").Client(r); got != plain(netip.MustParseAddr(addr)).String() {
				t.Errorf("%s behind a proxy is taken for one: %s", addr, got)
			}
		}
	}
}

func TestWarnerIsQuiet(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	warn := Warner(slog.New(slog.NewTextHandler(&out, nil)))
	for range 3 {
		warn(httptest.NewRequest("GET", "/", nil), ErrUnreadable)
	}
	if n := strings.Count(out.String(), ErrUnreadable.Error()); n != 1 {
		t.Errorf("%d lines: %s", n, &out)
	}
}
