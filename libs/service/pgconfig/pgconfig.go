// Package pgconfig reads a Postgres URL for pgx, and nothing but the URL. On its own,
// pgx follows libpq: variables such as PGSERVICE, and files in the home directory,
// complete and override a URL. Here they have no effect (docs/adr/0062). In
// tests/architecture, a rule keeps other packages from letting pgx read a URL.
package pgconfig

import (
	"context"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Parse is [pgx.ParseConfig] for the URL alone. Its errors may repeat parts of the URL.
func Parse(url string) (*pgx.ConnConfig, error) { return pgx.ParseConfig(alone(url)) }

// ParsePool is [pgxpool.ParseConfig] for the URL alone. Its errors may repeat parts of
// the URL.
func ParsePool(url string) (*pgxpool.Config, error) { return pgxpool.ParseConfig(alone(url)) }

// Connect is [pgx.Connect] for the URL alone. Its errors may repeat parts of the URL.
func Connect(ctx context.Context, url string) (*pgx.Conn, error) {
	cfg, err := Parse(url)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// homeFiles are the settings whose defaults are files in the home directory: .pgpass,
// and the certificates in .postgresql.
var homeFiles = []string{"passfile", "sslcert", "sslkey", "sslrootcert"}

// alone returns the URL with explicit defaults, which the URL's own parameters
// override. It also removes all PG* variables from this process: no parameter
// of a URL overrides PGSERVICE or PGOPTIONS, and pgx has no option to ignore them.
func alone(url string) string {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "PG") {
			_ = os.Unsetenv(name) // fails only for a malformed name
		}
	}
	scheme, rest, isURL := strings.Cut(url, "://")
	if !isURL || scheme != "postgres" && scheme != "postgresql" { // keyword='value' …
		return strings.Join(homeFiles, "='' ") + "='' " + url
	}
	user := ""
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' { // a password may contain "?"
		user, rest = rest[:i+1], rest[i+1:]
	}
	server, parameters, _ := strings.Cut(rest, "?")
	defaults := strings.Join(homeFiles, "=&") + "="
	if parameters != "" {
		defaults += "&"
	}
	return scheme + "://" + user + server + "?" + defaults + parameters
}
