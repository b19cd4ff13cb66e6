package stack

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lavka/deploy/secrets"
)

// SettingsFile returns the path of the file with the settings of a service while a shop runs without it (see Config.Without): one NAME='value' a
// line, which a shell can source and an editor can read as an envFile. It holds secrets, so its mode is 0600.
func SettingsFile(dataDir, service string) string { return filepath.Join(dataDir, service+".env") }

// handedOn lists the settings that services inherit from the launcher's environment, beside those that begin with OTEL_.
var handedOn = []string{
	"TOKEN_ISSUER", "TOKEN_AUDIENCE", "TOKEN_LIFETIME", "REFRESH_LIFETIME", "ACTIVATION_LIFETIME", "PASSWORD_RESET_URL", "PURCHASE_WAIT", "PURCHASE_EXPIRY",
	"PENDING_MAX", "PENDING_MAX_PER_USER", "DECLINES_MAX_PER_USER", "CATALOG_PUBLIC", "NATS_STREAM_REPLICAS", "LOG_LEVEL", "MAX_CONNECTIONS", "DRAIN_DELAY", "SHUTDOWN_TIMEOUT",
}

// Settings returns the settings with which to start a service of this shop by hand. They lift the time limits of its database sessions: otherwise
// Postgres would end the transaction of a process that a debugger has stopped.
func (s *Stack) Settings(service string) (map[string]string, error) {
	env := map[string]string{}
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); slices.Contains(handedOn, name) || strings.HasPrefix(name, "OTEL_") {
			env[name] = value
		}
	}
	cfg := s.cfg.service(service)
	maps.Copy(env, s.environment(service, cfg.Addr, cfg.InternalAddr))
	u, err := url.Parse(env["DATABASE_URL"])
	if err != nil {
		return nil, fmt.Errorf("the database URL of %s can't be read", service) // err would show the password
	}
	query := u.Query()
	for _, limit := range []string{"idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout"} {
		query.Set(limit, "0")
	}
	u.RawQuery = query.Encode()
	env["DATABASE_URL"] = u.String()
	return env, nil
}

// writeSettings writes the settings files of the services in Config.Without, and removes the others, which a killed launcher may have left.
func (s *Stack) writeSettings() error {
	var stale []string
	for _, name := range Services() {
		file := SettingsFile(s.cfg.DataDir, name)
		if !slices.Contains(s.cfg.Without, name) {
			stale = append(stale, file)
			continue
		}
		settings, err := s.Settings(name)
		if err != nil {
			return err
		}
		text := "# The settings of " + name + " in the shop that runs here without it. Removed when the shop stops.\n" + Assignments(settings, "")
		if err := secrets.Write(file, text, 0o600); err != nil {
			return fmt.Errorf("write the settings of %s: %w", name, err)
		}
	}
	return removeFiles(stale)
}

// Assignments returns settings as shell assignments, NAME='value', one a line, each after prefix.
func Assignments(settings map[string]string, prefix string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s%s=%s\n", prefix, name, quoted(settings[name]))
	}
	return b.String()
}

// quoted quotes a value for a shell. Readers of an envFile strip the quotes around a value but don't understand escapes, so double quotes are
// used for a value with a single quote if that needs no escapes.
func quoted(value string) string {
	switch {
	case !strings.Contains(value, "'"):
		return "'" + value + "'"
	case !strings.ContainsAny(value, "\"$`\\"):
		return `"` + value + `"`
	default:
		return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
	}
}
