package httpserver

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/domain/problem"
	"lavka/libs/service/access"
	"lavka/libs/service/connlimit"
	"lavka/libs/service/telemetry"
)

// headAsGet makes HEAD work wherever GET does (RFC 9110, section 9.3.2). The
// router sees a copy that says GET; the server, which keeps the request itself,
// still knows to send no body.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			get := *r
			get.Method = http.MethodGet
			r = &get
		}
		next.ServeHTTP(w, r)
	})
}

// headAllowed completes what the router says it takes.
func headAllowed(h http.Header) {
	if list := h.Get("Allow"); strings.Contains(list, "GET") && !strings.Contains(list, "HEAD") {
		h.Set("Allow", list+", HEAD")
	}
}

// optionsOfHead has OPTIONS tell of HEAD too.
func optionsOfHead(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method == http.MethodOptions {
			c.Response().Before(func() { headAllowed(c.Response().Header()) })
		}
		return next(c)
	}
}

// joined makes one line of a header that is a list, since several lines mean the
// same (RFC 9110, section 5.3) and the generated code takes one.
func joined(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Request().Header
		for _, name := range []string{"If-Match", "If-None-Match"} {
			if lines := h[name]; len(lines) > 1 {
				h[name] = []string{strings.Join(lines, ", ")}
			}
		}
		return next(c)
	}
}

// seals are shared by all answers: whoever changes one replaces it.
var seals = http.Header{
	"Cache-Control":           {"no-store"},
	"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
	"Referrer-Policy":         {"no-referrer"}, // an activation link is a secret
	"X-Content-Type-Options":  {"nosniff"},
}

// sealed has browsers and caches make nothing of an answer but data for the one
// who asked. A handler that knows better says so after it.
func sealed(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		maps.Copy(c.Response().Header(), seals)
		return next(c)
	}
}

// traced starts the server span. It is named after the route and never holds
// the path itself: activation links carry a secret there. The trace of whoever
// asks goes on here only when he is trusted: anybody else could have all that he
// does recorded.
func traced(trusted []netip.Prefix) echo.MiddlewareFunc {
	tracer := otel.Tracer("lavka/libs/service/httpserver")
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			ctx := r.Context()
			if from(trusted, r.RemoteAddr) {
				ctx = otel.GetTextMapPropagator().Extract(ctx, propagation.HeaderCarrier(r.Header))
			}
			ctx, span := tracer.Start(ctx, r.Method+" "+c.Path(), trace.WithSpanKind(trace.SpanKindServer))
			defer span.End()
			c.SetRequest(r.WithContext(ctx))
			err := next(c)
			if !span.IsRecording() { // few are
				return err
			}
			status := c.Response().Status
			span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", c.Path()), attribute.Int("http.response.status_code", status))
			if status >= http.StatusInternalServerError {
				span.SetStatus(codes.Error, "")
			}
			return err
		}
	}
}

func from(networks []netip.Prefix, addr string) bool {
	peer, err := netip.ParseAddrPort(addr)
	return err == nil && slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(peer.Addr().Unmap()) })
}

// measured counts requests and their time by route and status.
func measured(registry prometheus.Registerer) echo.MiddlewareFunc {
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "http_server_request_duration_seconds",
		Help:    "Time to answer a request.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"method", "route", "status"})
	registry.MustRegister(duration)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			start := time.Now()
			err := next(c)
			route := c.Path()
			if c.Response().Status == http.StatusNotFound && route == "" {
				route = "unknown"
			}
			duration.WithLabelValues(knownMethod(c.Request().Method), route, strconv.Itoa(c.Response().Status)).Observe(time.Since(start).Seconds())
			return err
		}
	}
}

// logged writes the answer to an error and then one line for the request, the
// only one that it gets. What failed because the client has hung up is nobody's
// fault, and must not look like one of ours.
func logged(log *slog.Logger) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			start := time.Now()
			ctx, notes := telemetry.WithNotes(c.Request().Context())
			c.SetRequest(c.Request().WithContext(ctx))
			err := Gone(ctx, next(c))
			if err != nil {
				c.Error(err)
			}
			r, status := c.Request(), c.Response().Status
			level := slog.LevelInfo
			attrs := []slog.Attr{
				slog.String("method", r.Method), slog.String("route", c.Path()),
				slog.Int("status", status), slog.Duration("duration", time.Since(start)),
				slog.String("client", c.RealIP()),
			}
			if id, ok := access.Lookup(r.Context()); ok {
				attrs = append(attrs, slog.Int64("user_id", id.UserID))
			}
			attrs = append(attrs, notes.Attrs()...)
			if err != nil {
				p := problem.From(translate(err, c))
				attrs = append(attrs, slog.String("code", p.Code))
				if p.Cause != nil && (status >= http.StatusInternalServerError || p.Kind == problem.ClientGone) {
					attrs = append(attrs, slog.Any("error", p.Cause))
				}
			}
			if status == http.StatusInternalServerError {
				level = slog.LevelError
			}
			log.LogAttrs(r.Context(), level, "request", attrs...)
			return nil
		}
	}
}

// recovered makes a panic a 500 that shows nothing.
func recovered(log *slog.Logger) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) (err error) {
			defer func() {
				if v := recover(); v != nil {
					if v == http.ErrAbortHandler {
						panic(v)
					}
					log.ErrorContext(c.Request().Context(), "panic", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
					err = fmt.Errorf("panic: %v", v)
				}
			}()
			return next(c)
		}
	}
}

// admitted refuses what comes on a connection too many.
func admitted(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := connlimit.Admit(c.Response(), c.Request()); err != nil {
			return err
		}
		return next(c)
	}
}

// requestLimit bounds what is done for a request: a server that does not answer
// must not hold its callers for ever.
const requestLimit = 20 * time.Second

func limited(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), requestLimit)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// plainParameters refuses a query that can't be read as a whole, of which the
// rest would be lost without a word (a filter behind a semicolon), and what no
// parameter here can hold and Postgres would choke on: U+0000 and invalid UTF-8.
// A slash in a path's parameter is a longer path than any route has: echo lets
// the last parameter swallow it.
func plainParameters(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return problem.New(problem.Malformed, "malformed", "the query can't be read: join name=value pairs with ampersands, and percent-encode the rest").Because(err)
		}
		plain := isPlain(u.Path)
		for name, values := range query {
			plain = plain && isPlain(name) && !slices.ContainsFunc(values, func(v string) bool { return !isPlain(v) })
		}
		if !plain {
			return problem.New(problem.Malformed, "malformed", "the URL holds U+0000 or is not UTF-8")
		}
		for _, value := range c.ParamValues() {
			if strings.Contains(value, "/") {
				return echo.ErrNotFound
			}
		}
		return next(c)
	}
}

func isPlain(text string) bool { return !strings.ContainsRune(text, 0) && utf8.ValidString(text) }

// knownMethod keeps strangers from making up label values.
func knownMethod(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m
	}
	return "other"
}
