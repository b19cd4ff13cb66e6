package telemetry

import (
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

// Which new traces a service records. Recording all of them would cost more than an
// eighth of a purchase's CPU time. Recording all while there are few costs nothing that
// could be measured, and then every request of a quiet shop can be followed.
const (
	// DefaultPerSecond is how many new traces are recorded in a second, on average.
	DefaultPerSecond = 20
	// DefaultBurst is how many may come at once.
	DefaultBurst = 100
	// DefaultSampleRatio is the share of the others that are recorded, too.
	DefaultSampleRatio = 0.01
)

// sampler records traces within a rate, and a share of the others.
type sampler struct {
	share  sdktrace.Sampler
	within *rate.Limiter
}

func newSampler() sampler {
	return sampler{sdktrace.TraceIDRatioBased(DefaultSampleRatio), rate.NewLimiter(DefaultPerSecond, DefaultBurst)}
}

func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if result := s.share.ShouldSample(p); result.Decision == sdktrace.RecordAndSample || !s.within.Allow() {
		return result
	}
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
}

func (s sampler) Description() string {
	return fmt.Sprintf("{%g a second, at most %d at once, and %s}", s.within.Limit(), s.within.Burst(), s.share.Description())
}
