package pgconfig

import (
	"os"
	"path/filepath"
	"testing"
)

// Nothing around the program changes what a URL means, or keeps it from being read.
func TestTheEnvironmentDoesNotChangeTheURL(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for file, text := range map[string]string{
		".pgpass":                    "*:*:*:*:from-a-file",
		".pg_service.conf":           "[other]\nhost=other\n",
		".postgresql/root.crt":       "not a certificate",
		".postgresql/postgresql.crt": "not a certificate",
		".postgresql/postgresql.key": "not a key",
	} {
		file = filepath.Join(home, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, url := range []string{
		"postgres://shop:secret@db.example:5433/lavka",
		"postgresql://shop:secret@db.example:5433/lavka?sslmode=prefer",
		"postgres://shop:secret@db.example:5433/lavka?",
		"host=db.example port=5433 user=shop password=secret dbname=lavka",
	} {
		poison(t)
		cfg, err := Parse(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if cfg.Host != "db.example" || cfg.Port != 5433 || cfg.User != "shop" || cfg.Password != "secret" || cfg.Database != "lavka" ||
			len(cfg.RuntimeParams) != 0 || cfg.ConnectTimeout != 0 || len(cfg.Fallbacks) != 1 || cfg.ValidateConnect != nil {
			t.Errorf("%s: %+v", url, cfg.Config)
		}
		poison(t)
		if _, err := ParsePool(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	poison(t)
	if cfg, err := Parse("postgres://shop@db.example/lavka"); err != nil || cfg.Password != "" {
		t.Errorf("a password from elsewhere: %v", err)
	}
}

// What the URL says does count.
func TestParametersOfTheURLAreUsed(t *testing.T) {
	poison(t)
	file := filepath.Join(t.TempDir(), "missing.crt")
	if _, err := Parse("postgres://shop:secret@db.example/lavka?sslmode=verify-full&sslrootcert=" + file); err == nil {
		t.Error("sslrootcert in the URL was ignored")
	}
	for url, password := range map[string]string{
		"postgres://shop:se?cret@db.example/lavka":                        "se?cret",
		"postgres://shop:secret@db.example/lavka?connect_timeout=7":       "secret",
		"postgres://shop:secret@one.example:1,two.example:2/lavka":        "secret",
		"postgres://db.example/lavka?user=shop&password=secret&passfile=": "secret",
	} {
		cfg, err := Parse(url)
		if err != nil || cfg.Password != password || cfg.User != "shop" || cfg.Database != "lavka" {
			t.Errorf("%s: %+v, %v", url, cfg, err)
		}
	}
}

// poison sets every variable that pgx reads to something that would show.
func poison(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGSSLMODE", "PGSSLKEY", "PGSSLCERT",
		"PGSSLCERTMODE", "PGSSLSNI", "PGSSLROOTCERT", "PGSSLPASSWORD", "PGSSLNEGOTIATION", "PGTARGETSESSIONATTRS", "PGSERVICE", "PGSERVICEFILE", "PGTZ",
		"PGOPTIONS", "PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION", "PGCHANNELBINDING", "PGREQUIREAUTH",
	} {
		t.Setenv(name, "poison")
	}
}
