// Package grouptrace traces groups (libs/domain/group) with OpenTelemetry. A
// group has one span, in the trace of its first item that is recorded. The span
// and the callers of the other items link to each other.
package grouptrace

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Tracer is a group.Tracer.
type Tracer struct {
	name   string
	tracer trace.Tracer
}

// New returns a Tracer whose spans have a name, such as "settle group".
func New(name string) Tracer { return Tracer{name, otel.Tracer("lavka/libs/domain/group")} }

// Recorded reports whether the span of ctx is recorded.
func (Tracer) Recorded(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// Start starts the span of a group. The returned context has no deadline: a
// group outlives its callers.
func (t Tracer) Start(callers []context.Context, size int) (context.Context, func()) {
	first := trace.SpanFromContext(callers[0])
	var links []trace.Link
	for _, caller := range callers[1:] {
		links = append(links, trace.Link{SpanContext: trace.SpanContextFromContext(caller)})
	}
	ctx, span := t.tracer.Start(trace.ContextWithSpan(context.Background(), first), t.name,
		trace.WithLinks(links...), trace.WithAttributes(attribute.Int("lavka.group.size", size)))
	for _, caller := range callers[1:] {
		if other := trace.SpanFromContext(caller); other != first {
			other.AddLink(trace.Link{SpanContext: span.SpanContext()})
		}
	}
	return ctx, func() { span.End() }
}
