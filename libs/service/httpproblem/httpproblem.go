// Package httpproblem answers HTTP requests with problems (libs/domain/problem),
// as RFC 9457 application/problem+json.
package httpproblem

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"lavka/libs/domain/problem"
)

// ContentType is the media type of a problem (RFC 9457, section 6.1).
const ContentType = "application/problem+json"

var statuses = map[problem.Kind]int{
	problem.Internal:             http.StatusInternalServerError,
	problem.Malformed:            http.StatusBadRequest,
	problem.Unauthenticated:      http.StatusUnauthorized,
	problem.PaymentRequired:      http.StatusPaymentRequired,
	problem.Forbidden:            http.StatusForbidden,
	problem.NotFound:             http.StatusNotFound,
	problem.MethodNotAllowed:     http.StatusMethodNotAllowed,
	problem.Conflict:             http.StatusConflict,
	problem.Gone:                 http.StatusGone,
	problem.PreconditionFailed:   http.StatusPreconditionFailed,
	problem.TooLarge:             http.StatusRequestEntityTooLarge,
	problem.UnsupportedMediaType: http.StatusUnsupportedMediaType,
	problem.Invalid:              http.StatusUnprocessableEntity,
	problem.TooMany:              http.StatusTooManyRequests,
	problem.ClientGone:           499, // as in nginx; RFC 9110 defines none
	problem.BadGateway:           http.StatusBadGateway,
	problem.Unavailable:          http.StatusServiceUnavailable,
}

// Status returns the HTTP status of a kind (RFC 9110, section 15).
func Status(k problem.Kind) int {
	if s, ok := statuses[k]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Write answers a request with the problem in err. It logs nothing.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	p := problem.From(err)
	if r.Header.Get("Idempotency-Key") != "" && TakesKey(r.Method, r.URL.Path) {
		p = WithRetry(p)
	}
	SetHeader(w.Header(), p)
	w.WriteHeader(Status(p.Kind))
	// A client that has disconnected can't be told anything more.
	_, _ = w.Write(Body(p, TraceID(r)))
}

// Body returns the JSON text of a problem.
func Body(p *problem.Error, traceID string) []byte {
	body := make(map[string]any, 7+len(p.Extra))
	for k, v := range p.Extra {
		body[k] = v
	}
	body["type"] = "urn:lavka:problem:" + p.Code
	body["title"] = title(p.Code)
	body["status"] = Status(p.Kind)
	body["detail"] = p.Detail
	body["code"] = p.Code
	body["trace_id"] = traceID
	if len(p.Fields) > 0 {
		body["errors"] = p.Fields
	}
	text, err := json.Marshal(body)
	if err != nil { // only an Extra that has no JSON form can cause this: a bug of ours
		text = []byte(`{"type":"urn:lavka:problem:internal","title":"Internal","status":500,"code":"internal"}`)
	}
	return append(text, '\n')
}

// SetHeader sets the headers that belong to a problem.
func SetHeader(h http.Header, p *problem.Error) {
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.Kind == problem.Unauthenticated {
		h.Set("WWW-Authenticate", challenge(p.Code))
	}
	if p.RetryAfter > 0 {
		seconds := (p.RetryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
}

// TraceID returns the W3C trace id of a request, or "" if it has none.
func TraceID(r *http.Request) string { return TraceIDIn(r.Context()) }

// TraceIDIn is [TraceID] of a request's context.
func TraceIDIn(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.HasTraceID() {
		return ""
	}
	return sc.TraceID().String()
}

// challenge follows RFC 6750, section 3: no error code if no token was sent.
func challenge(code string) string {
	if code == "token_invalid" {
		return `Bearer realm="lavka", error="invalid_token"`
	}
	return `Bearer realm="lavka"`
}

func title(code string) string {
	s := strings.ReplaceAll(code, "_", " ")
	return strings.ToUpper(s[:1]) + s[1:]
}
