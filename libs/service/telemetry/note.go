package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Notes collects attributes of a request or message while it is processed, for its
// one log line. It is safe for concurrent use.
type Notes struct {
	mu    sync.Mutex
	attrs []slog.Attr
}

type notesKey struct{}

// WithNotes returns a context to which [Note] can add notes, and those notes.
func WithNotes(ctx context.Context) (context.Context, *Notes) {
	n := &Notes{}
	return context.WithValue(ctx, notesKey{}, n), n
}

// Attrs returns the notes so far, in the order in which their keys were first used.
// Of several with the same key, it returns the last.
func (n *Notes) Attrs() []slog.Attr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.attrs)
}

// Note adds attributes to the request or message of ctx: to its log line, and as
// "lavka.<key>" to its span. Do not pass secrets or logins.
func Note(ctx context.Context, attrs ...slog.Attr) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		for _, a := range attrs {
			span.SetAttributes(spanAttribute(a))
		}
	}
	n, ok := ctx.Value(notesKey{}).(*Notes)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range attrs {
		if i := slices.IndexFunc(n.attrs, func(known slog.Attr) bool { return known.Key == a.Key }); i >= 0 {
			n.attrs[i] = a
			continue
		}
		n.attrs = append(n.attrs, a)
	}
}

func spanAttribute(a slog.Attr) attribute.KeyValue {
	key := "lavka." + a.Key
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindInt64:
		return attribute.Int64(key, v.Int64())
	case slog.KindBool:
		return attribute.Bool(key, v.Bool())
	default:
		return attribute.String(key, v.String())
	}
}
