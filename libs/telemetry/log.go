package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// NewLogger makes a logger that writes text or json at a level ("debug",
// "info", "warn", "error") and adds trace_id where there is one. Where the
// writer is [Buffered], warnings and worse are written at once.
func NewLogger(w io.Writer, service, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("LOG_LEVEL %q is none of debug, info, warn, error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	var h slog.Handler
	switch format {
	case "json":
		h = slog.NewJSONHandler(w, opts)
	case "text":
		h = slog.NewTextHandler(w, opts)
	default:
		return nil, fmt.Errorf("LAVKA_LOG_FORMAT %q is neither json nor text", format)
	}
	buffered, _ := w.(syncer)
	return slog.New(handler{h, buffered}).With("service", service), nil
}

// handler adds the trace id of a record's context.
type handler struct {
	slog.Handler
	buffered syncer // nil when nothing is kept back
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()))
	}
	if err := h.Handler.Handle(ctx, r); err != nil || h.buffered == nil || r.Level < slog.LevelWarn {
		return err
	}
	return h.buffered.Sync()
}

func (h handler) WithAttrs(a []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(a), h.buffered}
}

func (h handler) WithGroup(n string) slog.Handler { return handler{h.Handler.WithGroup(n), h.buffered} }
