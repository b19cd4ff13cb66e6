package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/host/pgserver"
	"lavka/libs/service/standardwebhooks"
	"lavka/tests/faults/history"
	"lavka/tests/faults/link"
	"lavka/tests/faults/load"
	"lavka/tests/faults/natsproxy"
	"lavka/tests/faults/point"
)

// shop is a shop under test: two replicas of each service, each with its own
// links to Postgres and to NATS, which can be broken.
type shop struct {
	*stack.Stack
	dir        string
	lines      map[string]*lines // by replica: billing-1
	accounts   *load.Accounts
	rec        *history.Recorder
	loggedIn   time.Time
	worlds     int64
	output     *os.File
	mounted    string           // where its own disk is mounted, if it has one
	after      *pgserver.Server // the server that has replaced Postgres
	failedOver time.Duration    // when it was promoted
	broker     *broker          // nil if NATS runs within this program

	expiry      time.Duration // PURCHASE_EXPIRY
	wrongClocks bool          // of replicas
}

// lines are a replica's links to Postgres and NATS.
type lines struct {
	postgres, nats *link.Link
	messages       *natsproxy.Proxy // between the replica and its line to NATS
}

// kind is what a shop is made of.
type kind struct {
	name    string
	bin     string                       // directory of the binaries; "" means those with points
	env     map[string]string            // for every service
	replica map[string]map[string]string // settings of a replica, by its name
	disk    int                          // size of Postgres' disk in MiB; 0 means no limit
	broker  bool                         // NATS is a separate process
	expiry  time.Duration                // of purchases; 0 means the services' default
	clocks  bool                         // of replicas are wrong
	change  func(*stack.Config)
}

// startShop starts a shop and registers its users.
func (h *harness) startShop(ctx context.Context, k kind) (s *shop, err error) {
	dir, err := os.MkdirTemp(h.work, "shop-*")
	if err != nil {
		return nil, err
	}
	s = &shop{dir: dir, lines: map[string]*lines{}, rec: history.NewRecorder(), wrongClocks: k.clocks, expiry: cmp.Or(k.expiry, 15*time.Minute)}
	defer func() {
		if err != nil {
			err, s = errors.Join(fmt.Errorf("start a shop: %w", err), s.stop()), nil
		}
	}()
	for _, d := range []string{"points", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if s.output, err = os.Create(filepath.Join(dir, "output")); err != nil {
		return nil, err
	}
	replicas := stack.Service{Replicas: 2}
	cfg := stack.Config{
		BinDir: k.bin, DataDir: filepath.Join(dir, "data"), Template: h.template, Output: s.output, Log: slog.New(slog.NewTextHandler(s.output, nil)),
		Auth: replicas, Catalog: replicas, Billing: replicas,
		Env: map[string]string{point.Dir: filepath.Join(dir, "points")},
		Adjust: func(service string, replica int, env map[string]string) error {
			name := service + "-" + strconv.Itoa(replica+1)
			if s.broker != nil {
				env["NATS_URL"] = s.broker.url(service)
			}
			maps.Copy(env, k.replica[name])
			return s.lay(name, env)
		},
	}
	if cfg.BinDir == "" {
		cfg.BinDir = h.points
	}
	maps.Copy(cfg.Env, k.env)
	cfg.Env["PURCHASE_EXPIRY"] = s.expiry.String()
	cfg.Env["DECLINES_MAX_PER_USER"] = "1000000" // the buyers of this load are often declined
	if k.change != nil {
		k.change(&cfg)
	}
	if k.disk > 0 {
		if err := mount(filepath.Join(dir, "data"), k.disk); err != nil {
			return s, err
		}
		s.mounted = filepath.Join(dir, "data")
	}
	if k.broker {
		if s.broker, err = h.newBroker(ctx, dir, s.output); err != nil {
			return s, err
		}
		if err := s.broker.start(ctx); err != nil {
			return s, err
		}
		cfg.NATSURL = s.broker.url(operator)
	}
	if s.Stack, err = stack.Start(ctx, cfg); err != nil {
		return s, fmt.Errorf("%w\n%s", err, s.tail())
	}
	s.accounts, err = load.Register(ctx, s.target(), s.rec, 4)
	s.loggedIn = time.Now()
	return s, err
}

// lay creates a replica's links, and changes its settings so that it connects
// through them.
func (s *shop) lay(replica string, env map[string]string) error {
	l := &lines{}
	s.lines[replica] = l
	var err error
	if l.postgres, err = lineTo(env["DATABASE_URL"]); err != nil {
		return err
	}
	if env["DATABASE_URL"], err = l.postgres.Through(env["DATABASE_URL"]); err != nil {
		return err
	}
	if l.nats, err = lineTo(env["NATS_URL"]); err != nil {
		return err
	}
	if l.messages, err = natsproxy.New(l.nats.Addr(), 1); err != nil {
		return err
	}
	env["NATS_URL"], err = l.messages.Through(env["NATS_URL"])
	return err
}

func lineTo(rawURL string) (*link.Link, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("a URL of the shop can't be parsed") // err would show its password
	}
	return link.New(u.Host)
}

// stop ends the shop and everything that was started for it.
func (s *shop) stop() error {
	var errs []error
	if s.Stack != nil {
		errs = append(errs, s.Stack.Stop())
	}
	if s.after != nil {
		errs = append(errs, s.after.Stop())
	}
	if s.broker != nil {
		errs = append(errs, s.broker.kill())
	}
	for _, l := range s.lines {
		if l.messages != nil {
			errs = append(errs, l.messages.Close())
		}
		for _, one := range []*link.Link{l.nats, l.postgres} {
			if one != nil {
				errs = append(errs, one.Close())
			}
		}
	}
	if s.mounted != "" {
		errs = append(errs, syscall.Unmount(s.mounted, 0))
	}
	if s.output != nil {
		errs = append(errs, s.output.Close())
	}
	return errors.Join(errs...)
}

func (s *shop) target() load.Target {
	keys, err := standardwebhooks.ParseKeys(s.PaymentSigningSecrets[0])
	if err != nil {
		panic(err) // our own secret
	}
	t := load.Target{Gateway: s.GatewayURL(), PaymentKey: s.PaymentKeys[0], SigningKey: keys[0], AdminLogin: s.AdminLogin, AdminPassword: s.AdminPassword}
	for _, r := range s.Replicas(stack.Billing) {
		t.Billing = append(t.Billing, r.URL())
	}
	for _, r := range s.Replicas(stack.Catalog) {
		t.Catalog = append(t.Catalog, r.URL())
	}
	return t
}

// newWorld returns bills and products that no earlier run on this shop has used.
func (s *shop) newWorld(ctx context.Context, seed uint64) (*load.World, error) {
	if time.Since(s.loggedIn) > 4*time.Minute { // a token is valid for ten
		if err := s.accounts.Refresh(ctx); err != nil {
			return nil, err
		}
		s.loggedIn = time.Now()
	}
	s.worlds++
	return load.New(ctx, load.Config{Target: s.target(), Accounts: s.accounts, Recorder: s.rec, Seed: seed, Serial: s.worlds})
}

// everyReplica runs f for all replicas of the given services, or of all services
// if none is given, at the same time.
func (s *shop) everyReplica(f func(*stack.Replica) error, services ...string) error {
	if len(services) == 0 {
		services = stack.Services()
	}
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for _, service := range services {
		for _, r := range s.Replicas(service) {
			all.Go(func() {
				if err := f(r); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// awaitReady returns when every replica runs and is ready.
func (s *shop) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.everyReplica(func(r *stack.Replica) error { return r.AwaitReady(ctx) })
}

// linesOf returns the links of the replicas of some services.
func (s *shop) linesOf(services ...string) []*lines {
	var of []*lines
	for _, service := range services {
		for _, r := range s.Replicas(service) {
			of = append(of, s.lines[r.Name])
		}
	}
	return of
}

// pids returns the process ids of all replicas, except those of some services.
func (s *shop) pids(except []string) map[string]int {
	pids := map[string]int{}
	for _, service := range stack.Services() {
		if slices.Contains(except, service) {
			continue
		}
		for _, r := range s.Replicas(service) {
			pids[r.Name] = r.PID()
		}
	}
	return pids
}

// byPID finds the replica that a process belongs to.
func (s *shop) byPID(pid int) (*stack.Replica, error) {
	for _, service := range stack.Services() {
		for _, r := range s.Replicas(service) {
			if r.PID() == pid {
				return r, nil
			}
		}
	}
	return nil, fmt.Errorf("no replica has process %d", pid)
}

// verify runs `billing verify` and `catalog verify`.
func (s *shop) verify(ctx context.Context) error {
	for _, service := range []string{stack.Billing, stack.Catalog} {
		if out, err := s.Command(ctx, service, "verify").CombinedOutput(); err != nil {
			return fmt.Errorf("%s verify: %w: %s", service, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// complaints returns an error if the services' output has what no fault excuses:
// a data race, a panic, a response of 500, or an operation that NATS did not
// permit.
func (s *shop) complaints() error {
	text, err := os.ReadFile(s.output.Name())
	if err != nil {
		return err
	}
	for _, bad := range []string{"DATA RACE", "panic: ", "fatal error: ", "panic serving", `"status":500`, "Permissions Violation"} {
		if i := bytes.Index(text, []byte(bad)); i >= 0 {
			return fmt.Errorf("in the services' output:\n%s", text[max(0, i-200):min(len(text), i+3000)])
		}
	}
	return nil
}

func (s *shop) tail() string {
	text, err := os.ReadFile(s.output.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-5000):])
}
