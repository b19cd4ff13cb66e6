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

// DefaultSampleRatio is the share of new traces that is recorded. Recording
// all of them costs an eighth of a purchase's CPU.
const DefaultSampleRatio = 0.01

// stopLimit bounds how long a service that ends waits for a collector.
const stopLimit = 3 * time.Second

// Start installs a tracer provider for a service, so that every request has a
// trace id that crosses HTTP and NATS. OpenTelemetry's own variables say where
// traces go and how many there are of them (OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_TRACES_EXPORTER, OTEL_TRACES_SAMPLER and so on; see the OpenTelemetry
// specification, "Environment Variable Specification"). Without them nothing is
// exported, one trace in a hundred is recorded, and the W3C Trace Context is read
// and written.
//
// What is to be exported waits in a bounded queue, and what finds that full is
// dropped: a collector that is slow, hangs or is away holds nobody up. The log
// says at most once a minute that it fails. Stop exports the rest, within three
// seconds, and fails never: traces are not worth it.
func Start(ctx context.Context, service string, log *slog.Logger) (stop func(), err error) {
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	of, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(release.Version())),
		resource.WithFromEnv()) // which may say otherwise
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

// Propagator reads and writes the headers that OTEL_PROPAGATORS asks for, and
// without that the W3C Trace Context.
func Propagator() propagation.TextMapPropagator {
	return autoprop.NewTextMapPropagator(propagation.TraceContext{})
}

// newExporter makes the exporter that the environment asks for, and none where it
// asks for none. The standard's own default, a collector on this machine, would
// have every service complain that there is none.
func newExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	if !Destined() {
		return nil, nil
	}
	return autoexport.NewSpanExporter(ctx)
}

// Destined says whether the environment names a place for traces.
func Destined() bool {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// complaints logs what OpenTelemetry has to say, at most once a minute: a
// collector that is away fails every few seconds.
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
		c.log.Warn("traces can't be exported; nothing else suffers", "error", err)
	}
}

// Traceparent is the W3C traceparent of ctx, to be kept with a row; "" for none.
func Traceparent(ctx context.Context) string {
	var c traceparent
	propagation.TraceContext{}.Inject(ctx, &c)
	return string(c)
}

// WithTraceparent has what follows belong to a trace that was kept. One that can't
// be read is none.
func WithTraceparent(ctx context.Context, kept string) context.Context {
	c := traceparent(kept)
	return propagation.TraceContext{}.Extract(ctx, &c)
}

// traceparent carries that one header.
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
