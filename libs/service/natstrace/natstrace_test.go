package natstrace_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/service/natstrace"
)

// ended records every span of the process. It is set up only once: a tracer that
// was obtained early stays with the first provider that is set.
var ended = sync.OnceValue(func() *tracetest.SpanRecorder {
	recorder := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	return recorder
})

func TestATraceCrosses(t *testing.T) {
	recorder := ended()
	spanOf := func(ctx context.Context) sdktrace.ReadOnlySpan {
		for _, s := range recorder.Ended() {
			if s.SpanContext().Equal(trace.SpanContextFromContext(ctx)) {
				return s
			}
		}
		t.Fatal("the span did not end")
		return nil
	}
	msg := &nats.Msg{Subject: "purchases.answered.7f3c", Data: []byte("hello")}
	_, sent := natstrace.Send(t.Context(), "purchases.answered", msg)
	sent.End()
	if len(msg.Header["traceparent"]) != 1 {
		t.Fatalf("%v", msg.Header)
	}
	for _, name := range []string{"traceparent", "Traceparent", "TRACEPARENT"} { // any sender, in any case
		ctx, processed := natstrace.Process(t.Context(), "purchases.answered", nats.Header{name: msg.Header["traceparent"]}, msg.Data, 1)
		processed.End(ctx, slog.New(slog.DiscardHandler), slog.LevelInfo)
		span := spanOf(ctx)
		if span.Name() != "process purchases.answered" || span.SpanKind() != trace.SpanKindConsumer || span.Parent().SpanID() != sent.SpanContext().SpanID() || !span.Parent().IsRemote() {
			t.Errorf("%s: %+v", name, span)
		}
	}
	_, own, sentPart := natstrace.SendPart(t.Context(), "purchases.answered", &nats.Msg{}, 2)
	sentPart.End()
	single := &nats.Msg{}
	if _, none, alone := natstrace.SendPart(t.Context(), "purchases.answered", single, 1); none != "" || single.Header.Get("traceparent") == "" {
		t.Errorf("a single part: traceparent %q, headers %v, span %v", none, single.Header, alone.SpanContext())
	}
	for parent, traceparent := range map[trace.Span]string{sentPart: own, sent: ""} { // the part's own, or the message's
		ctx, processed := natstrace.ProcessPart(t.Context(), "purchases.answered", msg.Header, traceparent, 2, 1)
		processed.End(ctx, slog.New(slog.DiscardHandler), slog.LevelInfo)
		if span := spanOf(ctx); span.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("with traceparent %q, the parent span is %v", traceparent, span.Parent())
		}
	}
	ctx, _ := natstrace.Process(t.Context(), "x", nil, nil, 0)
	if trace.SpanContextFromContext(ctx).TraceID() == sent.SpanContext().TraceID() {
		t.Error("a message without a trace continues an earlier trace")
	}
}
