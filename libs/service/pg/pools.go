package pg

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// backgroundSessions are those of a replica's workers and metrics. They need one
// or two; the others are spare, since it may take 15 s to close a lost session.
const backgroundSessions = 4

// Pools are the Postgres sessions of a replica, in pools that don't wait for each
// other: whatever requests ask for, the workers have their sessions, and whatever
// is searched for, short reads have theirs. A request reads with Reads or with
// Expensive, and nothing else. Groups and the [Probe] have sessions of their own.
type Pools struct {
	Reads      *Reader       // short reads of requests, in sessions of Writes
	Expensive  *Expensive    // other reads of requests
	Writes     *pgxpool.Pool // transactions and changes of requests
	Background *pgxpool.Pool // workers, metrics and commands

	named map[string]*pgxpool.Pool
	own   bool // Close closes the pools
}

// PoolsConfig configures OpenPools.
type PoolsConfig struct {
	URL      string
	Service  string                      // name of the sessions
	Requests int32                       // sessions for short reads and for writes
	Caller   func(context.Context) int64 // see [NewExpensive]
}

// OpenPools opens the pools of a replica: cfg.Requests sessions, and six more. It
// does not wait for the server.
func OpenPools(ctx context.Context, cfg PoolsConfig) (*Pools, error) {
	requests, err := Open(ctx, cfg.URL, cfg.Service, cfg.Requests)
	if err != nil {
		return nil, err
	}
	expensive, err := open(ctx, cfg.URL, cfg.Service+" expensive", expensiveSessions, expensiveLimits, expensiveSettings)
	if err != nil {
		requests.Close()
		return nil, err
	}
	background, err := Open(ctx, cfg.URL, cfg.Service+" background", backgroundSessions)
	if err != nil {
		requests.Close()
		expensive.Close()
		return nil, err
	}
	return &Pools{
		Reads: NewReader(requests), Expensive: NewExpensive(expensive, cfg.Caller), Writes: requests, Background: background,
		named: map[string]*pgxpool.Pool{"requests": requests, "expensive": expensive, "background": background}, own: true,
	}, nil
}

// OnePool returns Pools that share one pool, for commands and tests. Close leaves
// that pool open.
func OnePool(pool *pgxpool.Pool) *Pools {
	nobody := func(context.Context) int64 { return 0 }
	return &Pools{Reads: NewReader(pool), Expensive: NewExpensive(pool, nobody), Writes: pool, Background: pool}
}

// Close waits for the reads in flight, and closes the pools.
func (p *Pools) Close() {
	p.Reads.Close()
	if !p.own {
		return
	}
	for _, pool := range p.named {
		pool.Close()
	}
}

// Measure registers the metrics of the reads and of all pools: these, and others
// by name.
func (p *Pools) Measure(registry prometheus.Registerer, others map[string]*pgxpool.Pool) {
	p.Reads.Measure(registry)
	p.Expensive.Measure(registry)
	all := poolMetrics{}
	for _, pools := range []map[string]*pgxpool.Pool{p.named, others} {
		for name, pool := range pools {
			all[name] = pool
		}
	}
	registry.MustRegister(all)
}
