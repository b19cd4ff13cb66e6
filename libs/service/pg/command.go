package pg

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// commandPatience is how long a command waits for a server that refuses connections.
const commandPatience = 10 * time.Second

// OpenForCommand returns a pool of one session for a command that runs once. If
// connections are refused, it retries for a while: a firewall that enforces
// NetworkPolicies knows a new Pod only a moment after its start
// (https://kubernetes.io/docs/concepts/services-networking/network-policies/#pod-lifecycle).
func OpenForCommand(ctx context.Context, url, name string) (*pgxpool.Pool, error) {
	pool, err := Open(ctx, url, name, 1)
	if err != nil {
		return nil, err
	}
	late := time.After(commandPatience)
	for {
		if err := pool.Ping(ctx); !errors.Is(err, syscall.ECONNREFUSED) {
			return pool, nil // its use returns any other error
		}
		select {
		case <-ctx.Done():
			return pool, nil
		case <-late:
			return pool, nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}
