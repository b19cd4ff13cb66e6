package stack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

func open(t *testing.T, cfg Config) (*Stack, *waittest.Text) {
	t.Helper()
	out := &waittest.Text{}
	cfg.Volatile, cfg.Output, cfg.Log = true, out, slog.New(slog.NewTextHandler(out, nil))
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s, out
}

// told sends a request through the gateway and returns the settings of the replica that responds.
func told(t *testing.T, s *Stack, path string) map[string]string {
	t.Helper()
	resp, err := http.Get(s.GatewayURL() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, resp.Status)
	}
	var m map[string]string
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestShop(t *testing.T) {
	t.Setenv("PGHOST", "nowhere.example")
	t.Setenv("ADMIN_PASSWORD", "of the launcher's environment")
	t.Setenv("PAYMENT_PRIVATE_KEYS", "of the launcher's environment")
	t.Setenv("PAYMENT_SIGNING_SECRETS", "of the launcher's environment")
	t.Setenv("PAYMENT_READ_TOKENS", "of the launcher's environment")
	dir := t.TempDir()
	cfg := Config{BinDir: fakeBin(t, dir), DataDir: filepath.Join(dir, "data"), Catalog: Service{Replicas: 3, Env: map[string]string{"EXTRA": "1"}}}
	s, out := open(t, cfg)

	auth, catalog, billing := told(t, s, "/users"), told(t, s, "/products"), told(t, s, "/bills")
	if auth["NAME"] != Auth || catalog["NAME"] != Catalog || billing["NAME"] != Billing {
		t.Error("the gateway mixes up the services")
	}
	if auth["PUBLIC_URL"] != s.GatewayURL() || auth["ADMIN_LOGIN"] != "admin" || auth["ADMIN_PASSWORD"] != s.AdminPassword || !s.AdminPasswordMadeUp {
		t.Errorf("auth got the settings %v", auth)
	}
	if billing["PAYMENT_PRIVATE_KEYS"] != s.PaymentKeys[0] || billing["PAYMENT_SIGNING_SECRETS"] != s.PaymentSigningSecrets[0] || billing["PAYMENT_READ_TOKENS"] != s.PaymentReadTokens[0] || billing["JWKS_URL"] != s.GatewayURL()+"/.well-known/jwks.json" {
		t.Errorf("billing got the settings %v", billing)
	}
	for _, secret := range []string{"ADMIN_PASSWORD", "PAYMENT_PRIVATE_KEYS", "PAYMENT_SIGNING_SECRETS", "PAYMENT_READ_TOKENS", "AUTH_SIGNING_KEYS", "MIGRATE_DATABASE_URL", "PGHOST"} {
		if catalog[secret] != "" {
			t.Errorf("catalog got %s", secret)
		}
	}
	if catalog["EXTRA"] != "1" || billing["EXTRA"] != "" {
		t.Error("settings of one service reach another")
	}
	if auth["TRUSTED_PROXIES"] != "127.0.0.1/32" {
		t.Errorf("auth believes %s", auth["TRUSTED_PROXIES"])
	}
	pids := map[string]bool{}
	for range 9 {
		pids[told(t, s, "/products")["PID"]] = true
	}
	if len(pids) != 3 {
		t.Errorf("%d of 3 replicas answer", len(pids))
	}
	for _, line := range []string{"auth      | migrated\n", "billing   | serving\n", "catalog-3 | serving\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no line %q in the output", line)
		}
	}
	checkServers(t, s, catalog["DATABASE_URL"], catalog["NATS_URL"])

	shop, err := Running(cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if shop.GatewayURL != s.GatewayURL() || shop.AdminPassword != s.AdminPassword || shop.DatabaseURLs[Billing] != s.DatabaseURL(Billing) {
		t.Errorf("the tools get %+v", shop)
	}

	if err := Remove(filepath.Join(dir, "other data"), cfg.BinDir); !errors.Is(err, ErrBinariesInUse) {
		t.Errorf("the binaries of a running shop could be removed: %v", err)
	}

	// Again, with existing data.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := Running(cfg.DataDir); err == nil {
		t.Error("a stopped shop is reported as running")
	}
	cfg.AdminPassword, cfg.PaymentKeys = "a new one", []string{"first key of 16 characters", "second key of 16 characters"}
	cfg.PaymentSigningSecrets = []string{"whsec_one", "whsec_two"}
	again, _ := open(t, cfg)
	if again.NATSURL() == s.NATSURL() || again.AdminPasswordMadeUp || again.AdminPassword != "a new one" {
		t.Errorf("admin %q", again.AdminPassword)
	}
	if got := told(t, again, "/bills")["PAYMENT_PRIVATE_KEYS"]; got != "first key of 16 characters,second key of 16 characters" {
		t.Errorf("payment keys are %q", got)
	}
	if got := told(t, again, "/bills")["PAYMENT_SIGNING_SECRETS"]; got != "whsec_one,whsec_two" {
		t.Errorf("signing secrets are %q", got)
	}
}

func checkServers(t *testing.T, s *Stack, databaseURL, natsURL string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var who string
	if err := conn.QueryRow(t.Context(), `SELECT current_user || '@' || current_database()`).Scan(&who); err != nil || who != "catalog@lavka" {
		t.Errorf("catalog is %q, %v", who, err)
	}
	if user := natsUser(t, natsURL); user != Catalog {
		t.Errorf("catalog is %q in NATS", user)
	}
	if user := natsUser(t, s.NATSURL()); user != "operator" {
		t.Errorf("the operator is %q in NATS", user)
	}
	if _, err := natstest.Connect(strings.Replace(natsURL, s.secrets.NATSUsers[Catalog], s.secrets.NATSUsers[Billing], 1)); err == nil {
		t.Error("NATS takes another user's password")
	}
}

// natsUser connects, and returns the user name.
func natsUser(t *testing.T, natsURL string) string {
	t.Helper()
	nc, err := natstest.Connect(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	u, err := url.Parse(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}

func TestAKilledProcessIsRestarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, out := open(t, Config{BinDir: fakeBin(t, dir), DataDir: filepath.Join(dir, "data")})
	r := s.Replicas(Billing)[0]
	before := told(t, s, "/bills")["PID"]
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if after := told(t, s, "/bills")["PID"]; after == before || after != strconv.Itoa(r.PID()) {
		t.Errorf("process %s, then %s (%d)", before, after, r.PID())
	}
	if !strings.Contains(out.String(), "billing ended unexpectedly; restarting it") {
		t.Error("the restart was not logged")
	}

	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(s.GatewayURL() + "/bills")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("billing is down, and the gateway responds with %s", resp.Status)
	}
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := r.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	told(t, s, "/bills")

	if err := s.Postgres().Kill(); err != nil {
		t.Fatal(err)
	}
	awaitDatabase(ctx, t, s)
	if err := s.Postgres().Crash(); err != nil {
		t.Fatal(err)
	}
	if err := s.Postgres().Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitDatabase(ctx, t, s)

	s.NATS().Stop()
	if err := s.NATS().Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.NATS().Start(); err != nil {
		t.Fatal(err)
	}
	nc, err := natstest.Connect(s.NATSURL())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func awaitDatabase(ctx context.Context, t *testing.T, s *Stack) {
	t.Helper()
	waittest.Eventually(t, "the database takes connections", func() bool {
		conn, err := pgx.Connect(ctx, s.DatabaseURL(Auth))
		if err != nil {
			return false
		}
		if err := conn.Close(ctx); err != nil {
			t.Fatal(err)
		}
		return true
	})
}

func TestBrokenServiceStopsTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out := &waittest.Text{}
	cfg := Config{BinDir: fakeBin(t, dir), DataDir: filepath.Join(dir, "data"), Volatile: true, Output: out, Catalog: Service{Env: map[string]string{"BROKEN": "1"}}}
	_, err := Start(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "catalog ended before it was ready (exit status 1); its last output: I am broken") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a broken service: %v", err)
	}
	if !strings.Contains(out.String(), "catalog   | I am broken") {
		t.Errorf("its reason is lost: %s", out)
	}
	cfg.Catalog.Env = nil
	open(t, cfg) // the failed start left nothing in the way
}

// The servers of another shop stand in for external servers.
func TestServersOfYourOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin := fakeBin(t, dir)
	host, _ := open(t, Config{BinDir: bin, DataDir: filepath.Join(dir, "host")})
	conn, err := pgx.Connect(t.Context(), host.AdminDatabaseURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), `CREATE DATABASE guest`); err != nil {
		t.Fatal(err)
	}
	guest, _ := open(t, Config{
		BinDir: bin, DataDir: filepath.Join(dir, "guest"),
		DatabaseURL: strings.Replace(host.AdminDatabaseURL(), "/lavka?", "/guest?", 1), NATSURL: host.NATSURL(),
	})
	if guest.Postgres() != nil || guest.NATS() != nil {
		t.Error("started servers of its own")
	}
	theirs, err := pgx.Connect(t.Context(), told(t, guest, "/bills")["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close(context.WithoutCancel(t.Context()))
	var who string
	if err := theirs.QueryRow(t.Context(), `SELECT current_user || '@' || current_database()`).Scan(&who); err != nil || who != "billing@guest" {
		t.Errorf("billing is %q, %v", who, err)
	}
	if got := told(t, guest, "/bills")["NATS_URL"]; got != host.NATSURL() {
		t.Errorf("NATS_URL is %q", got)
	}
	_, err = Start(t.Context(), Config{BinDir: bin, DataDir: filepath.Join(dir, "wrong"), DatabaseURL: "host=/tmp password=secret1"})
	if err == nil || !strings.Contains(err.Error(), "DATABASE_URL must look like") || strings.Contains(err.Error(), "secret1") {
		t.Errorf("a DATABASE_URL that is none: %v", err)
	}
}

// A killed launcher leaves no processes, and one that is started immediately at the same addresses waits until they are free.
func TestKilledLauncher(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin := fakeBin(t, dir)
	launcher := exec.Command(os.Args[0])
	launcher.Env = append(os.Environ(), "STACK_TEST_DIR="+dir)
	out, err := launcher.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := launcher.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	before := processesOf(t, dir)
	if len(before) < 5 {
		t.Fatalf("too few processes to be a shop: %v", before)
	}
	cfg := sameAddresses(t, filepath.Join(dir, "data"))
	cfg.BinDir, cfg.DataDir = bin, filepath.Join(dir, "data")
	if err := launcher.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	open(t, cfg)        // with the data intact
	_ = launcher.Wait() // killed
	for _, p := range processesOf(t, dir) {
		if slices.Contains(before, p) {
			t.Errorf("this outlived the launcher: %s", p)
		}
	}
}

// sameAddresses returns the addresses of the shop that runs on a data directory.
func sameAddresses(t *testing.T, dataDir string) Config {
	t.Helper()
	shop, err := Running(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	host := func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return u.Host
	}
	port := func(address string) int {
		n, err := portOf(host(address))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	service := func(name string) Service {
		return Service{Addr: host(shop.ServiceURLs[name]), InternalAddr: host(shop.InternalURLs[name])}
	}
	return Config{
		GatewayAddr: host(shop.GatewayURL), Auth: service(Auth), Catalog: service(Catalog), Billing: service(Billing),
		NATSPort: port(shop.NATSURL), PostgresPort: port(shop.DatabaseURLs[Auth]),
	}
}

// processesOf returns the processes that use a directory, found by their arguments (the services) or their working directory (PostgreSQL).
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range all {
		args, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil {
			continue // gone
		}
		cwd, err := os.Readlink(filepath.Join(p, "cwd"))
		if err != nil {
			cwd = "" // gone, or a zombie
		}
		if strings.Contains(string(args), dir) || strings.HasPrefix(cwd, dir) {
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}
