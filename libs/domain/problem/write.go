package problem

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// ContentType is the media type of a problem (RFC 9457, section 6.1).
const ContentType = "application/problem+json"

// From finds the problem in an error's chain; any other error becomes a 500
// "internal" with the error as its private cause.
func From(err error) *Error {
	var p *Error
	if errors.As(err, &p) {
		return p
	}
	return &Error{Kind: Internal, Code: "internal", Detail: "something went wrong on our side; the trace_id finds it in our logs", Cause: err}
}

// Write answers a request with the problem in err. It logs nothing.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	p := From(err)
	p.Header(w.Header())
	w.WriteHeader(p.Kind.Status())
	// A client that has gone can't be told anything more.
	_, _ = w.Write(p.Body(TraceID(r)))
}

// Body is the problem's text in an answer.
func (e *Error) Body(traceID string) []byte {
	body := make(map[string]any, 7+len(e.Extra))
	for k, v := range e.Extra {
		body[k] = v
	}
	body["type"] = "urn:lavka:problem:" + e.Code
	body["title"] = title(e.Code)
	body["status"] = e.Kind.Status()
	body["detail"] = e.Detail
	body["code"] = e.Code
	body["trace_id"] = traceID
	if len(e.Fields) > 0 {
		body["errors"] = e.Fields
	}
	text, err := json.Marshal(body)
	if err != nil { // only an Extra that is no JSON can do this: a bug of ours
		text = []byte(`{"type":"urn:lavka:problem:internal","title":"Internal","status":500,"code":"internal"}`)
	}
	return append(text, '\n')
}

// Header sets the headers that go with the problem.
func (e *Error) Header(h http.Header) {
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.Kind == Unauthenticated {
		h.Set("WWW-Authenticate", challenge(e.Code))
	}
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
}

// TraceID is the W3C trace id of a request, or "" where there is none.
func TraceID(r *http.Request) string {
	sc := trace.SpanContextFromContext(r.Context())
	if !sc.HasTraceID() {
		return ""
	}
	return sc.TraceID().String()
}

// challenge follows RFC 6750, section 3: no error code when no token was sent.
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
