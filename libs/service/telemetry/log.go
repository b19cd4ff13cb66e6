package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/lmittmann/tint"
	"go.opentelemetry.io/otel/trace"
)

// NewLogger returns a logger in format "json", "text" or "color" (text for a terminal)
// that writes records from level ("debug", "info", "warn", "error") up. It adds trace_id
// and span_id if the context has a trace. If the writer is [Buffered], warnings and
// errors flush it.
func NewLogger(w io.Writer, service, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("LOG_LEVEL %q is not one of debug, info, warn, error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	var h slog.Handler
	switch format {
	case "json":
		h = slog.NewJSONHandler(w, opts)
	case "text":
		h = slog.NewTextHandler(w, opts)
	case "color":
		h = tint.NewTextHandler(w, &tint.Options{Level: l, TimeFormat: "15:04:05.000", ReplaceAttr: forTerminal})
	default:
		return nil, fmt.Errorf("LAVKA_LOG_FORMAT %q is not one of json, text, color", format)
	}
	buffered, _ := w.(syncer)
	return slog.New(handler{h, buffered}).With("service", service), nil
}

// forTerminal removes the service, which the launcher prints before each line, colors
// errors red, and replaces escape characters in values, which the library would pass on.
func forTerminal(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "service" {
		return slog.Attr{}
	}
	a.Key = unescaped.Replace(a.Key)
	err, failed := a.Value.Any().(error)
	switch {
	case failed:
		return tint.Attr(9, slog.String(a.Key, unescaped.Replace(err.Error())))
	case a.Value.Kind() == slog.KindString:
		a.Value = slog.StringValue(unescaped.Replace(a.Value.String()))
	}
	return a
}

var unescaped = strings.NewReplacer("\x1b", "␛")

// handler adds the trace and the span of a record's context.
type handler struct {
	slog.Handler
	buffered syncer // nil if the writer does not buffer
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
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
