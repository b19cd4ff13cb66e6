package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
	"lavka/libs/domain/group"
	"lavka/libs/service/access"
	"lavka/libs/service/complete"
	"lavka/libs/service/export"
	"lavka/libs/service/gctuning"
	"lavka/libs/service/grouptrace"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/lineage"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
	"lavka/libs/service/program"
	"lavka/libs/service/revocation"
	"lavka/libs/service/serving"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/service/telemetry"
	"lavka/libs/service/token"
	"lavka/libs/service/workers"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/bus"
	"lavka/services/billing/internal/httpapi"
	"lavka/services/billing/internal/metrics"
	"lavka/services/billing/internal/postgres"
)

const service = "billing"

// The number of Postgres sessions of a replica, besides those that every service
// has (pg.Pools, pg.Probe). Groups have a pool of their own, so that a storm of
// reads can't delay money.
const (
	groups          = 1
	groupSessions   = groups + 1 // and one that records refused payments
	requestSessions = 8
)

// run is the whole program.
func run(ctx context.Context, cfg Config, args []string, std program.Streams) (err error) {
	command, rest := program.Command(args, "verify", "compare")
	if command == "healthcheck" { // needs no log
		return httpserver.Healthcheck(ctx, cfg.InternalAddr)
	}
	logs, flush := telemetry.Buffered(std.Err)
	defer func() { err = errors.Join(err, flush()) }()
	log, err := telemetry.NewLogger(logs, service, cfg.LogFormat, cfg.LogLevel)
	if err != nil {
		return err
	}
	switch command {
	case "serve":
		if err := cfg.ValidateServe(); err != nil {
			return err
		}
		return serve(ctx, cfg, log)
	case "migrate":
		return opened.Migrate(ctx, cfg.MigrateDatabaseURL.Reveal(), postgres.Opened, log)
	case "migrate finish":
		return opened.Finish(ctx, cfg.MigrateDatabaseURL.Reveal(), postgres.Opened, log)
	case "after-restore":
		return lineage.AfterRestore(ctx, cfg.MigrateDatabaseURL.Reveal(), postgres.Restored, log)
	case "verify":
		return runVerify(ctx, cfg, rest, log, std.Out)
	case "books":
		return withStore(ctx, cfg, log, command, func(s *postgres.Store) error { return s.Books(ctx, std.Out) })
	case "compare":
		return runCompare(ctx, cfg, rest, log, std)
	case "payments refused":
		return withStore(ctx, cfg, log, command, func(s *postgres.Store) error { return listRefusedPayments(ctx, s, std.Out) })
	case "messages rejected":
		return withStore(ctx, cfg, log, command, func(s *postgres.Store) error { return listRejectedMessages(ctx, s, std.Out) })
	}
	return fmt.Errorf("unknown command %q; the commands are serve (default), migrate, migrate finish, after-restore, verify, books, compare, healthcheck, payments refused, messages rejected", command)
}

func serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	gctuning.Tune()
	go gctuning.GiveBack(ctx)
	defer telemetry.Start(ctx, service, log)()
	registry := httpserver.NewRegistry()

	pools, err := pg.OpenPools(ctx, pg.PoolsConfig{URL: cfg.DatabaseURL.Reveal(), Service: service, Requests: requestSessions, Caller: access.UserID})
	if err != nil {
		return err
	}
	defer pools.Close()
	probe, err := pg.NewProbe(cfg.DatabaseURL.Reveal(), service, postgres.Schema, postgres.Migrations)
	if err != nil {
		return err
	}
	defer probe.Close()
	if err := probe.Pooled(ctx); err != nil {
		return err
	}
	settles, err := pg.OpenForGroups(ctx, cfg.DatabaseURL.Reveal(), service+" ledger", groupSessions)
	if err != nil {
		return err
	}
	defer settles.Close()
	store := postgres.New(pools, settles, log)

	reconnected := make(chan struct{}, 1)
	nc, err := natsconn.Connect(cfg.NATSURL.Reveal(), service, log, func() {
		select {
		case reconnected <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}

	counts := metrics.New(registry)
	settler := billing.NewSettler(counts.Ledger(store), group.Config{
		Max: bus.GroupMax, Queue: 8 * bus.GroupMax, InFlight: groups, Instruments: counts.Groups(grouptrace.New("settle group")),
	})
	kinds := opened.NewGate(pools.Background, postgres.Schema, log)
	kinds.Measure(registry)
	refundsOpen := func() error { return kinds.At(opened.Refunds) }
	purchases := bus.NewPurchases(nc, js, settler, store, refundsOpen, cfg.StreamReplicas, log, registry)
	users := bus.NewUsers(js, store, log)
	keys := token.NewRemote(cfg.JWKSURL, log)
	versions := revocation.New(js, revocation.Ask(nc), cfg.TokenLifetime, log, time.Now)
	versions.Measure(registry)
	lag := natsconn.Lag(js, wire.StreamPurchases, wire.ConsumerPurchases, log)
	usersLag := natsconn.Lag(js, wire.StreamUsers, wire.ConsumerUsers, log)
	clock, verifications, comparisons := pg.Clock(pools.Background, log), store.Verifications(log), store.Comparisons(log)
	registry.MustRegister(metrics.Queue(settler.Waiting), lag, usersLag, clock, verifications, comparisons)
	pools.Measure(registry, map[string]*pgxpool.Pool{"groups": settles})
	gate := serving.New(serving.Config{
		DB: pools.Background, Schema: postgres.Schema, InUse: postgres.InUse, Log: log, Periods: serving.Default,
		Needs: []serving.Need{
			{Name: "check tokens: auth's keys are missing", Met: keys.Loaded(), Why: keys.Failure},
			{Name: "check tokens: the revoked ones are not known", Met: versions.Loaded(), Why: versions.Failure},
			{Name: "take purchases: the stream PURCHASES is not open", Met: purchases.Opened(), Why: purchases.Failure},
		},
	})
	gate.Measure(registry)
	rows := complete.New(pools.Background, log)
	registry.MustRegister(rows)
	natsconn.Measure(registry, nc)

	tokens, err := token.NewVerifier(keys, cfg.TokenIssuer, cfg.TokenAudience, cfg.TokenLifetime, time.Now)
	if err != nil {
		return err
	}
	e, protected, err := httpserver.NewAPI(httpserver.API{
		Service: service, Contract: api.Contract, Guard: access.NewGuard(tokens, versions),
		Schemes:        map[string]echo.MiddlewareFunc{"paymentToken": access.Static("provider", cfg.readTokens())},
		TrustedProxies: cfg.TrustedProxies, Registry: registry, Log: log,
	})
	if err != nil {
		return err
	}
	signing, err := cfg.signingKeys()
	if err != nil {
		return err
	}
	signatures := httpapi.Signatures{Legacy: cfg.legacyKeys(), V2: standardwebhooks.New(signing, time.Now)}
	log.InfoContext(ctx, "signatures of payments", "legacy_keys", len(signatures.Legacy), "v2_keys", len(signing))
	handlers, err := httpapi.New(store, httpapi.NewWebhook(signatures, settler, registry),
		httpapi.NewReversals(signatures.V2, settler, refundsOpen, registry), export.New(access.UserID, export.PageTimeout, registry), rows)
	if err != nil {
		return err
	}
	httpapi.Register(e, handlers, protected)

	background := workers.Start(ctx,
		purchases.Run, users.Run, keys.Run, versions.Run, rows.Run, kinds.Run, lag.Run, usersLag.Run, clock.Run, verifications.Run, comparisons.Run, lineage.NewFollower(pools.Background, postgres.Schema, log).Run,
		workers.Until(ctx, gate.Run), // a replica that drains is not there for the others
		func(ctx context.Context) { ensureOnReconnect(ctx, reconnected, purchases, log) },
	)
	defer background.Stop()

	access.Await(ctx, log, keys.Loaded(), versions.Loaded())
	served := httpserver.Serve(ctx, httpserver.Config{
		Addr: cfg.HTTPAddr, InternalAddr: cfg.InternalAddr, DrainDelay: cfg.DrainDelay, ShutdownTimeout: cfg.ShutdownTimeout,
		MaxConnections: cfg.MaxConnections, CORSOrigins: cfg.CORSOrigins, Ready: gate.Ready(probe.Ready), Lacks: gate.Lacks, Registry: registry, Log: log,
	}, e)

	// No more webhooks arrive: stop taking messages, settle what was taken, send the
	// answers, and only then close NATS and Postgres.
	background.Stop()
	settler.Close()
	purchases.Close()
	return errors.Join(served, natsconn.Drain(nc, natsconn.DrainLimit))
}

// ensureOnReconnect creates billing's stream again when NATS returns without it,
// rather than waiting until a consumer finds it missing.
func ensureOnReconnect(ctx context.Context, reconnected <-chan struct{}, purchases *bus.Purchases, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-reconnected:
			limited, cancel := context.WithTimeout(ctx, 5*time.Second)
			if err := purchases.Ensure(limited); err != nil {
				log.WarnContext(ctx, "the stream could not be created after a reconnect; the consumer retries", "error", err)
			}
			cancel()
		}
	}
}

// withStore calls f with a Store that has one session, for a command.
func withStore(ctx context.Context, cfg Config, log *slog.Logger, command string, f func(*postgres.Store) error) error {
	pool, err := pg.OpenForCommand(ctx, cfg.DatabaseURL.Reveal(), service+" "+command)
	if err != nil {
		return err
	}
	defer pool.Close()
	pools := pg.OnePool(pool)
	defer pools.Close()
	return f(postgres.New(pools, pool, log))
}
