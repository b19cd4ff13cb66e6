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
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"lavka/libs/service/access"
	"lavka/libs/service/gctuning"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/pg"
	"lavka/libs/service/program"
	"lavka/libs/service/revocation"
	"lavka/libs/service/telemetry"
	"lavka/libs/service/token"
	"lavka/libs/service/workers"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/bus"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/httpapi"
	"lavka/services/catalog/internal/postgres"
)

const service = "catalog"

// The number of Postgres sessions of a replica. Groups have a pool of their own,
// so that a storm of reads can't delay purchases. Two kinds of groups use one
// session each. The rest are spare: a lost session may take 15 s to close and an
// attempt gives up after 6 s, so without spares an outage would outlast its cause.
const (
	readSessions  = 12
	groupSessions = 8
)

// run is the whole program.
func run(ctx context.Context, cfg Config, args []string, std program.Streams) (err error) {
	command, _ := program.Command(args)
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
		return pg.Migrate(ctx, cfg.MigrateDatabaseURL.Reveal(), postgres.Schema, postgres.Migrations, log)
	}
	return fmt.Errorf("unknown command %q; the commands are serve (default), migrate, healthcheck", command)
}

func serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	gctuning.Tune()
	go gctuning.GiveBack(ctx)
	stopTraces, err := telemetry.Start(ctx, service, log)
	if err != nil {
		return err
	}
	defer stopTraces()
	registry := httpserver.NewRegistry()

	reads, err := pg.Open(ctx, cfg.DatabaseURL.Reveal(), service, readSessions)
	if err != nil {
		return err
	}
	defer reads.Close()
	groups, err := pg.OpenForGroups(ctx, cfg.DatabaseURL.Reveal(), service+" groups", groupSessions)
	if err != nil {
		return err
	}
	defer groups.Close()
	store := postgres.New(reads, groups, postgres.Terms{Wait: cfg.PurchaseWait, Expiry: cfg.PurchaseExpiry})
	defer store.Close()

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
	keys := token.NewRemote(cfg.JWKSURL, log)
	versions := revocation.New(js, revocation.Ask(nc), cfg.TokenLifetime, log, time.Now)
	measure(registry, purchases)
	store.Measure(registry)
	versions.Measure(registry)
	clock := pg.Clock(reads, log)
	registry.MustRegister(clock)
	pg.Measure(registry, map[string]*pgxpool.Pool{"reads": reads, "groups": groups})
	natsconn.Measure(registry, nc)

	tokens, err := token.NewVerifier(keys, cfg.TokenIssuer, cfg.TokenAudience, cfg.TokenLifetime, time.Now)
	if err != nil {
		return err
	}
	e, protected, err := httpserver.NewAPI(httpserver.API{
		Service: service, Contract: api.Contract, Guard: access.NewGuard(tokens, versions),
		TrustedProxies: cfg.TrustedProxies, Registry: registry, Log: log,
	})
	if err != nil {
		return err
	}
	httpapi.Register(e, httpapi.New(catalog.NewProducts(store), purchases), protected)

	counter := &catalog.Counter{Store: store, Backlog: backlog, Metrics: metrics, Log: log, Every: time.Second}
	sweeper := &catalog.Sweeper{
		Store: store, Requests: billing, Metrics: metrics, Log: log,
		Every: 500 * time.Millisecond, Batch: 500, Limiter: rate.NewLimiter(1000, 100),
	}
	background := workers.Start(ctx, keys.Run, versions.Run, counter.Run, sweeper.Run, clock.Run)
	defer background.Stop()

	access.Await(ctx, log, keys.Loaded(), versions.Loaded())
	served := httpserver.Serve(ctx, httpserver.Config{
		Addr: cfg.HTTPAddr, InternalAddr: cfg.InternalAddr, DrainDelay: cfg.DrainDelay, ShutdownTimeout: cfg.ShutdownTimeout,
		MaxConnections: cfg.MaxConnections, Ready: store.Ready, Registry: registry, Log: log,
	}, httpapi.Door(e, purchases.Full, log))

	// No more requests arrive: place the queued orders, stop the workers, write the
	// answers that have arrived, and only then close Postgres.
	purchases.CloseOrders()
	background.Stop()
	drained := natsconn.Drain(nc, natsconn.DrainLimit)
	purchases.CloseAnswers()
	return errors.Join(served, drained)
}

func measure(registry prometheus.Registerer, purchases *catalog.Purchases) {
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "catalog_orders_waiting", Help: "Orders that wait for a group."}, func() float64 {
			return float64(purchases.OrdersWaiting())
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "catalog_answers_waiting", Help: "Answers of billing that wait for a group."}, func() float64 {
			return float64(purchases.AnswersWaiting())
		}),
	)
}
