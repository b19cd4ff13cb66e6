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

// whileRefused calls connect again while connections are refused, for a while: a firewall
// that enforces NetworkPolicies knows a new Pod only a moment after its start
// (https://kubernetes.io/docs/concepts/services-networking/network-policies/#pod-lifecycle).
// It returns the last error of connect.
func whileRefused(ctx context.Context, connect func() error) error {
	late := time.After(commandPatience)
	for {
		err := connect()
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-late:
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// OpenForCommand returns a pool of one session for a command that runs once. It waits for
// up to 10 s while the server refuses connections.
func OpenForCommand(ctx context.Context, url, name string) (*pgxpool.Pool, error) {
	pool, err := Open(ctx, url, name, 1)
	if err == nil {
		_ = whileRefused(ctx, func() error { return pool.Ping(ctx) }) // the pool's use returns any error
	}
	return pool, err
}
