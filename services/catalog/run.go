package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"lavka/libs/service/access"
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
	"lavka/libs/service/telemetry"
	"lavka/libs/service/token"
	"lavka/libs/service/workers"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/bus"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/httpapi"
	"lavka/services/catalog/internal/metrics"
	"lavka/services/catalog/internal/postgres"
)

const service = "catalog"

// The number of Postgres sessions of a replica, besides those that every service
// has (pg.Pools, pg.Probe). Groups have a pool of their own, so that a storm of
// reads can't delay purchases. Two kinds of groups use one session each, and short
// reads two. The rest are spare: a lost session may take 15 s to close and an
// attempt gives up after 6 s, so without spares an outage would outlast its cause.
const (
	requestSessions = 8
	groupSessions   = 8
)

// run is the whole program.
func run(ctx context.Context, cfg Config, args []string, std program.Streams) (err error) {
	command, rest := program.Command(args, "purchases", "verify", "books")
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
		return runBooks(ctx, cfg, rest, std.Out)
	case "purchases":
		return inspectPurchases(ctx, cfg, rest, std.Out)
	}
	return fmt.Errorf("unknown command %q; the commands are serve (default), migrate, migrate finish, after-restore, verify, books, healthcheck, %s", command, purchasesUsage)
}

func serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	gctuning.Tune()
	go gctuning.GiveBack(ctx)
	defer telemetry.Start(ctx, service, log)()
	registry := httpserver.NewRegistry()

	pools, err := pg.OpenPools(ctx, pg.PoolsConfig{URL: cfg.DatabaseURL.Reveal(), Service: service, Requests: requestSessions, Caller: access.Caller})
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
	groups, err := pg.OpenForGroups(ctx, cfg.DatabaseURL.Reveal(), service+" groups", groupSessions)
	if err != nil {
		return err
	}
	defer groups.Close()
	store := postgres.New(pools, groups, postgres.Terms{Wait: cfg.PurchaseWait, Expiry: cfg.PurchaseExpiry})

	nc, err := natsconn.Connect(cfg.NATSURL.Reveal(), service, log, func() {})
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}

	billing, err := bus.NewBilling(nc, uuid.NewString())
	if err != nil {
		return err
	}
	events := metrics.New(registry)
	backlog := catalog.NewBacklog(catalog.Limits{Pending: cfg.PendingMax, PendingPerUser: cfg.PendingMaxPerUser, StockPerUser: cfg.StockPendingMax})
	declines, err := catalog.NewDeclines(cfg.DeclinesMaxPerUser, time.Now)
	if err != nil {
		return fmt.Errorf("create the count of declines: %w", err)
	}
	kinds := opened.NewGate(pools.Background, postgres.Schema, log)
	kinds.Measure(registry)
	shelf := func() error { return kinds.At(opened.Shelf) }
	watch := catalog.NewWatch(store, time.Second, log)
	purchases := catalog.NewPurchases(catalog.PurchasesConfig{
		Store: store, Requests: billing, Watch: watch, Backlog: backlog, Declines: declines, Metrics: events, Log: log, Shelf: shelf,
		NewID: func() uuid.UUID { return uuid.Must(uuid.NewV7()) }, Wait: cfg.PurchaseWait,
		OrderGroups:  events.Groups("orders", grouptrace.New("insert group")),
		AnswerGroups: events.Groups("answers", grouptrace.New("result group")),
	})
	defer purchases.CloseAnswers()
	defer purchases.CloseOrders()
	refundEvents := metrics.NewRefunds(registry, events)
	refunds := catalog.NewRefunds(catalog.RefundsConfig{
		Store: store, Requests: bus.Refunds{Billing: billing}, Open: func() error { return kinds.At(opened.Refunds) }, Shelf: shelf, Metrics: refundEvents, Log: log,
		NewID: func() uuid.UUID { return uuid.Must(uuid.NewV7()) }, Wait: cfg.PurchaseWait,
		AnswerGroups: events.Groups("refund answers", grouptrace.New("refund result group")),
	})
	defer refunds.Close()
	if err := billing.Listen(purchases.Answered, refunds.Answered, log, registry); err != nil {
		return err
	}
	keys := token.NewRemote(cfg.JWKSURL, log)
	versions := revocation.New(js, revocation.Ask(nc), cfg.TokenLifetime, log, time.Now)
	registry.MustRegister(metrics.Queues(purchases.OrdersWaiting, purchases.AnswersWaiting)...)
	versions.Measure(registry)
	clock, pendingRefunds, verifications := pg.Clock(pools.Background, log), store.PendingRefundMetrics(log), store.Verifications(log)
	registry.MustRegister(clock, pendingRefunds, verifications)
	pools.Measure(registry, map[string]*pgxpool.Pool{"groups": groups})
	gate := serving.New(serving.Config{
		DB: pools.Background, Schema: postgres.Schema, InUse: postgres.InUse, Log: log, Periods: serving.Default,
		Needs: []serving.Need{
			{Name: "check tokens: auth's keys are missing", Met: keys.Loaded(), Why: keys.Failure},
			{Name: "check tokens: the revoked ones are not known", Met: versions.Loaded(), Why: versions.Failure},
		},
	})
	gate.Measure(registry)
	natsconn.Measure(registry, nc)

	tokens, err := token.NewVerifier(keys, cfg.TokenIssuer, cfg.TokenAudience, cfg.TokenLifetime, time.Now)
	if err != nil {
		return err
	}
	guard := access.NewGuard(tokens, versions)
	var open []string
	if cfg.Public {
		open = httpapi.Public
	}
	e, protected, err := httpserver.NewAPI(httpserver.API{
		Service: service, Contract: api.Contract, Guard: guard, Open: open,
		TrustedProxies: cfg.TrustedProxies, Registry: registry, Log: log,
	})
	if err != nil {
		return err
	}
	httpapi.Register(e, httpapi.New(catalog.NewProducts(store, shelf), catalog.Stocks{StockStore: store, Open: shelf}, purchases, refunds, store, export.New(access.UserID, export.PageTimeout, registry)), protected)

	counter := &catalog.Counter{Store: store, Backlog: backlog, Metrics: events, Log: log, Every: time.Second}
	sweeper := &catalog.Sweeper[catalog.Purchase]{
		Store: store, Requests: billing, Metrics: events, Log: log,
		Every: 500 * time.Millisecond, Batch: 500, Limiter: rate.NewLimiter(1000, 100),
	}
	refundSweeper := &catalog.Sweeper[catalog.Refund]{
		Store: catalog.DueFunc[catalog.Refund](store.DueRefunds), Requests: bus.Refunds{Billing: billing}, Metrics: refundEvents, Log: log,
		Every: time.Second, Batch: 100, Limiter: rate.NewLimiter(200, 20),
	}
	searchFiller := &catalog.SearchFiller{
		Store: store, Metrics: metrics.NewSearch(registry), Log: log, Every: time.Second, Learn: time.Minute, Batch: 50, Most: 10_000,
	}
	background := workers.Start(ctx, searchFiller.Run, keys.Run, versions.Run, counter.Run, sweeper.Run, refundSweeper.Run, clock.Run, pendingRefunds.Run, verifications.Run, lineage.NewFollower(pools.Background, postgres.Schema, log).Run, kinds.Run,
		workers.Until(ctx, watch.Run), // a replica that drains lets no request wait
		workers.Until(ctx, gate.Run),  // a replica that drains is not there for the others
	)
	defer background.Stop()

	access.Await(ctx, log, keys.Loaded(), versions.Loaded())
	served := httpserver.Serve(ctx, httpserver.Config{
		Addr: cfg.HTTPAddr, InternalAddr: cfg.InternalAddr, DrainDelay: cfg.DrainDelay, ShutdownTimeout: cfg.ShutdownTimeout,
		MaxConnections: cfg.MaxConnections, CORSOrigins: cfg.CORSOrigins, Ready: gate.Ready(probe.Ready), Lacks: gate.Lacks, Registry: registry, Log: log,
	}, httpapi.Door(e, guard.Known, purchases.Full, log))

	// No more requests arrive: place the queued orders, stop the workers, write the
	// answers that have arrived, and only then close Postgres.
	purchases.CloseOrders()
	background.Stop()
	drained := natsconn.Drain(nc, natsconn.DrainLimit)
	purchases.CloseAnswers()
	refunds.Close()
	return errors.Join(served, drained)
}
