// Package telemetry sets up traces and logs.
package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"google.golang.org/grpc"

	"lavka/libs/service/release"
)

// stopLimit is how long a stopping service waits for the collector.
const stopLimit = 3 * time.Second

// Start installs a tracer provider for a service, so that every request has a
// trace id that is propagated over HTTP and NATS. Some of OpenTelemetry's own variables
// control where traces are exported and how many are recorded
// (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER, OTEL_TRACES_SAMPLER and so
// on; see the OpenTelemetry specification, "Environment Variable Specification", and
// docs/operations.md for the list); the others are removed from the environment.
// Without them nothing is exported, new traces are recorded as DefaultPerSecond and
// DefaultSampleRatio say, a caller's decision to record is followed, and the W3C Trace
// Context is propagated.
//
// Start never fails: a variable that is not valid is logged and has no effect, and
// traces that can't be exported are recorded nowhere.
//
// Spans wait for export in a bounded queue, and are dropped if it is full: a
// collector that is slow, hangs or is unreachable delays nothing. Failures are
// logged at most once a minute. Stop exports the rest within three seconds, and
// never fails: lost traces are not worth an error.
func Start(ctx context.Context, service string, log *slog.Logger) (stop func()) {
	reports := &complaints{log: log}
	otel.SetErrorHandler(reports)
	otel.SetLogger(logr.New(reports)) // by default, it writes to standard error, values included
	takeEnvironment(ctx, log)
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(resources(ctx, service, log))}
	if os.Getenv("OTEL_TRACES_SAMPLER") == "" {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(newSampler())))
	}
	exporter, err := newExporter(ctx)
	if err != nil {
		log.WarnContext(ctx, "traces are not exported; nothing else is affected", "error", err)
	}
	if exporter != nil {
		options = append(options, sdktrace.WithBatcher(exporter))
	}
	provider := sdktrace.NewTracerProvider(options...)
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(Propagator())
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("not all traces were exported", "error", err)
		}
	}
}

// resources returns the attributes of every span: the service's own, which those of the
// environment override.
func resources(ctx context.Context, service string, log *slog.Logger) *resource.Resource {
	own := resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(release.Version()))
	all, err := resource.New(ctx, own, resource.WithFromEnv())
	if err != nil { // all holds the rest
		log.WarnContext(ctx, "some attributes of traces are missing", "error", err)
	}
	return all
}

// Propagator returns the propagator for the headers listed in OTEL_PROPAGATORS, or,
// if that is not set, for the W3C Trace Context.
func Propagator() propagation.TextMapPropagator {
	return autoprop.NewTextMapPropagator(propagation.TraceContext{})
}

// newExporter returns the exporter that the environment asks for, or nil. The
// specification's default, a collector on this machine, would make every service
// log that there is none. Spans go to the collector directly: HTTP_PROXY has no effect.
func newExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	if !HasDestination() {
		return nil, nil
	}
	switch strings.ToLower(os.Getenv("OTEL_TRACES_EXPORTER")) {
	case "none":
		return nil, nil
	case "console":
		return stdouttrace.New()
	}
	protocol := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"))
	if strings.ToLower(protocol) == "grpc" {
		return otlptracegrpc.New(ctx, otlptracegrpc.WithDialOption(grpc.WithNoProxy()))
	}
	direct := func(*http.Request) (*url.URL, error) { return nil, nil }
	return otlptracehttp.New(ctx, otlptracehttp.WithProxy(direct))
}

// HasDestination reports whether the environment names a destination for traces.
func HasDestination() bool {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if value := os.Getenv(name); value != "" {
			if _, wrong := examine(name, value); wrong == nil {
				return true
			}
		}
	}
	return false
}

// complaints logs OpenTelemetry's errors, at most one a minute: with an unreachable
// collector there is one every few seconds.
type complaints struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
}

func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) >= time.Minute {
		c.last = time.Now()
		c.log.Warn("traces can't be exported; nothing else is affected", "error", err)
	}
}

// Init, Enabled, Info, Error, WithValues and WithName make complaints a logr.LogSink for
// what the libraries log themselves. Only errors are worth a line, and without their
// values, which may be secrets.
func (c *complaints) Init(logr.RuntimeInfo) {}

func (c *complaints) Enabled(int) bool { return false }

func (c *complaints) Info(int, string, ...any) {}

func (c *complaints) Error(err error, what string, _ ...any) {
	c.Handle(fmt.Errorf("%s: %w", what, err))
}

func (c *complaints) WithValues(...any) logr.LogSink { return c }

func (c *complaints) WithName(string) logr.LogSink { return c }

// Traceparent returns the W3C traceparent of ctx, for storage with a row or message.
// It is "" if ctx has no trace.
func Traceparent(ctx context.Context) string {
	var c traceparent
	propagation.TraceContext{}.Inject(ctx, &c)
	return string(c)
}

// WithTraceparent returns a context that continues a stored trace. It ignores a
// traceparent that is not valid.
func WithTraceparent(ctx context.Context, kept string) context.Context {
	c := traceparent(kept)
	return propagation.TraceContext{}.Extract(ctx, &c)
}

// traceparent is a carrier of this one header.
type traceparent string

const traceparentHeader = "traceparent"

func (t *traceparent) Get(key string) string {
	if key == traceparentHeader {
		return string(*t)
	}
	return ""
}

func (t *traceparent) Set(key, value string) {
	if key == traceparentHeader {
		*t = traceparent(value)
	}
}

func (t *traceparent) Keys() []string { return []string{traceparentHeader} }
