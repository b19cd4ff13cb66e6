package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lavka/deploy/postgres"
	"lavka/libs/host/pgserver"
	"lavka/libs/service/pgconfig"
)

const databaseName = "lavka"

// Postgres is our own server. If it ends without being stopped, it is restarted.
type Postgres struct {
	cfg pgserver.Config
	log *slog.Logger

	mu      sync.Mutex
	server  *pgserver.Server   // the current or last one
	unwant  context.CancelFunc // nil if the server is not wanted
	retired chan struct{}      // closed when it will not be restarted
}

func postgresDir(dataDir string) string { return filepath.Join(dataDir, "postgres") }

func newPostgres(cfg Config) *Postgres {
	var template string
	if cfg.Template != "" {
		template = postgresDir(cfg.Template)
	}
	return &Postgres{log: cfg.Log, cfg: pgserver.Config{
		Dir:          postgresDir(cfg.DataDir),
		Template:     template,
		Port:         cfg.PostgresPort,
		Settings:     cfg.PostgresSettings,
		Volatile:     cfg.Volatile,
		StartTimeout: cfg.StartTimeout,
		StopTimeout:  cfg.StopTimeout,
	}}
}

// Start starts the server and waits until it is ready. It does nothing if the server is running.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unwant != nil {
		return nil
	}
	server, err := pgserver.Start(ctx, p.cfg)
	if errors.Is(err, pgserver.ErrNoBinaries) {
		return fmt.Errorf("%w, or set DATABASE_URL to use your own server", err)
	}
	if err != nil {
		return err
	}
	var wanted context.Context
	wanted, p.unwant = context.WithCancel(context.WithoutCancel(ctx))
	p.server, p.retired = server, make(chan struct{})
	go p.supervise(wanted, server, p.retired)
	return nil
}

// Stop stops the server gracefully; it stays down until Start.
func (p *Postgres) Stop() error { return p.end((*pgserver.Server).Stop) }

// Crash kills the server; it stays down until Start.
func (p *Postgres) Crash() error { return p.end((*pgserver.Server).Kill) }

// Kill kills the server, which is then restarted as after any other crash.
func (p *Postgres) Kill() error {
	if server := p.current(); server != nil {
		return server.Kill()
	}
	return nil
}

func (p *Postgres) end(how func(*pgserver.Server) error) error {
	p.mu.Lock()
	unwant, retired := p.unwant, p.retired
	p.unwant = nil
	p.mu.Unlock()
	if unwant == nil {
		return nil
	}
	unwant()
	<-retired
	return how(p.current())
}

func (p *Postgres) current() *pgserver.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server
}

func (p *Postgres) supervise(wanted context.Context, server *pgserver.Server, retired chan<- struct{}) {
	defer close(retired)
	for pause := newBackoff(); ; {
		select {
		case <-wanted.Done():
			return
		case <-server.Done():
		}
		delay := pause.next()
		p.log.Error("PostgreSQL ended unexpectedly; restarting it", "in", delay, "its_log", server.LogFile())
		select {
		case <-wanted.Done():
			return
		case <-time.After(delay):
		}
		next, err := pgserver.Start(wanted, p.cfg)
		if err != nil {
			p.log.Error("PostgreSQL did not start", "error", err)
			continue
		}
		server = next
		p.mu.Lock()
		p.server = server
		p.mu.Unlock()
	}
}

// url returns the administrator's URL of the shop's database, which it creates if missing.
func (p *Postgres) url(ctx context.Context) (string, error) {
	conn, err := pgconfig.Connect(ctx, p.server.URL("postgres"))
	if err != nil {
		return "", fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, databaseName).Scan(&there); err != nil {
		return "", fmt.Errorf("look for the database: %w", err)
	}
	if !there {
		if _, err := conn.Exec(ctx, `CREATE DATABASE `+databaseName); err != nil {
			return "", fmt.Errorf("create the database: %w", err)
		}
	}
	return p.server.URL(databaseName), nil
}

// prepareRoles creates the roles, sets their passwords, and returns their URLs.
func prepareRoles(ctx context.Context, adminURL string, passwords map[string]string) (map[string]string, error) {
	admin, err := url.Parse(adminURL)
	if err != nil || admin.Host == "" || admin.Scheme != "postgres" && admin.Scheme != "postgresql" || strings.ContainsAny(admin.Path, ":@") {
		return nil, errors.New("DATABASE_URL must look like postgres://admin:password@host:5432/database") // err would show the password
	}
	if err := postgres.Apply(ctx, adminURL); err != nil {
		return nil, err
	}
	conn, err := pgconfig.Connect(ctx, adminURL)
	if err != nil {
		return nil, fmt.Errorf("connect as the administrator: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	urls := map[string]string{}
	for role, password := range passwords {
		if err := postgres.SetPassword(ctx, conn, role, password); err != nil {
			return nil, err
		}
		u := *admin
		u.User = url.UserPassword(role, password)
		urls[role] = u.String()
	}
	return urls, nil
}
