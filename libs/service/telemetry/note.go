package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Notes are what is found out about a request or a message while it is worked on,
// for the one line that it gets in the log. Several may add to them at a time.
type Notes struct {
	mu    sync.Mutex
	attrs []slog.Attr
}

type notesKey struct{}

// WithNotes gives a context whose notes are taken by [Note].
func WithNotes(ctx context.Context) (context.Context, *Notes) {
	n := &Notes{}
	return context.WithValue(ctx, notesKey{}, n), n
}

// Attrs are the notes that were taken until now, in order; of several with the
// same key, the last.
func (n *Notes) Attrs() []slog.Attr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.attrs)
}

// Note says something about the request or message of ctx: in its line in the log,
// and as an attribute "lavka.<key>" of its span. Never anything secret, nor a
// login.
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
