package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lavka/libs/domain/problem"
	"lavka/libs/service/connlimit"
	"lavka/libs/service/httpproblem"
	"lavka/libs/service/release"
)

// Config says where and how to serve.
type Config struct {
	Addr            string
	InternalAddr    string
	DrainDelay      time.Duration               // for balancers to notice that it drains
	ShutdownTimeout time.Duration               // for requests under way, after that
	MaxConnections  int                         // on Addr
	Ready           func(context.Context) error // beyond "not draining", within 2 s
	Registry        *prometheus.Registry
	Log             *slog.Logger
}

// NewRegistry makes a registry with the metrics of the process and of Go.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// internalConnections bounds the internal port. Probes get through however
// crowded the public one is, and nobody is refused here.
const internalConnections = 256

// Serve listens on both ports until ctx ends. Then it says that it is not
// ready and goes on serving for DrainDelay, so that who balances sends nothing
// more when it takes no new connections; lets the requests under way finish
// within ShutdownTimeout; and closes the internal port last. Its error is
// context.DeadlineExceeded when some were still under way after that; else a
// port that can't be listened on, or that failed.
func Serve(ctx context.Context, cfg Config, public http.Handler) error {
	if ctx.Err() != nil {
		return nil // stopped before anybody could know of us
	}
	publicListener, err := listen("HTTP_ADDR", cfg.Addr)
	if err != nil {
		return err
	}
	internalListener, err := listen("INTERNAL_ADDR", cfg.InternalAddr)
	if err != nil {
		publicListener.Close()
		return err
	}
	var draining atomic.Bool
	failed := make(chan error, 2)
	publicServer := server(leaving(&draining, headAsGet(public)), cfg.Log)
	internalServer := server(internal(cfg, &draining), cfg.Log)
	bounded := connlimit.Bound(publicServer, publicListener, cfg.MaxConnections)
	cfg.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "http_server_connections", Help: "Open connections on the public port.",
	}, func() float64 { return float64(bounded.Open()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "http_server_connections_max", Help: "Connections on the public port past which clients are refused.",
	}, func() float64 { return float64(cfg.MaxConnections) }))
	go func() { failed <- publicServer.Serve(bounded) }()
	go func() {
		failed <- internalServer.Serve(connlimit.Bound(internalServer, internalListener, internalConnections))
	}()
	cfg.Log.InfoContext(ctx, "serving", "version", release.Version(), "addr", publicListener.Addr().String(), "internal_addr", internalListener.Addr().String())

	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	draining.Store(true)
	cfg.Log.InfoContext(ctx, "draining", "delay", cfg.DrainDelay)
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-time.After(cfg.DrainDelay):
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownTimeout)
	defer cancel()
	err = publicServer.Shutdown(limit)
	return errors.Join(err, internalServer.Shutdown(limit))
}

// leaving ends a connection with each answer of a draining replica. Its client
// finds another replica before this one closes the connection, which may be
// while a request is on its way.
func leaving(draining *atomic.Bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// Healthcheck asks a replica on this machine whether it is ready, and waits 3 s
// for an answer.
func Healthcheck(ctx context.Context, internalAddr string) error {
	host, port, err := net.SplitHostPort(internalAddr)
	if err != nil {
		return fmt.Errorf("INTERNAL_ADDR %q is not host:port", internalAddr)
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", resp.Status)
	}
	return nil
}

func internal(cfg Config, draining *atomic.Bool) http.Handler {
	var unready atomic.Bool // balancers ask often: a change is logged, not each answer
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		// A prober that has gone needs no answer.
		_, _ = w.Write([]byte(`{"status":"ok"}` + "\n"))
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { ok(w) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			httpproblem.Write(w, r, problem.New(problem.Unavailable, "draining", "this replica is stopping"))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := cfg.Ready(ctx); err != nil {
			if !unready.Swap(true) {
				cfg.Log.WarnContext(ctx, "not ready", "error", err)
			}
			httpproblem.Write(w, r, problem.New(problem.Unavailable, "not_ready", "the database is away or older than this release"))
			return
		}
		if unready.Swap(false) {
			cfg.Log.InfoContext(ctx, "ready again")
		}
		ok(w)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Registry, promhttp.HandlerOpts{Registry: cfg.Registry}))
	return mux
}

func listen(setting, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("can't listen on %s (%s): %w", addr, setting, err)
	}
	return l, nil
}

// server has the limits that net/http leaves open.
func server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
