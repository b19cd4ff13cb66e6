// Package cors lets pages of listed origins read responses (CORS, as the Fetch Standard
// describes it: https://fetch.spec.whatwg.org/#http-cors-protocol). Credentials that a
// browser adds by itself are never allowed: tokens are in Authorization, which a page
// sends itself.
package cors

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"lavka/libs/service/connlimit"
)

// What pages may send and read.
const (
	methods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	sent    = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer"
	exposed = "Location, ETag, Retry-After, Idempotent-Replayed, WWW-Authenticate"
	maxAge  = "600" // seconds for which a browser may remember the answer to a preflight
)

// provider is where the payment provider's paths begin. No page has any business there.
const provider = "/payment/"

// Origins are the origins whose pages may read responses. Without any, no header is
// written.
type Origins []string

// Decode reads a list, separated by commas or spaces (envconfig.Decoder). [Origins.Valid]
// looks at its items.
func (o *Origins) Decode(text string) error {
	*o = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	return nil
}

// Valid returns the items that are origins as a browser sends them: scheme://host, with
// the port unless it is the scheme's. It logs a warning for each other item: neither
// money nor access needs it, so that a mistake must not keep a program from starting.
func (o Origins) Valid(ctx context.Context, log *slog.Logger) (valid Origins) {
	for _, item := range o {
		if wrong := mistake(item); wrong != "" {
			log.WarnContext(ctx, "an item of CORS_ORIGINS is not an origin; continuing without it: its pages can read nothing", "item", item, "error", wrong)
			continue
		}
		valid = append(valid, item)
	}
	return valid
}

// mistake returns why an item of the list is not an origin, or "".
func mistake(item string) string {
	u, err := url.Parse(item)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || item != u.Scheme+"://"+u.Host:
		return "it is not like https://shop.example: a scheme and a host, and nothing after them"
	case item != strings.ToLower(item) || strings.Contains(u.Host, "*") || u.Port() == "80" && u.Scheme == "http" || u.Port() == "443" && u.Scheme == "https" || strings.HasSuffix(u.Host, ":"):
		return "it must be written as browsers send it: in lowercase, without the scheme's default port and without *"
	}
	return ""
}

// String returns the list as Decode reads it.
func (o Origins) String() string { return strings.Join(o, ",") }

// Set sets the headers of the response to a request. It is called once for each
// response, by the program that writes it, before the response begins.
func (o Origins) Set(w http.ResponseWriter, r *http.Request) {
	if !o.concern(r) {
		return
	}
	h := w.Header()
	h.Add("Vary", "Origin") // on every response, also one that no page may read: a cache must not give it to another origin
	if origin, ok := o.listed(r); ok {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", exposed)
	}
}

// Preflight answers a request with which a browser asks whether a page of a listed
// origin may send another one, and reports whether r is such a request. It needs no
// token, and is answered on a connection beyond the limit too: otherwise the page could
// not read why its request is refused.
func (o Origins) Preflight(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" || !o.concern(r) {
		return false
	}
	if _, ok := o.listed(r); !ok {
		return false
	}
	o.Set(w, r)
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", sent)
	h.Set("Access-Control-Max-Age", maxAge)
	_ = connlimit.Admit(w, r) // has the connection closed if it is beyond the limit
	w.WriteHeader(http.StatusNoContent)
	return true
}

// Handler answers preflights, and sets the headers of the responses of next.
func (o Origins) Handler(next http.Handler) http.Handler {
	if len(o) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.Preflight(w, r) {
			return
		}
		o.Set(w, r)
		next.ServeHTTP(w, r)
	})
}

func (o Origins) concern(r *http.Request) bool {
	return len(o) > 0 && !strings.HasPrefix(r.URL.Path, provider)
}

// listed returns the origin of the page that sent a request, if it is in the list.
func (o Origins) listed(r *http.Request) (string, bool) {
	values := r.Header["Origin"]
	if len(values) != 1 || !slices.Contains(o, values[0]) {
		return "", false
	}
	return values[0], true
}
