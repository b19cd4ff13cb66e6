package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"lavka/libs/service/access"
	"lavka/libs/service/gctuning"
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
	"lavka/services/auth/api"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/bus"
	"lavka/services/auth/internal/hook"
	"lavka/services/auth/internal/httpapi"
	"lavka/services/auth/internal/keys"
	"lavka/services/auth/internal/metrics"
	"lavka/services/auth/internal/postgres"
)

const service = "auth"

// requestSessions is the number of Postgres sessions of a replica, besides those
// that every service has (pg.Pools, pg.Probe).
const requestSessions = 14

// run is the whole program.
func run(ctx context.Context, cfg Config, args []string, std program.Streams) (err error) {
	command, args := program.Command(args, "admin", "keys", "verify")
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
		return opened.Migrate(ctx, cfg.MigrateDatabaseURL.Reveal(), postgres.Opened, log)
	case "migrate finish":
		return opened.Finish(ctx, cfg.MigrateDatabaseURL.Reveal(), postgres.Opened, log)
	case "after-restore":
		return lineage.AfterRestore(ctx, cfg.MigrateDatabaseURL.Reveal(), postgres.Restored, log)
	case "verify":
		return runVerify(ctx, cfg, args, log, std.Out)
	case "admin":
		return runAdmin(ctx, cfg, args, std)
	}
	return fmt.Errorf("unknown command %q; the commands are serve (default), migrate, migrate finish, after-restore, verify, healthcheck, admin, keys", command)
}

func serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	// No gctuning.Tune: auth allocates mostly for hashes, 19 MiB each, and compared
	// with such a hash the collector's work is small.
	go gctuning.GiveBack(ctx)
	defer telemetry.Start(ctx, service, log)()
	registry := httpserver.NewRegistry()
	ring, err := keys.Open(cfg.SigningKeys, log)
	if err != nil {
		return err
	}
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
	store := postgres.New(pools)
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

	credentials, hasher, err := newCredentials(store, cfg)
	if err != nil {
		return err
	}
	issuer := keys.NewIssuer(ring, cfg.TokenIssuer, cfg.TokenAudience, cfg.TokenLifetime, time.Now)
	links := auth.Links{PublicURL: cfg.PublicURL, ResetPage: cfg.resetURL()}
	counts := metrics.New(registry)
	// Without a hook, links are in responses, and none waits to be sent.
	var send func()
	var sending []func(context.Context)
	unsent := func(context.Context) (time.Duration, error) { return 0, nil }
	if cfg.LinkHookURL != "" {
		hookKeys, err := cfg.hookKeys()
		if err != nil {
			return err
		}
		sender := hook.New(store, hook.Config{
			URL: cfg.LinkHookURL, Keys: hookKeys, Links: links, Activation: cfg.ActivationLifetime, Count: counts.Link, Log: log, Now: time.Now,
		})
		send, unsent = sender.Wake, store.OldestLink
		sending = append(sending, workers.Until(ctx, sender.Run)) // another replica sends what this one has not
	}
	if cfg.LinkHookURL == "" && !cfg.LinkHookSecret.Empty() {
		log.WarnContext(ctx, "LINK_HOOK_SECRET is set, and LINK_HOOK_URL is not: no links are sent; set both, or neither")
	}
	admins := newBootstrap(cfg, auth.NewAdmins(store, credentials), publisher.Changed, log)
	handlers := httpapi.New(httpapi.Config{
		Users:    auth.NewUsers(store, credentials, cfg.ActivationLifetime, publisher.Changed, send),
		Sessions: auth.NewSessions(store, credentials, issuer, cfg.RefreshLifetime, publisher.Changed),
		Resets:   auth.NewResets(store, credentials, publisher.Changed, send),
		Keys:     ring,
		Log:      store,
		Links:    links, TokenLifetime: cfg.TokenLifetime, Metrics: counts,
	})
	registry.MustRegister(metrics.Polled(hasher.Waiting, publisher.Due, publisher.Published, ring.MadeAt, admins.IsAdmin)...)
	versions.Measure(registry)
	clock, verifications := pg.Clock(pools.Background, log), store.Verifications(log)
	oldest := metrics.OldestLink(unsent, log)
	registry.MustRegister(clock, verifications, oldest)
	pools.Measure(registry, nil)
	gate := serving.New(serving.Config{
		DB: pools.Background, Schema: postgres.Schema, InUse: postgres.InUse, Log: log, Periods: serving.Default,
		Needs: []serving.Need{
			{Name: "check tokens", Met: versions.Loaded(), Why: func() error {
				// Without its stream, versions fail too, and say less.
				return natsconn.Because(nc, cmp.Or(publisher.Failure(), versions.Failure()))
			}},
		},
	})
	gate.Measure(registry)
	kinds := opened.NewGate(pools.Background, postgres.Schema, log)
	kinds.Measure(registry)
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
	background := workers.Start(ctx, append(sending, versions.Run, ring.Run, clock.Run, verifications.Run, oldest.Run, lineage.NewFollower(pools.Background, postgres.Schema, log).Run, kinds.Run,
		workers.Until(ctx, gate.Run), // a replica that drains is not there for the others
		func(ctx context.Context) { publisher.Run(ctx, nc, js) },
		func(ctx context.Context) { prune(ctx, store, log) },
		func(ctx context.Context) { clearSalts(ctx, store, log) },
		func(ctx context.Context) { endSessions(ctx, store, log) },
	)...)
	defer background.Stop()

	// If the first admin can't be created, serving ends, and the other way round.
	front, serving := errgroup.WithContext(ctx)
	front.Go(func() error { return admins.Run(serving) })
	front.Go(func() error {
		access.Await(serving, log, versions.Loaded())
		return httpserver.Serve(serving, httpserver.Config{
			Addr: cfg.HTTPAddr, InternalAddr: cfg.InternalAddr, DrainDelay: cfg.DrainDelay, ShutdownTimeout: cfg.ShutdownTimeout,
			MaxConnections: cfg.MaxConnections, CORSOrigins: cfg.CORSOrigins, Ready: gate.Ready(admins.Ready(probe.Ready)), Lacks: gate.Lacks, Registry: registry, Log: log,
		}, e)
	})
	served := front.Wait()
	background.Stop()
	return errors.Join(served, natsconn.Drain(nc, natsconn.DrainLimit))
}

// newCredentials returns what the admin command needs too.
func newCredentials(store *postgres.Store, cfg Config) (*auth.Credentials, *auth.Hasher, error) {
	throttle, err := auth.NewThrottle(time.Now)
	if err != nil {
		return nil, nil, fmt.Errorf("create throttle: %w", err)
	}
	hasher := auth.NewHasher(runtime.GOMAXPROCS(0)) // the CPUs that this process may use
	return auth.NewCredentials(store, hasher, throttle, auth.Strength(cfg.PasswordStrength)), hasher, nil
}

// prune deletes expired sessions and links every hour.
func prune(ctx context.Context, store *postgres.Store, log *slog.Logger) {
	every(ctx, time.Hour, log, "can't delete expired sessions; retrying in an hour", store.Prune)
}

// clearSalts removes the salts of refresh tokens soon after their grace.
func clearSalts(ctx context.Context, store *postgres.Store, log *slog.Logger) {
	every(ctx, auth.Grace, log, "can't clear the salts of spent refresh tokens; retrying", store.ClearSalts)
}

// endSessions ends the sessions that were too many for the transaction that ended
// them all.
func endSessions(ctx context.Context, store *postgres.Store, log *slog.Logger) {
	every(ctx, time.Second, log, "can't end all sessions of a user; retrying", func(ctx context.Context) error {
		for {
			if more, err := store.EndMoreSessions(ctx); err != nil || !more {
				return err
			}
		}
	})
}

// every calls do now, and then at each interval until ctx ends. It logs a failure
// once, however often it repeats.
func every(ctx context.Context, interval time.Duration, log *slog.Logger, trouble string, do func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for failing := false; ; {
		err := do(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			log.WarnContext(ctx, trouble, "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
