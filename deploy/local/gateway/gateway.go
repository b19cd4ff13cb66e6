// Package gateway is the shop's gateway on one machine: a reverse proxy that routes each path to its service, balances
// requests over the service's replicas, and responds with problem+json when no service can.
package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/domain/problem"
	"lavka/libs/service/connlimit"
	"lavka/libs/service/cors"
	"lavka/libs/service/export"
	"lavka/libs/service/httpproblem"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/proxies"
	"lavka/libs/service/telemetry"
)

// MaxBody is the largest request body, in bytes, except on the routes of [LargeBodies]. It is above every service's own limit, so that a client sees the service's response.
const MaxBody = 96 << 10

// answerTime is the longest wait for a service's response. The services' own limits are shorter.
const answerTime = 25 * time.Second

var (
	errNotFound    = problem.New(problem.NotFound, "not_found", "this route does not exist")
	errTooLarge    = problem.New(problem.TooLarge, "body_too_large", "the body is larger than this route accepts")
	errUnreadable  = problem.New(problem.Malformed, "malformed", "the body could not be read completely")
	errUnavailable = problem.New(problem.Unavailable, "service_unavailable", "the service is down; the request was not processed; retry").Retry(time.Second)
	errBroken      = problem.New(problem.BadGateway, "bad_gateway", "the service's response was lost; the request may have been processed, so check before you retry")
)

// Config configures a gateway.
type Config struct {
	// Replicas are the processes of each service.
	Replicas map[string][]Replica
	// TrustedProxies are the proxies in front of the gateway whose X-Forwarded-For is believed. Without any, the gateway alone knows the client's address.
	TrustedProxies proxies.Trusted
	// CORSOrigins are the origins whose pages may read the gateway's own responses. The services set the headers of theirs.
	CORSOrigins cors.Origins
	// MaxConnections is the largest number of client connections.
	MaxConnections int
	// TrustTraceparent honours the traceparent of clients, who can then force traces to be recorded. Recording costs: don't set it for clients
	// that you don't know.
	TrustTraceparent bool
	Log              *slog.Logger
}

// Gateway is a running gateway.
type Gateway struct {
	server         *http.Server
	balancer       *balancer
	maxConnections int
}

// New returns a gateway that probes the health of its replicas until Shutdown or Close.
func New(cfg Config) *Gateway {
	b := newBalancer(cfg.Replicas, cfg.Log)
	cfg.CORSOrigins = cfg.CORSOrigins.Valid(context.Background(), cfg.Log)
	return &Gateway{server: newServer(newHandler(b, cfg), idleTime(cfg), cfg.Log), balancer: b, maxConnections: cfg.MaxConnections}
}

// Await returns when the gateway has found every replica of the given services ready, or with an error when ctx ends.
// Until then a ready replica may get no requests.
func (g *Gateway) Await(ctx context.Context, services []string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !g.balancer.opened(services) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the gateway finds every replica ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Serve serves on l until Shutdown or Close, and then returns http.ErrServerClosed.
func (g *Gateway) Serve(l net.Listener) error {
	return g.server.Serve(connlimit.Bound(g.server, l, g.maxConnections))
}

// Shutdown accepts no new requests, and waits for those in flight until ctx ends.
func (g *Gateway) Shutdown(ctx context.Context) error {
	defer g.balancer.close()
	return g.server.Shutdown(ctx)
}

// Close closes every connection at once.
func (g *Gateway) Close() error {
	defer g.balancer.close()
	return g.server.Close()
}

func newHandler(upstream http.RoundTripper, cfg Config) http.Handler {
	routes, log := Routes(), cfg.Log
	traceHeaders := telemetry.Propagator().Fields()
	write := func(w http.ResponseWriter, r *http.Request, err error) {
		cfg.CORSOrigins.Set(w, r)
		httpproblem.Write(w, r, err)
	}
	proxy := &httputil.ReverseProxy{
		Transport:    upstream,
		Rewrite:      rewriter(cfg.TrustedProxies, proxies.Warner(log)),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { write(w, r, refusal(r, err, log)) },
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BufferPool:   &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Those of services that are down, too: the page then reads their 503.
		if cfg.CORSOrigins.Preflight(w, r) {
			return
		}
		if !cfg.TrustTraceparent {
			for _, name := range traceHeaders {
				r.Header.Del(name)
			}
		}
		way := &passage{body: &body{ReadCloser: http.NoBody}}
		r = r.WithContext(context.WithValue(traced(r), passageKey{}, way))
		if err := connlimit.Admit(w, r); err != nil {
			write(w, r, err)
			return
		}
		var ok bool
		way.service, ok = Match(routes, r.URL.Path, r.URL.EscapedPath())
		limit := bodyLimit(r.URL.Path)
		switch {
		case !ok:
			write(w, r, errNotFound)
			return
		case r.ContentLength > limit:
			write(w, r, errTooLarge)
			return
		}
		if r.Body != http.NoBody {
			way.body.ReadCloser = http.MaxBytesReader(w, r.Body, limit)
			r.Body = way.body
		}
		// A small body is read before the request takes a connection, which a slow client then does not hold.
		if 0 < r.ContentLength && r.ContentLength <= inMemory {
			way.text = make([]byte, r.ContentLength)
			if _, err := io.ReadFull(r.Body, way.text); err != nil {
				write(w, r, errUnreadable)
				return
			}
		}
		if slices.Contains(Exports(), r.URL.Path) && export.Accepted(r.Header.Values("Accept")) != "" {
			defer unlimited(w, r)()
		}
		r.Header.Del("Upgrade") // the services speak only HTTP
		proxy.ServeHTTP(w, r)
	})
}

// unlimited lifts the limit of the whole response from an export, until the returned function is called. The service ends an export whose
// client is too slow; the gateway only closes the connection of a client that takes nothing for a little longer.
func unlimited(w http.ResponseWriter, r *http.Request) (restore func()) {
	// A response without a connection, such as a test's, has no limit.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	return connlimit.Patient(r.Context(), export.StallTimeout+5*time.Second)
}

// traced returns the request's context with the client's trace, for the gateway's own responses. Without a client's trace it takes a random id, which
// the gateway also logs. The service never sees that id: it starts the trace itself and decides whether to record it.
func traced(r *http.Request) context.Context {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	if !trace.SpanContextFromContext(ctx).IsValid() {
		var id trace.TraceID
		var span trace.SpanID
		rand.Read(id[:])
		rand.Read(span[:])
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span}))
	}
	return ctx
}

// idleTime is how long a client's connection stays open without a request. A proxy in front keeps its connections for longer than clients do, and must be
// the one that closes (see httpserver.IdleTimeout).
func idleTime(cfg Config) time.Duration {
	if len(cfg.TrustedProxies) > 0 {
		return httpserver.IdleTimeout
	}
	return 90 * time.Second
}

// newServer sets the limits that net/http leaves open. Its header limit (to which net/http adds 4 KiB) is below the services'.
func newServer(h http.Handler, idle time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      answerTime + 10*time.Second,
		IdleTimeout:       idle,
		MaxHeaderBytes:    12 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // no service has a route OPTIONS *
	}
}

// passage is what the gateway knows of a request on its way.
type passage struct {
	service string
	body    *body
	text    []byte // the body, if it is small
}

type passageKey struct{}

func passageOf(ctx context.Context) *passage { return ctx.Value(passageKey{}).(*passage) }

// rewriter returns a function that changes only the address of a request and its X-Forwarded-* headers: the services believe the gateway alone, and it
// tells them the client's address. ReverseProxy has already removed hop-by-hop headers.
func rewriter(trusted proxies.Trusted, warn func(*http.Request, error)) func(*httputil.ProxyRequest) {
	return func(pr *httputil.ProxyRequest) {
		client, err := trusted.Client(pr.In)
		if err != nil {
			warn(pr.In, err)
		}
		rewrite(pr, client)
	}
}

func rewrite(pr *httputil.ProxyRequest, client string) {
	out := pr.Out
	out.URL.Scheme = "http"
	out.URL.Host = passageOf(pr.In.Context()).service // the balancer replaces it by a replica's address
	out.URL.RawQuery = pr.In.URL.RawQuery             // even if malformed: the service refuses it
	out.Host = pr.In.Host
	for name := range out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			delete(out.Header, name)
		}
	}
	out.Header.Del("Expect") // the gateway answers it
	if client != "" {
		out.Header.Set("X-Forwarded-For", client)
	}
}

// refusal returns the response when the service could not respond.
func refusal(r *http.Request, err error, log *slog.Logger) *problem.Error {
	way := passageOf(r.Context())
	body := way.body
	// net/http also ends the context when a client stalls within its body. That client is still connected, and the transport has waited for the read.
	if r.Context().Err() != nil && body.failed() == nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
	answer := errBroken
	switch {
	case notSent(err):
		answer = errUnavailable
	case body.tooLarge():
		answer = errTooLarge
	case body.failed() != nil:
		answer = errUnreadable
	}
	if answer == errBroken || answer == errUnavailable {
		level := slog.LevelWarn
		if errors.Is(err, errStarting) {
			level = slog.LevelDebug
		}
		log.Log(r.Context(), level, "no response from a service", "upstream", way.service, "method", r.Method, "code", answer.Code, "error", err)
	}
	return answer
}

// body records its read error, which distinguishes a failing client from a failing service.
type body struct {
	io.ReadCloser
	mu  sync.Mutex
	err error
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
}

func (b *body) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil || errors.Is(b.err, io.EOF) || errors.Is(b.err, http.ErrBodyReadAfterClose) {
		return nil
	}
	return b.err
}

func (b *body) tooLarge() bool {
	_, ok := errors.AsType[*http.MaxBytesError](b.failed())
	return ok
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return b.pool.Get().(*[32 << 10]byte)[:] }
func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }
