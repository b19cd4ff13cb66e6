// Package directhttp provides HTTP clients that connect to the server itself. Those
// of net/http follow HTTP_PROXY and its relatives, and so allow a variable to put a
// proxy in front of auth's public keys, or between a probe and its replica. In
// tests/architecture, a rule keeps the defaults of net/http out.
package directhttp

import "net/http"

// Client is http.DefaultClient without a proxy.
var Client = &http.Client{Transport: Transport()}

// Transport returns a new transport like http.DefaultTransport, without a proxy.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	return t
}
