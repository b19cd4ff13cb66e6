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

// SettingsFile is the file that holds the settings of a service while a shop runs without it (see Config.Without): one NAME='value' a line, which
// a shell can source and an editor can read as an envFile. It holds secrets: its mode is 0600.
func SettingsFile(dataDir, service string) string { return filepath.Join(dataDir, service+".env") }

// handedOn are the settings that a service takes from the environment of the launcher. Those that begin with OTEL_ are too.
var handedOn = []string{
	"TOKEN_ISSUER", "TOKEN_AUDIENCE", "TOKEN_LIFETIME", "REFRESH_LIFETIME", "ACTIVATION_LIFETIME", "PURCHASE_WAIT", "PURCHASE_EXPIRY",
	"PENDING_MAX", "PENDING_MAX_PER_USER", "NATS_STREAM_REPLICAS", "LOG_LEVEL", "MAX_CONNECTIONS", "DRAIN_DELAY", "SHUTDOWN_TIMEOUT",
}

// Settings are those with which a service that was left out belongs to this shop. The limits of its database sessions are lifted: Postgres would
// otherwise end the transaction of a process that a debugger has stopped.
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

// writeSettings writes the settings of the services that were left out, and removes those that an earlier run has left behind.
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

// Assignments writes settings for a shell, one a line, each after prefix: NAME='value'.
func Assignments(settings map[string]string, prefix string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s%s=%s\n", prefix, name, quoted(settings[name]))
	}
	return b.String()
}

// quoted is a value as a shell reads it. Readers of an envFile strip the quotes around a value, but know no escapes: double quotes spare those
// where they can.
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
