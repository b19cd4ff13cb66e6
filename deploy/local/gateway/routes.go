package gateway

import (
	"path"
	"strings"
)

// Route assigns paths to a service.
type Route struct {
	Service string
	// Path matches exactly or, if it ends in /*, with everything below it.
	Path string
}

// Routes returns everything that a client can reach. It includes nothing that the services serve on their internal ports.
func Routes() []Route {
	return []Route{
		{"auth", "/auth/*"},
		{"auth", "/.well-known/jwks.json"},
		{"auth", "/users"},
		{"auth", "/users/*"},
		{"catalog", "/products"},
		{"catalog", "/products/batch"},
		{"catalog", "/products/*"},
		{"catalog", "/purchases"},
		{"catalog", "/purchases/*"},
		{"catalog", "/admin/purchases"},
		{"catalog", "/admin/refunds"},
		{"catalog", "/catalog/log"},
		{"catalog", "/catalog/openapi.json"},
		{"billing", "/bills"},
		{"billing", "/bills/*"},
		{"billing", "/transactions"},
		{"billing", "/payment/webhook"},
		{"billing", "/payment/reversals"},
		{"billing", "/admin/transactions"},
		{"billing", "/admin/reversals"},
		{"billing", "/payment/verify"},
		{"billing", "/payment/refused"},
		{"billing", "/payment/credits"},
		{"billing", "/payment/credits/*"},
		{"billing", "/customers"},
		{"billing", "/customers/*"},
		{"billing", "/billing/openapi.json"},
	}
}

// Exports returns the lists that are also exports (libs/service/export), whose responses may take any time.
func Exports() []string {
	return []string{"/purchases", "/transactions", "/admin/purchases", "/admin/refunds", "/admin/transactions", "/admin/reversals"}
}

// LargeBodies returns the routes that take larger bodies than all others, with the gateway's limit in bytes. It is above the service's own
// (x-lavka-max-body in the contract), as MaxBody is.
func LargeBodies() map[string]int64 { return map[string]int64{"/products/batch": 1<<20 + 32<<10} }

// bodyLimit returns the largest body of a path's requests, in bytes.
func bodyLimit(path string) int64 {
	if limit, ok := LargeBodies()[path]; ok {
		return limit
	}
	return MaxBody
}

// Match returns the service of a path. A path that two programs could interpret differently has none: one with //, with a segment . or .., with
// a backslash, or with an encoded slash or backslash.
func Match(routes []Route, decoded, escaped string) (service string, ok bool) {
	if !plain(decoded, escaped) {
		return "", false
	}
	for _, r := range routes {
		if below, isTree := strings.CutSuffix(r.Path, "*"); decoded == r.Path || isTree && strings.HasPrefix(decoded, below) {
			return r.Service, true
		}
	}
	return "", false
}

func plain(decoded, escaped string) bool {
	if !strings.HasPrefix(decoded, "/") || strings.Contains(decoded, `\`) {
		return false
	}
	if lower := strings.ToLower(escaped); strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") {
		return false
	}
	clean := path.Clean(decoded)
	return decoded == clean || decoded == clean+"/"
}
