package telemetry

import (
	"io"
	"time"

	"go.uber.org/zap/zapcore"
)

// Log lines wait so long, and so many bytes of them, before they are written.
const (
	flushEvery = 50 * time.Millisecond
	flushSize  = 64 << 10
)

// Buffered writes many log lines at a time: one write for each line costs as
// much as the rest of a short request. Warnings and worse don't wait (see
// [NewLogger]); a process that is killed loses what it would have said within
// the last twentieth of a second. Flush writes the rest, and ends it.
func Buffered(w io.Writer) (buffered io.Writer, flush func() error) {
	b := &zapcore.BufferedWriteSyncer{
		// Without its Sync, if it has one: nobody asked for the disk.
		WS:            zapcore.AddSync(struct{ io.Writer }{w}),
		FlushInterval: flushEvery, Size: flushSize,
	}
	return b, b.Stop
}

// syncer is a writer that keeps things back.
type syncer interface{ Sync() error }
