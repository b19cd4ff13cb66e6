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
	"lavka/libs/service/export"
	"lavka/libs/service/proxies"
	"lavka/libs/service/telemetry"
)

// headAsGet makes HEAD work wherever GET does (RFC 9110, section 9.3.2). The
// router sees a copy of the request with the method GET; the server keeps the
// original and so sends no body.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			r = r.WithContext(context.WithValue(r.Context(), headKey{}, true))
			r.Method = http.MethodGet
		}
		next.ServeHTTP(w, r)
	})
}

type headKey struct{}

// IsHead reports whether the client sent HEAD, although the handler is that of GET. A
// GET that has an effect must not have it then.
func IsHead(ctx context.Context) bool { return ctx.Value(headKey{}) != nil }

// headAllowed adds HEAD to the Allow header where GET is allowed.
func headAllowed(h http.Header) {
	if list := h.Get("Allow"); strings.Contains(list, "GET") && !strings.Contains(list, "HEAD") {
		h.Set("Allow", list+", HEAD")
	}
}

// optionsOfHead makes OPTIONS list HEAD too.
func optionsOfHead(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method == http.MethodOptions {
			c.Response().Before(func() { headAllowed(c.Response().Header()) })
		}
		return next(c)
	}
}

// joined merges several lines of a list header into one: they mean the same (RFC
// 9110, section 5.3), and the generated code accepts only one.
func joined(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Request().Header
		for _, name := range []string{"If-Match", "If-None-Match", "Prefer"} {
			if lines := h[name]; len(lines) > 1 {
				h[name] = []string{strings.Join(lines, ", ")}
			}
		}
		return next(c)
	}
}

// seals are shared by all answers: replace a header's values, never modify them.
var seals = http.Header{
	"Cache-Control":           {"no-store"},
	"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
	"Referrer-Policy":         {"no-referrer"}, // an activation link is a secret
	"X-Content-Type-Options":  {"nosniff"},
}

// sealed keeps browsers and caches from storing, sniffing or framing a response. A
// handler may override its headers.
func sealed(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		maps.Copy(c.Response().Header(), seals)
		return next(c)
	}
}

// traced starts the server span. The span is named after the route and never holds
// the path, since the path of an activation link is a secret. A client's
// traceparent counts only if a trusted proxy sent it: otherwise any client could
// force its traces to be recorded.
func traced(trusted []netip.Prefix) echo.MiddlewareFunc {
	tracer := otel.Tracer("lavka/libs/service/httpserver")
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			ctx := r.Context()
			if proxies.Trusted(trusted).Has(r.RemoteAddr) {
				ctx = otel.GetTextMapPropagator().Extract(ctx, propagation.HeaderCarrier(r.Header))
			}
			ctx, span := tracer.Start(ctx, r.Method+" "+c.Path(), trace.WithSpanKind(trace.SpanKindServer))
			defer span.End()
			c.SetRequest(r.WithContext(ctx))
			err := next(c)
			if !span.IsRecording() { // most are not
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

// forwarded counts and reports the requests of trusted proxies that do not say which
// client they serve.
func forwarded(trusted proxies.Trusted, registry prometheus.Registerer, log *slog.Logger) echo.MiddlewareFunc {
	unreadable := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "http_server_clients_unknown_total", Help: "Requests through a trusted proxy whose X-Forwarded-For can't be read; the proxy's clients count as one address.",
	})
	registry.MustRegister(unreadable)
	warn := proxies.Warner(log)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if _, err := trusted.Client(c.Request()); err != nil {
				unreadable.Inc()
				warn(c.Request(), err)
			}
			return next(c)
		}
	}
}

// measured counts requests and their duration by method, route and status.
func measured(registry prometheus.Registerer) echo.MiddlewareFunc {
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "http_server_request_duration_seconds",
		Help:    "Time from a request to its response.",
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

// logged writes the answer to an error, and then the one log line of the request.
// A request that failed because its client disconnected is not logged as our
// failure.
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
			if id, ok := access.Lookup(r.Context()); ok && id.UserID != 0 {
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

// recovered turns a panic into a 500 that shows the client nothing.
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

// admitted refuses requests on connections beyond the limit.
func admitted(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := connlimit.Admit(c.Response(), c.Request()); err != nil {
			return err
		}
		return next(c)
	}
}

// requestLimit bounds the time of a request, so that a database or broker that
// does not answer can't hold a client forever.
const requestLimit = 20 * time.Second

// limited sets that limit, except for exports: each of their pages has limits of its
// own. exports are the routes that have a list as an export.
func limited(exports map[string]bool) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			if exports[r.Method+" "+c.Path()] {
				if format := export.Accepted(r.Header.Values("Accept")); format != "" {
					c.SetRequest(r.WithContext(export.With(r.Context(), format, IsHead(r.Context()))))
					return next(c)
				}
			}
			ctx, cancel := context.WithTimeout(r.Context(), requestLimit)
			defer cancel()
			c.SetRequest(r.WithContext(ctx))
			return next(c)
		}
	}
}

// plainParameters refuses a query that can't be parsed completely: the rest, such
// as a filter after a semicolon, would be ignored silently. It also refuses U+0000
// and invalid UTF-8, which no parameter may hold and Postgres rejects. A slash in a
// path parameter means a path longer than any route, which echo would put into the
// last parameter.
func plainParameters(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return problem.New(problem.Malformed, "malformed", "the query string is malformed: separate name=value pairs with ampersands, and percent-encode special characters").Because(err)
		}
		plain := isPlain(u.Path)
		for name, values := range query {
			plain = plain && isPlain(name) && !slices.ContainsFunc(values, func(v string) bool { return !isPlain(v) })
		}
		if !plain {
			return problem.New(problem.Malformed, "malformed", "the URL contains U+0000 or is not valid UTF-8")
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

// knownMethod keeps clients from inventing label values.
func knownMethod(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m
	}
	return "other"
}
