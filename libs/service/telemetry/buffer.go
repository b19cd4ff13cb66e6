package telemetry

import (
	"io"
	"time"

	"go.uber.org/zap/zapcore"
)

// Log lines are buffered for up to flushEvery, and up to flushSize bytes of them.
const (
	flushEvery = 50 * time.Millisecond
	flushSize  = 64 << 10
)

// Buffered returns a writer that writes many log lines at a time: one write per line
// costs as much as the rest of a short request. Warnings and errors are written at
// once (see [NewLogger]). A process that is killed loses up to 50 ms of log lines.
// Flush writes the rest and stops the writer.
func Buffered(w io.Writer) (buffered io.Writer, flush func() error) {
	b := &zapcore.BufferedWriteSyncer{
		// Hide w's Sync method, if any: log lines need not be synced to disk.
		WS:            zapcore.AddSync(struct{ io.Writer }{w}),
		FlushInterval: flushEvery, Size: flushSize,
	}
	return b, b.Stop
}

// syncer is a writer that buffers.
type syncer interface{ Sync() error }
