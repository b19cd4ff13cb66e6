package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"lavka/libs/access"
	"lavka/libs/httpserver"
	"lavka/libs/memory"
	"lavka/libs/natsconn"
	"lavka/libs/pg"
	"lavka/libs/revocation"
	"lavka/libs/telemetry"
	"lavka/libs/token"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/bus"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/httpapi"
	"lavka/services/catalog/internal/postgres"
)

// How many sessions a replica uses. Groups have theirs apart, so that no storm
// of reads keeps purchases waiting. There are two kinds with one session each,
// but a session that is lost may take 15 s to be closed, and a try gives up
// after 6 at the most: without spare ones an outage would go on after its end.
const (
	sessions      = 12
	groupSessions = 8
)

const drainLimit = 5 * time.Second // for NATS

func run(ctx context.Context, cfg settings, args []string) (err error) {
	command := "serve"
	if len(args) > 0 {
		command = args[0]
	}
	if len(args) > 1 {
		return fmt.Errorf("%s takes no arguments", command)
	}
	if command == "healthcheck" {
		return httpserver.Healthcheck(ctx, cfg.InternalAddr)
	}
	logs, flush := telemetry.Buffered(os.Stderr)
	defer func() { err = errors.Join(err, flush()) }()
	log, err := telemetry.NewLogger(logs, "catalog", cfg.LogFormat, cfg.LogLevel)
	if err != nil {
		return err
	}
	switch command {
	case "serve":
		return serve(ctx, cfg, log)
	case "migrate":
		if cfg.MigrateDatabaseURL.Empty() {
			return errors.New("MIGRATE_DATABASE_URL is not set (for example postgres://catalog_owner:…@127.0.0.1:5432/lavka)")
		}
		return pg.Migrate(ctx, cfg.MigrateDatabaseURL.Reveal(), postgres.Schema, postgres.Migrations(), log)
	}
	return fmt.Errorf("there is no command %q; there are serve, migrate and healthcheck", command)
}

func serve(ctx context.Context, cfg settings, log *slog.Logger) (err error) {
	memory.Tune()
	go memory.GiveBack(ctx)
	if err := cfg.validateServe(); err != nil {
		return err
	}
	contract, err := httpserver.LoadContract(api.Contract)
	if err != nil {
		return err
	}
	version, err := pg.LastVersion(postgres.Migrations())
	if err != nil {
		return err
	}
	stopTraces, err := telemetry.Start(ctx, "catalog", log)
	if err != nil {
		return err
	}
	defer stopTraces()
	registry := httpserver.NewRegistry()

	// The pools outlive ctx: what is under way when ctx ends is finished.
	pool, err := pg.Open(context.WithoutCancel(ctx), cfg.DatabaseURL.Reveal(), "catalog", sessions)
	if err != nil {
		return err
	}
	defer pool.Close()
	groups, err := pg.OpenForGroups(context.WithoutCancel(ctx), cfg.DatabaseURL.Reveal(), "catalog groups", groupSessions)
	if err != nil {
		return err
	}
	defer groups.Close()
	nc, err := natsconn.Connect(cfg.NATSURL.Reveal(), "catalog", log, func() {})
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}

	billing, err := bus.NewBilling(nc, uuid.NewString())
	if err != nil {
		return err
	}
	store := postgres.New(pool, groups, postgres.Terms{Wait: cfg.PurchaseWait, Expiry: cfg.PurchaseExpiry})
	defer store.Close()
	pg.Measure(registry, map[string]*pgxpool.Pool{"reads": pool, "groups": groups})
	metrics := catalog.NewMetrics(registry)
	backlog := catalog.NewBacklog(catalog.Limits{Pending: cfg.PendingMax, PendingPerUser: cfg.PendingMaxPerUser})
	purchases := catalog.NewPurchases(catalog.PurchasesConfig{
		Store: store, Requests: billing, Backlog: backlog, Metrics: metrics, Log: log,
		NewID: func() uuid.UUID { return uuid.Must(uuid.NewV7()) }, Wait: cfg.PurchaseWait,
	})
	defer purchases.CloseAnswers()
	defer purchases.CloseOrders()
	if err := billing.Listen(purchases.Answered, log, registry); err != nil {
		return err
	}
	watch(registry, purchases)
	store.Measure(registry)
	clock := pg.Clock(pool, log)
	registry.MustRegister(clock)
	natsconn.Measure(registry, nc)

	keys := token.NewRemote(cfg.JWKSURL, log)
	tokens, err := token.NewVerifier(keys, cfg.TokenIssuer, cfg.TokenAudience, cfg.TokenLifetime, time.Now)
	if err != nil {
		return err
	}
	versions := revocation.New(js, revocation.Ask(nc), cfg.TokenLifetime, log, time.Now)
	versions.Measure(registry)
	protected, err := access.NewGuard(tokens, versions).Protect(contract)
	if err != nil {
		return err
	}
	e := httpserver.New(log, cfg.TrustedProxies, registry)
	httpapi.Register(e, httpapi.New(catalog.NewProducts(store), purchases), protected)
	if err := httpserver.ServeContract(e, "catalog", contract); err != nil {
		return err
	}

	counter := &catalog.Counter{Store: store, Backlog: backlog, Metrics: metrics, Log: log, Every: time.Second}
	sweeper := &catalog.Sweeper{
		Store: store, Requests: billing, Metrics: metrics, Log: log,
		Every: 500 * time.Millisecond, Batch: 500, Limiter: rate.NewLimiter(1000, 100),
	}
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	var workers sync.WaitGroup
	for _, run := range []func(context.Context){keys.Run, versions.Run, counter.Run, sweeper.Run, clock.Run} {
		workers.Go(func() { run(working) })
	}
	access.Await(ctx, log, keys.Loaded(), versions.Loaded())

	served := httpserver.Serve(ctx, httpserver.Config{
		Addr: cfg.HTTPAddr, InternalAddr: cfg.InternalAddr, DrainDelay: cfg.DrainDelay, ShutdownTimeout: cfg.ShutdownTimeout,
		MaxConnections: cfg.MaxConnections, Registry: registry, Log: log,
		Ready: func(ctx context.Context) error { return pg.CheckVersion(ctx, pool, postgres.Schema, version) },
	}, httpapi.Door(e, purchases.Full, log))

	// Nobody asks any more: what was ordered is placed, what was answered is written.
	purchases.CloseOrders()
	stopWorking()
	workers.Wait()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	drained := natsconn.Drain(limit, nc)
	purchases.CloseAnswers()
	return errors.Join(served, drained)
}

// watch adds the metrics of what is read and not counted.
func watch(registry prometheus.Registerer, purchases *catalog.Purchases) {
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "catalog_orders_waiting", Help: "Orders that wait for a group."}, func() float64 {
			return float64(purchases.OrdersWaiting())
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "catalog_answers_waiting", Help: "Answers of billing that wait for a group."}, func() float64 {
			return float64(purchases.AnswersWaiting())
		}),
	)
}
