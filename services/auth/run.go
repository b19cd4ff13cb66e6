package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

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
	"lavka/services/auth/api"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/bus"
	"lavka/services/auth/internal/httpapi"
	"lavka/services/auth/internal/keys"
	"lavka/services/auth/internal/postgres"
)

const service = "auth"

const (
	// connections bounds one replica's sessions in Postgres.
	connections = 20
	// hashQueue is how many callers wait for each hash under way: about a
	// second, at 30 ms a hash.
	hashQueue = 32
)

// run is the whole program.
func run(ctx context.Context, cfg Config, args []string, std program.Streams) (err error) {
	command, args := program.Command(args, "admin", "keys")
	switch command { // these need no log
	case "healthcheck":
		return httpserver.Healthcheck(ctx, cfg.InternalAddr)
	case "keys":
		return runKeys(args, std.Out)
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
	case "admin":
		return runAdmin(ctx, cfg, args, std)
	}
	return fmt.Errorf("unknown command %q; the commands are serve (default), migrate, healthcheck, admin, keys", command)
}

func serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	// No gctuning.Tune: most of what auth allocates is for hashes, 19 MiB each, and
	// beside such a hash the collector's work is little.
	go gctuning.GiveBack(ctx)
	stopTraces, err := telemetry.Start(ctx, service, log)
	if err != nil {
		return err
	}
	defer stopTraces()
	registry := httpserver.NewRegistry()
	ring, err := keys.Open(cfg.SigningKeys, log)
	if err != nil {
		return err
	}
	pool, err := pg.Open(ctx, cfg.DatabaseURL.Reveal(), service, connections)
	if err != nil {
		return err
	}
	defer pool.Close()
	store := postgres.New(pool)
	publisher := bus.NewPublisher(store, cfg.StreamReplicas, log)
	nc, err := natsconn.Connect(cfg.NATSURL.Reveal(), service, log, publisher.Connected)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	revocations := bus.NewRevocations(store, revocation.Window(cfg.TokenLifetime), log)
	if err := revocations.Answer(nc); err != nil {
		return err
	}
	versions := revocation.New(js, revocations.Tell, cfg.TokenLifetime, log, time.Now)
	tokens, err := token.NewVerifier(ring, cfg.TokenIssuer, cfg.TokenAudience, cfg.TokenLifetime, time.Now)
	if err != nil {
		return err
	}

	credentials, hasher, err := newCredentials(store)
	if err != nil {
		return err
	}
	issuer := keys.NewIssuer(ring, cfg.TokenIssuer, cfg.TokenAudience, cfg.TokenLifetime, time.Now)
	admins := newBootstrap(cfg, auth.NewAdmins(store, credentials), publisher.Changed, log)
	handlers := httpapi.New(httpapi.Config{
		Users:     auth.NewUsers(store, credentials, cfg.ActivationLifetime, publisher.Changed),
		Sessions:  auth.NewSessions(store, credentials, issuer, cfg.RefreshLifetime, publisher.Changed),
		Keys:      ring,
		PublicURL: cfg.PublicURL, TokenLifetime: cfg.TokenLifetime, Registry: registry,
	})
	measure(registry, hasher, publisher, ring)
	versions.Measure(registry)
	clock := pg.Clock(pool, log)
	registry.MustRegister(clock)
	pg.Measure(registry, map[string]*pgxpool.Pool{"all": pool})
	natsconn.Measure(registry, nc)

	e, protected, err := httpserver.NewAPI(httpserver.API{
		Service: service, Contract: api.Contract, Guard: access.NewGuard(tokens, versions),
		TrustedProxies: cfg.TrustedProxies, Registry: registry, Log: log,
	})
	if err != nil {
		return err
	}
	httpapi.Register(e, handlers, protected)

	// The publisher also publishes what the last requests change. What it does not
	// get to stays due in its row.
	background := workers.Start(ctx, versions.Run, ring.Run, clock.Run,
		func(ctx context.Context) { publisher.Run(ctx, nc, js) },
		func(ctx context.Context) { prune(ctx, store, log) },
	)
	defer background.Stop()

	// If the first admin can't be created, serving ends, and the other way round.
	front, serving := errgroup.WithContext(ctx)
	front.Go(func() error { return admins.Run(serving) })
	front.Go(func() error {
		access.Await(serving, log, versions.Loaded())
		return httpserver.Serve(serving, httpserver.Config{
			Addr: cfg.HTTPAddr, InternalAddr: cfg.InternalAddr, DrainDelay: cfg.DrainDelay, ShutdownTimeout: cfg.ShutdownTimeout,
			MaxConnections: cfg.MaxConnections, Ready: admins.Ready(store.Ready), Registry: registry, Log: log,
		}, e)
	})
	served := front.Wait()
	background.Stop()
	return errors.Join(served, natsconn.Drain(nc, natsconn.DrainLimit))
}

// newCredentials is the part that the admin command needs too.
func newCredentials(store *postgres.Store) (*auth.Credentials, *auth.Hasher, error) {
	throttle, err := auth.NewThrottle(time.Now)
	if err != nil {
		return nil, nil, fmt.Errorf("make throttle: %w", err)
	}
	cpus := runtime.GOMAXPROCS(0) // what this process may use, of however many there are
	hasher := auth.NewHasher(cpus, hashQueue*cpus)
	return auth.NewCredentials(store, hasher, throttle), hasher, nil
}

func measure(registry prometheus.Registerer, hasher *auth.Hasher, publisher *bus.Publisher, ring *keys.Ring) {
	gauge := func(name, help string, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("auth_hash_queue", "Callers who wait for their turn to hash a password.", func() float64 { return float64(hasher.Waiting()) })
	gauge("auth_users_due", "Users that should have been published by now.", func() float64 { return float64(publisher.Due()) })
	gauge("auth_signing_key_created_timestamp_seconds", "When the key that signs was made, as Unix time; 0 when its file does not say.", func() float64 { return float64(ring.MadeAt()) })
}

// prune deletes expired sessions and links each hour.
func prune(ctx context.Context, store *postgres.Store, log *slog.Logger) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		for more := true; more; {
			var err error
			if more, err = store.Prune(ctx); err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "expired sessions can't be deleted; trying again in an hour", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
