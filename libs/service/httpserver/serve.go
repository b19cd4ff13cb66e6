package httpserver

import (
	"context"
	"encoding/json"
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
	"lavka/libs/service/cors"
	"lavka/libs/service/directhttp"
	"lavka/libs/service/httpproblem"
	"lavka/libs/service/release"
)

// Config configures Serve.
type Config struct {
	Addr            string
	InternalAddr    string
	DrainDelay      time.Duration               // for load balancers to notice that the replica drains
	ShutdownTimeout time.Duration               // for requests in flight, after that
	MaxConnections  int                         // maximum, on Addr
	CORSOrigins     cors.Origins                // whose pages may read responses of Addr
	Ready           func(context.Context) error // checked by /readyz, within 2 s; a draining replica is never ready
	Lacks           func() string               // what a ready replica can't do, for the answer of /readyz; "" if nothing
	Registry        *prometheus.Registry
	Log             *slog.Logger
}

// NewRegistry returns a registry with the metrics of the process and of Go.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// internalConnections bounds the internal port. Probes have a limit of their own,
// so that they get through when the public port is full.
const internalConnections = 256

// Serve serves on both ports until ctx ends. Then the replica reports that it is
// not ready and serves for DrainDelay more, so that load balancers send no more
// requests by the time it accepts no new connections. It lets the requests in
// flight finish within ShutdownTimeout and closes the internal port last. Serve
// returns context.DeadlineExceeded if requests were still in flight then, or the
// error of a port that it could not listen on or that failed.
func Serve(ctx context.Context, cfg Config, public http.Handler) error {
	if ctx.Err() != nil {
		return nil // stopped before it could serve
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
	publicServer := server(leaving(&draining, cfg.CORSOrigins.Valid(ctx, cfg.Log).Handler(headAsGet(public))), cfg.Log)
	internalServer := server(internal(cfg, &draining), cfg.Log)
	bounded := connlimit.Bound(publicServer, publicListener, cfg.MaxConnections)
	cfg.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "http_server_connections", Help: "Open connections on the public port.",
	}, func() float64 { return float64(bounded.Open()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "http_server_connections_max", Help: "Maximum number of open connections on the public port; further clients are refused.",
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

// leaving closes a connection with each answer of a draining replica. The client
// then connects to another replica, before this one closes the connection, perhaps
// while a request is in flight.
func leaving(draining *atomic.Bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// Healthcheck fails unless the replica with this internal address, on this machine,
// reports within 3 s that it is ready.
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
	resp, err := directhttp.Client.Do(r)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", resp.Status)
	}
	return nil
}

// Alive answers Healthcheck on the internal port until stop is called, in a command
// that stays. There is no more to say than that the process runs.
func Alive(internalAddr string, log *slog.Logger) (stop func(), err error) {
	l, err := listen("INTERNAL_ADDR", internalAddr)
	if err != nil {
		return nil, err
	}
	ok := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", ok)
	mux.HandleFunc("GET /readyz", ok)
	s := server(mux, log)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the health check is no longer answered", "error", err)
		}
	}()
	return func() { s.Close(); <-served }, nil
}

func internal(cfg Config, draining *atomic.Bool) http.Handler {
	var unready atomic.Bool // probes are frequent: changes are logged, not every answer
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		// A probe that has disconnected needs no answer.
		_, _ = w.Write([]byte(`{"status":"ok"}` + "\n"))
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { ok(w) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			httpproblem.Write(w, r, problem.New(problem.Unavailable, "draining", "this replica is shutting down"))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := cfg.Ready(ctx); err != nil {
			if !unready.Swap(true) {
				cfg.Log.WarnContext(ctx, "not ready", "error", err)
			}
			if own, ok := errors.AsType[*problem.Error](err); ok && own.Code == "unable" {
				httpproblem.Write(w, r, own)
				return
			}
			httpproblem.Write(w, r, problem.New(problem.Unavailable, "not_ready", "the database is unreachable, or its schema is older than this release, or the service is not set up yet; the log says which"))
			return
		}
		if unready.Swap(false) {
			cfg.Log.InfoContext(ctx, "ready again")
		}
		if lacks := lacks(cfg); lacks != "" {
			w.Header().Set("Content-Type", "application/json")
			// A probe that has disconnected needs no answer.
			_ = json.NewEncoder(w).Encode(map[string]string{"status": "cold_start", "detail": lacks})
			return
		}
		ok(w)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Registry, promhttp.HandlerOpts{Registry: cfg.Registry}))
	return mux
}

func lacks(cfg Config) string {
	if cfg.Lacks == nil {
		return ""
	}
	return cfg.Lacks()
}

func listen(setting, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("can't listen on %s (%s): %w", addr, setting, err)
	}
	return l, nil
}

// IdleTimeout is how long a connection stays open without a request. It is longer than
// proxies keep theirs (Google's load balancers: ten minutes), so that the proxy is the
// one that closes: a request on a connection that this side is closing would be lost.
const IdleTimeout = 11 * time.Minute

// server sets the limits that net/http leaves open.
func server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
