// Package natstrace carries traces over NATS: the W3C Trace Context in a
// message's headers, and spans by OpenTelemetry's conventions for messaging
// (semantic conventions 1.37, "Messaging spans").
package natstrace

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

var tracer = otel.Tracer("lavka/libs/natstrace")

// Send starts the span of a message that is about to be sent, and writes its
// context into the message's headers. The topic names the span and has few
// values: a subject without what is one message's or one replica's own.
func Send(ctx context.Context, topic string, msg *nats.Msg) (context.Context, trace.Span) {
	ctx, span := tracer.Start(ctx, "send "+topic, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		system, semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend, semconv.MessagingDestinationName(topic),
		semconv.MessagingMessageBodySize(len(msg.Data))))
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	otel.GetTextMapPropagator().Inject(ctx, carrier(msg.Header))
	return ctx, span
}

// Process starts the span of a message that has come, in the trace of whoever
// sent it.
func Process(ctx context.Context, topic string, headers nats.Header, body []byte) (context.Context, trace.Span) {
	ctx = otel.GetTextMapPropagator().Extract(ctx, carrier(headers))
	return tracer.Start(ctx, "process "+topic, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		system, semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeProcess, semconv.MessagingDestinationName(topic),
		semconv.MessagingMessageBodySize(len(body))))
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
