package stack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"lavka/libs/host/pgserver"
	"lavka/libs/service/pgconfig"
)

// restoredFile is there while a database has been restored and the services' after-restore has not run. A restore leaves it beside the
// data, and the next start finds it.
func restoredFile(dataDir string) string { return filepath.Join(postgresDir(dataDir), "after-restore") }

func restored(dataDir string) (bool, error) {
	_, err := os.Stat(restoredFile(dataDir))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a restore: %w", err)
	}
	return true, nil
}

// forgetTokens makes a restored shop sign with a new key. An access token may be of a user whom the restored database does not have,
// so that no version revokes it.
func forgetTokens(dataDir string) error {
	if is, err := restored(dataDir); err != nil || !is {
		return err
	}
	return removeFiles([]string{signingKeysFile(dataDir)})
}

// prepareSchemas migrates the schemas. If the database has been restored, it also runs the services' after-restore, before any service
// starts.
func (s *Stack) prepareSchemas(ctx context.Context) error {
	is, err := restored(s.cfg.DataDir)
	if err != nil {
		return err
	}
	if !is {
		return s.asOwners(ctx, "migrate")
	}
	s.cfg.Log.Warn("the database was restored: its ids go on higher, and all users have to log in again")
	if err := s.asOwners(ctx, "after-restore"); err != nil { // it migrates, too
		return err
	}
	return removeFiles([]string{restoredFile(s.cfg.DataDir)})
}

// Restore restores a dump of pg_dump's custom format into the empty database of cfg, and makes it safe to serve. It needs the
// secrets.json of the shop that was dumped in the data directory.
func Restore(ctx context.Context, cfg Config, dump string) (err error) {
	if _, err := os.Stat(secretsFile(cfg.DataDir)); err != nil {
		return fmt.Errorf("%s is missing: copy it from the backup, since it holds the key of the payment provider", secretsFile(cfg.DataDir))
	}
	bin, err := pgserver.FindBinaries()
	if err != nil {
		return err
	}
	program := filepath.Join(bin.Dir, "pg_restore")
	if out, err := exec.CommandContext(ctx, program, "--list", dump).CombinedOutput(); err != nil {
		return fmt.Errorf("%s can't be read as a dump: %w: %s", dump, err, strings.TrimSpace(string(out)))
	}
	s, err := reserve(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	// The start that comes next goes on where this one may be interrupted.
	if err := os.MkdirAll(filepath.Dir(restoredFile(s.cfg.DataDir)), 0o700); err != nil {
		return fmt.Errorf("create the directory of the database: %w", err)
	}
	if err := s.prepareSecrets(ctx); err != nil {
		return err
	}
	if err := s.startDatabase(ctx); err != nil {
		return err
	}
	if err := s.empty(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(restoredFile(s.cfg.DataDir), nil, 0o600); err != nil {
		return fmt.Errorf("mark the database as restored: %w", err)
	}
	if err := s.load(ctx, program, dump); err != nil {
		return err
	}
	if err := forgetTokens(s.cfg.DataDir); err != nil {
		return err
	}
	return s.prepareSchemas(ctx)
}

// empty fails if the database holds a shop.
func (s *Stack) empty(ctx context.Context) error {
	conn, err := pgconfig.Connect(ctx, s.adminURL)
	if err != nil {
		return fmt.Errorf("connect as the administrator: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = ANY ($1))`, Services()).Scan(&there); err != nil {
		return fmt.Errorf("look into the database: %w", err)
	}
	if there {
		return errors.New("the database already holds a shop, which a restore would destroy: set LAVKA_DATA to a new directory, or DATABASE_URL to an empty database")
	}
	return nil
}

// load runs pg_restore: all of the dump or nothing.
func (s *Stack) load(ctx context.Context, program, dump string) error {
	to, err := url.Parse(s.adminURL)
	if err != nil {
		return errors.New("the administrator's URL can't be read")
	}
	password, _ := to.User.Password()
	to.User = url.User(to.User.Username()) // other users of the machine see a program's arguments
	cmd := exec.CommandContext(ctx, program, "--dbname="+to.String(), "--clean", "--if-exists", "--exit-on-error", "--single-transaction", dump)
	cmd.Env = append(pgserver.Environment(), "PGPASSWORD="+password)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_restore failed, and nothing was restored: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
