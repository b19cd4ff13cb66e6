// Package gateway is the shop's front door on one machine: a reverse proxy that knows which service answers which path,
// spreads requests over a service's replicas, and answers with problem+json where no service can.
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
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/domain/problem"
	"lavka/libs/service/connlimit"
	"lavka/libs/service/telemetry"
)

// MaxBody bounds a request's body, in bytes. It lies above every service's own limit: theirs is the answer that a client should see.
const MaxBody = 96 << 10

// answerTime bounds the wait for a service's answer. Services bound theirs below it.
const answerTime = 25 * time.Second

var (
	errNotFound    = problem.New(problem.NotFound, "not_found", "there is no such route")
	errTooLarge    = problem.New(problem.TooLarge, "body_too_large", "the body is larger than any route takes")
	errUnreadable  = problem.New(problem.Malformed, "malformed", "the body could not be read to its end")
	errUnavailable = problem.New(problem.Unavailable, "service_unavailable", "the service is down; nothing was done").Retry(time.Second)
	errBroken      = problem.New(problem.BadGateway, "bad_gateway", "the service's answer was lost; what was asked for may have been done")
)

// Config says where the services are.
type Config struct {
	// Replicas are the processes of each service.
	Replicas map[string][]Replica
	// MaxConnections bounds those of clients.
	MaxConnections int
	// TrustTraceparent lets clients say which trace their requests belong to, and so have them recorded. Strangers must not: recording costs.
	TrustTraceparent bool
	Log              *slog.Logger
}

// Gateway is the front door.
type Gateway struct {
	server         *http.Server
	balancer       *balancer
	maxConnections int
}

// New makes a gateway, which begins to ask for the replicas' health. Shutdown or Close ends that.
func New(cfg Config) *Gateway {
	b := newBalancer(cfg.Replicas, cfg.Log)
	return &Gateway{server: newServer(newHandler(b, cfg), cfg.Log), balancer: b, maxConnections: cfg.MaxConnections}
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

// Serve serves on l until Shutdown or Close; then the error is http.ErrServerClosed.
func (g *Gateway) Serve(l net.Listener) error {
	return g.server.Serve(connlimit.Bound(g.server, l, g.maxConnections))
}

// Shutdown takes no new requests and lets those under way finish, until ctx ends.
func (g *Gateway) Shutdown(ctx context.Context) error {
	defer g.balancer.close()
	return g.server.Shutdown(ctx)
}

// Close ends every connection at once.
func (g *Gateway) Close() error {
	defer g.balancer.close()
	return g.server.Close()
}

func newHandler(upstream http.RoundTripper, cfg Config) http.Handler {
	routes, log := Routes(), cfg.Log
	traceHeaders := telemetry.Propagator().Fields()
	proxy := &httputil.ReverseProxy{
		Transport:    upstream,
		Rewrite:      rewrite,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { refuse(w, r, err, log) },
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BufferPool:   &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !cfg.TrustTraceparent {
			for _, name := range traceHeaders {
				r.Header.Del(name)
			}
		}
		r = traced(r)
		if err := connlimit.Admit(w, r); err != nil {
			problem.Write(w, r, err)
			return
		}
		service, ok := Match(routes, r.URL.Path, r.URL.EscapedPath())
		switch {
		case !ok:
			problem.Write(w, r, errNotFound)
			return
		case r.ContentLength > MaxBody:
			problem.Write(w, r, errTooLarge)
			return
		}
		body := &body{ReadCloser: http.MaxBytesReader(w, r.Body, MaxBody)}
		if r.Body != http.NoBody {
			r.Body = body
		}
		r.Header.Del("Upgrade") // no service speaks anything but HTTP
		ctx := context.WithValue(r.Context(), serviceKey{}, service)
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(ctx, bodyKey{}, body)))
	})
}

// traced puts the client's trace into the request's context, for our own answers. Without one they get an id that is found in our log;
// it is not sent on, since the first service begins the trace and decides whether to keep it.
func traced(r *http.Request) *http.Request {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	if !trace.SpanContextFromContext(ctx).IsValid() {
		var id trace.TraceID
		var span trace.SpanID
		rand.Read(id[:])
		rand.Read(span[:])
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span}))
	}
	return r.WithContext(ctx)
}

// newServer gives a handler the limits that net/http leaves open. Its header limit (to which net/http adds 4 KiB) is below the services'.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      answerTime + 10*time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    12 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // OPTIONS * is a route that nobody has
	}
}

type (
	serviceKey struct{}
	bodyKey    struct{}
)

// rewrite leaves a request as it is but for the address, and for who sent it: only the gateway knows that.
// ReverseProxy has already dropped hop-by-hop headers.
func rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL.Scheme = "http"
	out.URL.Host = pr.In.Context().Value(serviceKey{}).(string) // the balancer puts a replica's in its place
	out.URL.RawQuery = pr.In.URL.RawQuery                       // also when malformed: refusing it is the service's part
	out.Host = pr.In.Host
	for name := range out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			delete(out.Header, name)
		}
	}
	out.Header.Del("Expect") // answered here
	if peer, _, err := net.SplitHostPort(pr.In.RemoteAddr); err == nil {
		out.Header.Set("X-Forwarded-For", peer)
	}
}

// refuse answers for a service that could not.
func refuse(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	body := r.Context().Value(bodyKey{}).(*body)
	// net/http ends the context of a client that stalls within its body too; he is still there, and the transport has waited for that read.
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
		log.Log(r.Context(), level, "no answer from a service", "upstream", r.Context().Value(serviceKey{}), "method", r.Method, "code", answer.Code, "error", err)
	}
	problem.Write(w, r, answer)
}

// body remembers why it could not be read, which tells a bad client from a bad service.
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
