// Package telemetry sets up traces and logs.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"lavka/libs/service/release"
)

// DefaultSampleRatio is the share of new traces that are recorded. Recording
// all of them costs an eighth of a purchase's CPU time.
const DefaultSampleRatio = 0.01

// stopLimit is how long a stopping service waits for the collector.
const stopLimit = 3 * time.Second

// Start installs a tracer provider for a service, so that every request has a
// trace id that is propagated over HTTP and NATS. OpenTelemetry's own variables
// control where traces are exported and how many are recorded
// (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER, OTEL_TRACES_SAMPLER and so
// on; see the OpenTelemetry specification, "Environment Variable Specification").
// Without them nothing is exported, one new trace in a hundred is recorded, a
// caller's decision to record is followed, and the W3C Trace Context is propagated.
//
// Spans wait for export in a bounded queue, and are dropped if it is full: a
// collector that is slow, hangs or is unreachable delays nothing. Failures are
// logged at most once a minute. Stop exports the rest within three seconds, and
// never fails: lost traces are not worth an error.
func Start(ctx context.Context, service string, log *slog.Logger) (stop func(), err error) {
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up the export of traces: %w", err)
	}
	of, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(release.Version())),
		resource.WithFromEnv()) // which overrides these
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(of)}
	if os.Getenv("OTEL_TRACES_SAMPLER") == "" {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(DefaultSampleRatio))))
	}
	if exporter != nil && !autoexport.IsNoneSpanExporter(exporter) {
		options = append(options, sdktrace.WithBatcher(exporter))
	}
	otel.SetErrorHandler(&complaints{log: log})
	provider := sdktrace.NewTracerProvider(options...)
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(Propagator())
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("not all traces were exported", "error", err)
		}
	}, nil
}

// Propagator returns the propagator for the headers listed in OTEL_PROPAGATORS, or,
// if that is not set, for the W3C Trace Context.
func Propagator() propagation.TextMapPropagator {
	return autoprop.NewTextMapPropagator(propagation.TraceContext{})
}

// newExporter returns the exporter that the environment asks for, or nil. The
// specification's default, a collector on this machine, would make every service
// log that there is none.
func newExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	if !HasDestination() {
		return nil, nil
	}
	return autoexport.NewSpanExporter(ctx)
}

// HasDestination reports whether the environment names a destination for traces.
func HasDestination() bool {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if os.Getenv(name) != "" {
			return true
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
