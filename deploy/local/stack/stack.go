package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"lavka/deploy/local/gateway"
	"lavka/libs/host/childprocess"
)

// drainTime is how long the stop of a shop waits for the requests in the gateway.
const drainTime = 5 * time.Second

// Stack is a running shop.
type Stack struct {
	// AdminLogin and AdminPassword are the first administrator's. The password is empty if it was set for an earlier run and not for this one.
	AdminLogin, AdminPassword string
	// AdminPasswordMadeUp means that the password was generated here, so the operator has to be shown it.
	AdminPasswordMadeUp bool
	// PaymentKeys sign what the payment provider sends; every one of them is valid.
	PaymentKeys []string
	// PaymentSigningSecrets sign it in the header, as Standard Webhooks says.
	PaymentSigningSecrets []string
	// PaymentReadTokens let the provider read what became of its payments.
	PaymentReadTokens []string

	cfg            Config
	lock, binaries *Lock
	secrets        *keptSecrets
	signingKeys    string
	trustedProxies string
	postgres       *Postgres // nil with a DatabaseURL
	nats           *NATS     // nil with a NATSURL
	adminURL       string
	roleURLs       map[string]string
	replicas       map[string][]*Replica
	gateway        *gateway.Gateway
	stopped        sync.Once
	stopErr        error
	restarting     sync.Mutex // held by a restart
	stopping       bool       // under restarting
}

// Start starts a shop and returns when it is ready. If anything fails, or ctx ends first, it stops what was started.
// Once started, the shop no longer depends on ctx.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	s, err := reserve(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		if stopErr := s.Stop(); stopErr != nil {
			err = fmt.Errorf("%w (and the shop did not stop cleanly: %w)", err, stopErr)
		}
		return nil, err
	}
	return s, nil
}

// reserve locks the data directory and the binaries. Stop releases them.
func reserve(ctx context.Context, cfg Config) (*Stack, error) {
	cfg = cfg.withDefaults()
	for _, name := range cfg.Without {
		if err := known(name); err != nil {
			return nil, err
		}
	}
	for _, dir := range []*string{&cfg.BinDir, &cfg.DataDir} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", *dir, err)
		}
		*dir = abs
	}
	lock, err := lockDataSoon(ctx, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	binaries, err := HoldBinaries(cfg.BinDir)
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return &Stack{cfg: cfg, lock: lock, binaries: binaries, replicas: map[string][]*Replica{}}, nil
}

func (s *Stack) start(ctx context.Context) error {
	if err := choosePorts(ctx, &s.cfg, portWait); err != nil {
		return err
	}
	var err error
	if s.trustedProxies, err = trustedProxies(ctx, s.cfg); err != nil {
		return err
	}
	if err := s.prepareSecrets(ctx); err != nil {
		return err
	}
	if err := s.startNATS(); err != nil {
		return err
	}
	if err := s.startDatabase(ctx); err != nil {
		return err
	}
	if err := s.prepareSchemas(ctx); err != nil {
		return err
	}
	if err := s.prepareServices(); err != nil {
		return err
	}
	// Services fetch auth's keys through the gateway, from any replica.
	if err := s.startGateway(ctx); err != nil {
		return err
	}
	if err := s.startServices(ctx); err != nil {
		return err
	}
	if err := s.settleAdmin(ctx); err != nil {
		return err
	}
	return s.announce()
}

func (s *Stack) prepareSecrets(ctx context.Context) error {
	err := forgetTokens(s.cfg.DataDir)
	if err != nil {
		return err
	}
	if s.secrets, err = keepSecrets(s.cfg.DataDir); err != nil {
		return err
	}
	s.AdminLogin = s.cfg.AdminLogin
	s.AdminPassword, s.AdminPasswordMadeUp = s.secrets.adminPassword(s.cfg.AdminLogin, s.cfg.AdminPassword)
	if s.PaymentKeys = s.cfg.PaymentKeys; len(s.PaymentKeys) == 0 {
		s.PaymentKeys = []string{s.secrets.PaymentKey}
	}
	if s.PaymentSigningSecrets = s.cfg.PaymentSigningSecrets; len(s.PaymentSigningSecrets) == 0 {
		s.PaymentSigningSecrets = []string{s.secrets.PaymentSigningSecret}
	}
	if s.PaymentReadTokens = s.cfg.PaymentReadTokens; len(s.PaymentReadTokens) == 0 {
		s.PaymentReadTokens = []string{s.secrets.PaymentReadToken}
	}
	if err := s.secrets.save(s.cfg.DataDir); err != nil {
		return err
	}
	s.signingKeys, err = signingKeys(ctx, s.cfg)
	return err
}

func (s *Stack) startNATS() error {
	if s.cfg.NATSURL != "" {
		return nil
	}
	s.nats = &NATS{dir: filepath.Join(s.cfg.DataDir, "nats"), port: s.cfg.NATSPort, passwords: s.secrets.NATSUsers, log: s.cfg.Log}
	return s.nats.Start()
}

func (s *Stack) startDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	s.adminURL = s.cfg.DatabaseURL
	if s.adminURL == "" {
		s.postgres = newPostgres(s.cfg)
		err := s.postgres.Start(ctx)
		if err != nil {
			return err
		}
		if s.adminURL, err = s.postgres.url(ctx); err != nil {
			return err
		}
	}
	var err error
	s.roleURLs, err = prepareRoles(ctx, s.adminURL, s.secrets.Roles)
	return err
}

// asOwners runs a command of each service as the owner of its schema: migrate or
// after-restore. It has no time limit: migrations limit their waits themselves, and
// killing one that builds an index would only make the next start build it again.
func (s *Stack) asOwners(ctx context.Context, command string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range Services() {
		group.Go(func() error { return s.asOwner(ctx, name, command) })
	}
	return group.Wait()
}

func (s *Stack) asOwner(ctx context.Context, name, command string) error {
	lines := NewLines(s.cfg.Output, name)
	cmd := exec.CommandContext(ctx, s.binary(name), command)
	cmd.Env = environ(s.migrateEnvironment(name))
	cmd.Stdout, cmd.Stderr = lines, lines
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends its statement
	cmd.WaitDelay = s.cfg.StopTimeout
	err := childprocess.Start(cmd, childprocess.Options{})
	if err == nil {
		err = errors.Join(cmd.Wait(), lines.Flush())
	}
	if err != nil {
		return fmt.Errorf("%s %s failed (%w); its last output: %s", name, command, err, lines.Last())
	}
	return nil
}

func (s *Stack) prepareServices() error {
	for _, name := range Services() {
		for i := range s.cfg.service(name).Replicas {
			r, err := s.newReplica(name, i)
			if err != nil {
				return err
			}
			s.replicas[name] = append(s.replicas[name], r)
		}
	}
	return nil
}

func (s *Stack) startServices(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(limit)
	awaited := s.started()
	if slices.Contains(s.cfg.Without, Auth) { // the others can't check tokens before it runs
		awaited = nil
	}
	for _, name := range s.started() {
		for _, r := range s.replicas[name] {
			if slices.Contains(awaited, name) {
				group.Go(func() error { return r.Start(ctx) })
			} else {
				group.Go(r.Launch)
			}
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// ctx is the group's, and has ended.
	return s.gateway.Await(limit, awaited)
}

// started are the services that this shop starts itself.
func (s *Stack) started() []string {
	return slices.DeleteFunc(Services(), func(name string) bool { return slices.Contains(s.cfg.Without, name) })
}

func (s *Stack) newReplica(service string, i int) (*Replica, error) {
	cfg := s.cfg.service(service)
	r := &Replica{Service: service, Name: service, Addr: cfg.Addr, InternalAddr: cfg.InternalAddr, log: s.cfg.Log, stopTimeout: s.cfg.StopTimeout}
	if i > 0 {
		var err error
		if r.Addr, err = freeAddr("127.0.0.1"); err != nil {
			return nil, err
		}
		if r.InternalAddr, err = freeAddr("127.0.0.1"); err != nil {
			return nil, err
		}
	}
	if cfg.Replicas > 1 {
		r.Name += "-" + strconv.Itoa(i+1)
	}
	r.output = NewLines(s.cfg.Output, r.Name)
	settings := s.environment(service, r.Addr, r.InternalAddr)
	if s.cfg.Adjust != nil {
		if err := s.cfg.Adjust(service, i, settings); err != nil {
			return nil, fmt.Errorf("adjust %s: %w", r.Name, err)
		}
	}
	env := environ(settings)
	r.command = func() *exec.Cmd {
		cmd := exec.Command(s.binary(service))
		cmd.Env = env
		return cmd
	}
	return r, nil
}

func (s *Stack) startGateway(ctx context.Context) error {
	replicas := map[string][]gateway.Replica{}
	for service, all := range s.replicas {
		for _, r := range all {
			replicas[service] = append(replicas[service], gateway.Replica{Addr: dialable(r.Addr), InternalAddr: dialable(r.InternalAddr)})
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.GatewayAddr)
	if err != nil {
		return fmt.Errorf("start the gateway (LAVKA_GATEWAY_ADDR): %w", err)
	}
	s.gateway = gateway.New(gateway.Config{Replicas: replicas, TrustedProxies: s.cfg.TrustedProxies, CORSOrigins: s.cfg.CORSOrigins, MaxConnections: s.cfg.MaxConnections, TrustTraceparent: s.cfg.TrustTraceparent, Log: s.cfg.Log})
	go func() {
		if err := s.gateway.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("the gateway failed", "error", err)
		}
	}()
	return nil
}

// Stop stops everything in an order that loses nothing: first the gateway, so that there are no new requests, then the services, which finish
// what they have started, then the servers that they need for it. Stopping a stopped shop is not an error.
func (s *Stack) Stop() error {
	s.stopped.Do(func() { s.stopErr = s.stop() })
	return s.stopErr
}

func (s *Stack) stop() error {
	s.endRestarts()
	var errs []error
	if s.gateway != nil {
		errs = append(errs, s.stopGateway())
	}
	var services errgroup.Group
	for _, replicas := range s.replicas {
		for _, r := range replicas {
			services.Go(r.Stop)
		}
	}
	errs = append(errs, services.Wait())
	if s.nats != nil {
		s.nats.Stop()
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop())
	}
	errs = append(errs, s.withdraw(), s.binaries.Release(), s.lock.Release())
	return errors.Join(errs...)
}

func (s *Stack) stopGateway() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err := s.gateway.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.cfg.Log.Warn("requests in the gateway did not finish in time; closing their connections", slog.Duration("after", drainTime))
		err = s.gateway.Close()
	}
	if err != nil {
		return fmt.Errorf("stop the gateway: %w", err)
	}
	return nil
}
