package grouptrace

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/domain/group"
)

// The group's span is in the trace of its first recorded caller. It and every
// other recorded caller link to each other. A caller that is not recorded plays
// no part.
func TestAGroupAndItsCallersLinkToEachOther(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
	started, release := make(chan struct{}, 2), make(chan struct{})
	var inside []trace.SpanContext
	g := group.New(group.Config{Max: 10, Queue: 10, InFlight: 1, Instruments: group.Instruments{Tracer: Tracer{"settle group", tracer}}}, func(ctx context.Context, items []int) []int {
		inside = append(inside, trace.SpanContextFromContext(ctx))
		started <- struct{}{}
		<-release
		return items
	})
	add := func(ctx context.Context, i int) {
		if err := g.Add(ctx, i, func(int) {}); err != nil {
			t.Error(err)
		}
	}
	add(t.Context(), 0) // alone, and not recorded
	<-started
	ctx1, first := tracer.Start(t.Context(), "first")
	ctx2, second := tracer.Start(t.Context(), "second")
	add(t.Context(), 1)
	add(ctx1, 2)
	add(ctx2, 3)
	release <- struct{}{}
	<-started
	release <- struct{}{}
	g.Close()
	first.End()
	second.End()

	if len(inside) != 2 || inside[0].IsValid() {
		t.Fatalf("%v: no caller of the first group is recorded, yet it has a span", inside)
	}
	spans := map[string]sdktrace.ReadOnlySpan{}
	for _, s := range recorder.Ended() {
		if id := s.SpanContext().TraceID(); id == first.SpanContext().TraceID() || id == second.SpanContext().TraceID() {
			spans[s.Name()] = s
		}
	}
	settle := spans["settle group"]
	if len(spans) != 3 || settle == nil {
		t.Fatalf("%v", spans)
	}
	if !settle.SpanContext().Equal(inside[1]) || settle.Parent().SpanID() != first.SpanContext().SpanID() || settle.SpanContext().TraceID() != first.SpanContext().TraceID() {
		t.Errorf("the group is not a child of the first caller: %+v", settle)
	}
	if l := settle.Links(); len(l) != 1 || !l[0].SpanContext.Equal(second.SpanContext()) {
		t.Errorf("the group's links: %+v", l)
	}
	if l := spans["second"].Links(); len(l) != 1 || !l[0].SpanContext.Equal(settle.SpanContext()) {
		t.Errorf("the second's links: %+v", l)
	}
	if l := spans["first"].Links(); len(l) != 0 {
		t.Errorf("the first's links: %+v", l)
	}
}
