package access

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"
)

func TestAwait(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	keys, versions := make(chan struct{}), make(chan struct{})
	close(keys)
	time.AfterFunc(50*time.Millisecond, func() { close(versions) })
	Await(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), keys, versions)
	select {
	case <-versions:
	default:
		t.Error("Await has not waited")
	}

	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, stop)
	Await(ctx, slog.New(slog.NewTextHandler(&log, nil)), make(chan struct{}))
	if log.Len() > 0 {
		t.Errorf("the log says %s", &log)
	}
}
