// Package natstrace propagates traces over NATS: it writes the W3C Trace Context
// to message headers and reads it from there, and creates spans that follow the
// OpenTelemetry semantic conventions 1.37, "Messaging spans".
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
// context to the message's headers. The topic names the span and must have few
// distinct values: use the subject without the parts that are specific to one
// message or replica.
func Send(ctx context.Context, topic string, msg *nats.Msg) (context.Context, trace.Span) {
	ctx, span := send(ctx, topic, semconv.MessagingMessageBodySize(len(msg.Data)))
	inject(ctx, msg)
	return ctx, span
}

// SendPart is Send for one of several parts that share a message, whose body need
// not be encoded yet. The caller must write the returned traceparent into the part.
// It is "" if there is only one part: its context is in the headers, where
// ProcessPart finds it.
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
	if span.IsRecording() { // only a few spans are
		span.SetAttributes(system, semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend, semconv.MessagingDestinationName(topic), size)
	}
	return ctx, span
}

// Processing is the work on one received message. It produces a span and one log
// line, with the attributes passed to [telemetry.Note] in the meantime.
type Processing struct {
	topic string
	start time.Time
	notes *telemetry.Notes
	span  trace.Span

	mu     sync.Mutex
	what   string // what went wrong
	err    error
	failed bool
}

// Process starts the work on a received message, in the sender's trace. The
// delivery counts from 1; 0 means unknown.
func Process(ctx context.Context, topic string, headers nats.Header, body []byte, delivery uint64) (context.Context, *Processing) {
	ctx = otel.GetTextMapPropagator().Extract(ctx, carrier(headers))
	return process(ctx, topic, delivery, semconv.MessagingMessageBodySize(len(body)))
}

// ProcessPart is Process for one of several parts that share a message. The work
// belongs to the part's traceparent or, if that is "", to the message's trace.
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

// Fail records that the work failed and why; err may be nil. Only the first call
// counts.
func (p *Processing) Fail(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.failed {
		p.failed, p.what, p.err = true, what, err
	}
}

// End writes the message's log line, at the given level, or at least at warn if the
// work failed, and ends the span.
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

// system is not in the conventions' list of systems.
var system = semconv.MessagingSystemKey.String("nats")

// carrier looks up headers regardless of case, as W3C Trace Context requires
// (section 3.2.1), although NATS header names are case-sensitive.
type carrier nats.Header

var _ propagation.TextMapCarrier = carrier{}

func (c carrier) Get(key string) string {
	if values := c[key]; len(values) > 0 { // the usual case
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
