package access

import (
	"context"
	"log/slog"
	"time"
)

// startLimit bounds how long a starting replica waits for keys and token versions.
const startLimit = 10 * time.Second

// Await waits until signing keys and token versions have been read for the first
// time, at most 10 s. Without them, routes that need a token answer 503
// "starting"; the others work.
func Await(ctx context.Context, log *slog.Logger, loaded ...<-chan struct{}) {
	limit := time.After(startLimit)
	for _, one := range loaded {
		select {
		case <-one:
		case <-ctx.Done():
			return
		case <-limit:
			log.WarnContext(ctx, "signing keys or token versions have not been read yet; serving anyway")
			return
		}
	}
}
