package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"lavka/deploy/nats"
	"lavka/deploy/postgres"
	"lavka/libs/service/opened"
	"lavka/libs/service/pgconfig"
)

// Shop is what a running shop publishes for the tools, in running.json (mode 0600), which exists while the shop runs.
type Shop struct {
	GatewayURL    string            `json:"gateway_url"`
	ServiceURLs   map[string]string `json:"service_urls"` // of the first replicas
	InternalURLs  map[string]string `json:"internal_urls"`
	NATSURL       string            `json:"nats_url"`
	DatabaseURLs  map[string]string `json:"database_urls"` // by role
	AdminLogin    string            `json:"admin_login"`
	AdminPassword string            `json:"admin_password"` // empty if not known to this run
	PaymentKeys   []string          `json:"payment_keys"`
	// These two are empty while a release before them runs.
	PaymentReadTokens     []string `json:"payment_read_tokens"`
	PaymentSigningSecrets []string `json:"payment_signing_secrets"`
	TracesURL             string   `json:"traces_url"` // "" if traces are not kept here
	BinDir                string   `json:"bin_dir"`
	Control               Control  `json:"control"`
}

// Control is where the launcher takes requests from the tools, and the bearer token that each request needs.
type Control struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// ErrNotRunning means that no shop runs on a data directory.
var ErrNotRunning = errors.New("no shop is running")

func shopFile(dataDir string) string { return filepath.Join(dataDir, "running.json") }

func (s *Stack) announce() error {
	shop := Shop{
		GatewayURL:    s.GatewayURL(),
		ServiceURLs:   map[string]string{},
		InternalURLs:  map[string]string{},
		NATSURL:       s.NATSURL(),
		DatabaseURLs:  s.roleURLs,
		AdminLogin:    s.AdminLogin,
		AdminPassword: s.AdminPassword,
		PaymentKeys:   s.PaymentKeys,

		PaymentSigningSecrets: s.PaymentSigningSecrets,
		PaymentReadTokens:     s.PaymentReadTokens,

		TracesURL: s.cfg.TracesURL,
		BinDir:    s.cfg.BinDir,
		Control:   s.cfg.Control,
	}
	for service, replicas := range s.replicas {
		shop.ServiceURLs[service] = replicas[0].URL()
		shop.InternalURLs[service] = replicas[0].InternalURL()
	}
	if err := writePrivate(shopFile(s.cfg.DataDir), shop); err != nil {
		return fmt.Errorf("write the file for the tools: %w", err)
	}
	return s.writeSettings()
}

func (s *Stack) withdraw() error {
	files := []string{shopFile(s.cfg.DataDir)}
	for _, name := range Services() {
		files = append(files, SettingsFile(s.cfg.DataDir, name))
	}
	return removeFiles(files)
}

func removeFiles(files []string) error {
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	return nil
}

// Running returns the shop that runs on a data directory, or ErrNotRunning.
func Running(dataDir string) (Shop, error) {
	absent := fmt.Errorf("%w on %s: start it with make run, or set LAVKA_DATA to its data directory", ErrNotRunning, dataDir)
	held, err := locked(dataDir)
	if err != nil {
		return Shop{}, err
	}
	text, err := os.ReadFile(shopFile(dataDir))
	if !held || errors.Is(err, os.ErrNotExist) {
		return Shop{}, absent
	}
	if err != nil {
		return Shop{}, fmt.Errorf("read the file of the running shop: %w", err)
	}
	var shop Shop
	if err := json.Unmarshal(text, &shop); err != nil {
		return Shop{}, fmt.Errorf("read the file of the running shop: %w", err)
	}
	return shop, nil
}

// Command returns the command that runs a service's subcommand, such as billing verify, with the service's own database role. The end of ctx
// interrupts it.
func (s Shop) Command(ctx context.Context, service string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.BinDir, service), args...)
	cmd.Env = append(inherited(), "DATABASE_URL="+s.DatabaseURLs[service])
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd
}

// OwnerCommand is Command with the URL of the owner of the service's schema, for migrate finish.
func (s Shop) OwnerCommand(ctx context.Context, service string, args ...string) *exec.Cmd {
	cmd := s.Command(ctx, service, args...)
	cmd.Env = append(cmd.Env, "MIGRATE_DATABASE_URL="+s.DatabaseURLs[postgres.Owner(service)])
	return cmd
}

func (s *Stack) binary(service string) string { return filepath.Join(s.cfg.BinDir, service) }

// Unfinished reports whether an upgrade is not complete: the gate for new kinds of rows is closed in one of the schemas.
func (s *Stack) Unfinished(ctx context.Context) (bool, error) {
	conn, err := pgconfig.Connect(ctx, s.adminURL)
	if err != nil {
		return false, fmt.Errorf("connect as the administrator: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var closed bool
	err = conn.QueryRow(ctx, `SELECT least((SELECT level FROM auth.opened), (SELECT level FROM billing.opened), (SELECT level FROM catalog.opened)) < $1`, opened.Highest).Scan(&closed)
	if err != nil {
		return false, fmt.Errorf("read the levels of the schemas: %w", err)
	}
	return closed, nil
}

// GatewayURL returns the URL for clients.
func (s *Stack) GatewayURL() string { return baseURL(s.cfg.GatewayAddr) }

// NATSURL returns the operator's URL of NATS, including the password, or Config.NATSURL if that is set.
func (s *Stack) NATSURL() string { return s.natsURL(nats.Operator) }

// natsURL returns a user's URL of NATS. With Config.NATSURL, it is the same for all.
func (s *Stack) natsURL(user string) string {
	if s.nats == nil {
		return s.cfg.NATSURL
	}
	return s.nats.url(user)
}

// AdminDatabaseURL returns the database administrator's URL.
func (s *Stack) AdminDatabaseURL() string { return s.adminURL }

// DatabaseURL returns the URL of a role: that of a service, or the owner of its schema (see lavka/deploy/postgres).
func (s *Stack) DatabaseURL(role string) string { return s.roleURLs[role] }

// Replicas returns the replicas of a service.
func (s *Stack) Replicas(service string) []*Replica { return s.replicas[service] }

// Postgres returns our own server, or nil with Config.DatabaseURL.
func (s *Stack) Postgres() *Postgres { return s.postgres }

// NATS returns our own server, or nil with Config.NATSURL.
func (s *Stack) NATS() *NATS { return s.nats }

// Command returns the command that runs a service's subcommand, such as billing verify, with the service's own settings.
func (s *Stack) Command(ctx context.Context, service string, args ...string) *exec.Cmd {
	cfg := s.cfg.service(service)
	cmd := exec.CommandContext(ctx, s.binary(service), args...)
	cmd.Env = environ(s.environment(service, cfg.Addr, cfg.InternalAddr))
	return cmd
}
