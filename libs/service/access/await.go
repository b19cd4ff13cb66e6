package access

import (
	"context"
	"log/slog"
	"time"
)

// startLimit is how long a replica's start waits for what tokens are checked
// with.
const startLimit = 10 * time.Second

// Await waits until keys and token versions have been read for the first time,
// but not for ever: without them, routes that need a token answer 503
// "starting", and the others work.
func Await(ctx context.Context, log *slog.Logger, loaded ...<-chan struct{}) {
	limit := time.After(startLimit)
	for _, one := range loaded {
		select {
		case <-one:
		case <-ctx.Done():
			return
		case <-limit:
			log.WarnContext(ctx, "keys or token versions have not been read yet; opening anyway")
			return
		}
	}
}
