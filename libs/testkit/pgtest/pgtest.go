// Package pgtest gives each test its own PostgreSQL database, copied from a template that is prepared once.
// Each test binary has its own server, which ends when the binary does, for whatever reason. On a machine without PostgreSQL
// the tests fail.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/host/pgserver"
	"lavka/libs/service/pgconfig"
)

const template = "lavka_template"

// Config is what the tests' server and template database are set up with.
type Config struct {
	// Setup fills the template: roles, schemas, migrations. It gets the superuser's URL of the template database; RoleURL
	// returns the URLs of the roles that it creates. It must close its connections. Nil leaves the template empty.
	Setup func(ctx context.Context, adminURL string) error
	// Settings override the server's settings.
	Settings map[string]string
}

// server is this test binary's server. Only Main writes it, before any test runs.
var server *pgserver.Server

// Main starts the server, prepares the template, runs the tests and exits with their code: it is the whole body of a TestMain.
// Tests that look for leaked goroutines must pass goleak.IgnoreCurrent, because the server has goroutines of its own.
func Main(m *testing.M, cfg Config) {
	os.Exit(run(m, cfg))
}

func run(m *testing.M, cfg Config) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir, release, err := workDir()
	if err != nil {
		return fail("create a directory for the tests' PostgreSQL", err)
	}
	defer release()
	settings := map[string]string{"max_connections": "400", "max_prepared_transactions": "0"}
	for name, value := range cfg.Settings {
		settings[name] = value
	}
	server, err = pgserver.Start(ctx, pgserver.Config{Dir: dir, Volatile: true, Settings: settings})
	if err != nil {
		return fail("start the tests' PostgreSQL", err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			code = fail("stop the tests' PostgreSQL", err)
		}
	}()
	if err := prepare(ctx, cfg.Setup); err != nil {
		return fail("prepare the tests' template database", err)
	}
	return m.Run()
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "FAIL: %s: %v\n", what, err)
	return 1
}

func prepare(ctx context.Context, setup func(context.Context, string) error) error {
	if err := execute(ctx, server.URL("postgres"), "CREATE DATABASE "+template); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	if setup == nil {
		return nil
	}
	return setup(ctx, server.URL(template))
}

// Database is a database that belongs to one test.
type Database struct {
	Name string
	url  *url.URL
}

// New copies the template. When the test ends, the copy is dropped and connections to it that are still open are closed.
func New(t testing.TB) Database {
	t.Helper()
	if server == nil {
		t.Fatal("no PostgreSQL: this package's TestMain must call pgtest.Main")
	}
	name := "test_" + strings.ToLower(rand.Text())
	admin := server.URL("postgres")
	if err := copyTemplate(t.Context(), admin, name); err != nil {
		t.Fatalf("copy the template database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := execute(ctx, admin, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	u, err := url.Parse(server.URL(name))
	if err != nil {
		t.Fatalf("parse the database's URL: %v", err)
	}
	return Database{Name: name, url: u}
}

// copyTemplate also copies the database's access privileges (datacl), which CREATE DATABASE does not.
func copyTemplate(ctx context.Context, adminURL, name string) error {
	if err := execute(ctx, adminURL, "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		return err
	}
	return execute(ctx, adminURL, "UPDATE pg_database SET datacl = (SELECT datacl FROM pg_database WHERE datname = '"+template+"') WHERE datname = '"+name+"'")
}

// Connect opens a connection, which is closed when the test ends.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgconfig.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// Server returns the test binary's PostgreSQL server, for tests that break it.
func Server() *pgserver.Server { return server }

// AdminURL returns the superuser's connection URL.
func (d Database) AdminURL() string { return d.url.String() }

// URL returns a role's connection URL. Setup must have called RoleURL for the role.
func (d Database) URL(role string) string { return as(*d.url, role) }

// as replaces the user and keeps the password: RoleURL gives every role the superuser's password.
func as(u url.URL, role string) string {
	password, _ := u.User.Password()
	u.User = url.UserPassword(role, password)
	return u.String()
}

// RoleURL sets a role's password to the superuser's and returns the role's connection URL for the database of adminURL.
func RoleURL(ctx context.Context, adminURL, role string) (string, error) {
	u, err := url.Parse(adminURL)
	if err != nil {
		return "", fmt.Errorf("parse the superuser's URL: %w", err)
	}
	password, ok := u.User.Password()
	if !ok {
		return "", errors.New("the superuser's URL has no password")
	}
	// The password needs no escaping: pgserver generates it from letters and digits.
	if err := execute(ctx, adminURL, "ALTER ROLE "+pgx.Identifier{role}.Sanitize()+" PASSWORD '"+password+"'"); err != nil {
		return "", fmt.Errorf("set the password of %s: %w", role, err)
	}
	return as(*u, role), nil
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgconfig.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// workDir creates and locks a directory for the server. It also removes the directories of test binaries that were killed: a lock
// ends with its owner.
func workDir() (dir string, release func(), err error) {
	const pattern = "lavka-pgtest-*"
	old, err := filepath.Glob(filepath.Join(os.TempDir(), pattern))
	if err != nil {
		return "", nil, fmt.Errorf("look for leftovers: %w", err)
	}
	for _, dir := range old {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // removed, or so new that its owner may not have locked it yet
		}
		if unlock, err := lock(dir); err == nil {
			os.RemoveAll(dir) // fails for another user's directory, which does no harm
			unlock()
		}
	}
	dir, err = os.MkdirTemp("", pattern)
	if err != nil {
		return "", nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return "", nil, err
	}
	return dir, sync.OnceFunc(func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintf(os.Stderr, "remove %s: %v\n", dir, err)
		}
		unlock()
	}), nil
}

func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return func() { d.Close() }, nil
}
