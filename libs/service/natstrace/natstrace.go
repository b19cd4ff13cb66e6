// Package natstrace carries traces over NATS: the W3C Trace Context in a
// message's headers, and spans by OpenTelemetry's conventions for messaging
// (semantic conventions 1.37, "Messaging spans").
package natstrace

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/service/telemetry"
)

var tracer = otel.Tracer("lavka/libs/service/natstrace")

// Send starts the span of a message that is about to be sent, and writes its
// context into the message's headers. The topic names the span and has few
// values: a subject without what is one message's or one replica's own.
func Send(ctx context.Context, topic string, msg *nats.Msg) (context.Context, trace.Span) {
	ctx, span := send(ctx, topic, semconv.MessagingMessageBodySize(len(msg.Data)))
	inject(ctx, msg)
	return ctx, span
}

// SendPart is Send for one of several that share a message, which may not be
// written yet. The traceparent has to be written with that one; it is "" for one
// alone, whose context is in the headers, as ProcessPart reads it.
func SendPart(ctx context.Context, topic string, msg *nats.Msg, several int) (sending context.Context, traceparent string, span trace.Span) {
	ctx, span = send(ctx, topic, semconv.MessagingBatchMessageCount(several))
	if several == 1 {
		inject(ctx, msg)
		return ctx, "", span
	}
	return ctx, telemetry.Traceparent(ctx), span
}

func inject(ctx context.Context, msg *nats.Msg) {
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	otel.GetTextMapPropagator().Inject(ctx, carrier(msg.Header))
}

func send(ctx context.Context, topic string, size attribute.KeyValue) (context.Context, trace.Span) {
	ctx, span := tracer.Start(ctx, "send "+topic, trace.WithSpanKind(trace.SpanKindProducer))
	if span.IsRecording() { // few are
		span.SetAttributes(system, semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend, semconv.MessagingDestinationName(topic), size)
	}
	return ctx, span
}

// Processing is a message that is worked on. It ends as a span and as one line in
// the log, with what [telemetry.Note] was told meanwhile.
type Processing struct {
	topic string
	start time.Time
	notes *telemetry.Notes
	span  trace.Span

	mu     sync.Mutex
	what   string // went wrong
	err    error
	failed bool
}

// Process starts to work on a message that has come, in the trace of whoever sent
// it. Delivery counts from 1; 0 means that nobody counts.
func Process(ctx context.Context, topic string, headers nats.Header, body []byte, delivery uint64) (context.Context, *Processing) {
	ctx = otel.GetTextMapPropagator().Extract(ctx, carrier(headers))
	return process(ctx, topic, delivery, semconv.MessagingMessageBodySize(len(body)))
}

// ProcessPart is Process for one of several that share a message, in the trace
// that was written with it, or in the message's where none was.
func ProcessPart(ctx context.Context, topic string, headers nats.Header, traceparent string, several int, delivery uint64) (context.Context, *Processing) {
	if traceparent == "" {
		ctx = otel.GetTextMapPropagator().Extract(ctx, carrier(headers))
	} else {
		ctx = telemetry.WithTraceparent(ctx, traceparent)
	}
	return process(ctx, topic, delivery, semconv.MessagingBatchMessageCount(several))
}

func process(ctx context.Context, topic string, delivery uint64, size attribute.KeyValue) (context.Context, *Processing) {
	ctx, span := tracer.Start(ctx, "process "+topic, trace.WithSpanKind(trace.SpanKindConsumer))
	if span.IsRecording() {
		span.SetAttributes(system, semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeProcess, semconv.MessagingDestinationName(topic), size)
	}
	ctx, notes := telemetry.WithNotes(ctx)
	if delivery > 1 {
		telemetry.Note(ctx, slog.Uint64("delivery", delivery))
	}
	return ctx, &Processing{topic: topic, start: time.Now(), notes: notes, span: span}
}

// Fail says what went wrong with the message; err may be nil. The first one counts.
func (p *Processing) Fail(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.failed {
		p.failed, p.what, p.err = true, what, err
	}
}

// End writes the message's line, at a level or at warn when it has failed, and ends
// its span.
func (p *Processing) End(ctx context.Context, log *slog.Logger, level slog.Level) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.span.End()
	if p.failed {
		p.span.SetStatus(codes.Error, p.what)
		level = max(level, slog.LevelWarn)
	}
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := append([]slog.Attr{slog.String("topic", p.topic), slog.Duration("duration", time.Since(p.start))}, p.notes.Attrs()...)
	if p.failed {
		attrs = append(attrs, slog.String("failure", p.what))
	}
	if p.err != nil {
		attrs = append(attrs, slog.Any("error", p.err))
	}
	log.LogAttrs(ctx, level, "message", attrs...)
}

// system is none that the conventions list.
var system = semconv.MessagingSystemKey.String("nats")

// carrier finds a header in whatever case it was written, as W3C Trace Context
// has it (section 3.2.1), though NATS tells them apart.
type carrier nats.Header

var _ propagation.TextMapCarrier = carrier{}

func (c carrier) Get(key string) string {
	if values := c[key]; len(values) > 0 { // nearly always
		return values[0]
	}
	for name, values := range c {
		if strings.EqualFold(name, key) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

func (c carrier) Set(key, value string) { nats.Header(c).Set(key, value) }

func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for name := range c {
		keys = append(keys, name)
	}
	return keys
}
