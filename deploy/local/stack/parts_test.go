package stack

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lavka/deploy/nats"
	"lavka/libs/host/freeport"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/testkit/waittest"
)

func TestSecretsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := keepSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := keepSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, again) {
		t.Error("the secrets changed between two runs")
	}
	other, err := keepSecrets(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if other.PaymentKey == first.PaymentKey || other.NATSUsers["auth"] == first.NATSUsers["auth"] || first.NATSUsers["auth"] == first.NATSUsers["billing"] || other.Roles["auth"] == first.Roles["auth"] || first.Roles["auth"] == first.Roles["auth_owner"] {
		t.Error("secrets repeat")
	}
	if len(first.PaymentKey) < 16 {
		t.Errorf("the payment key has %d characters", len(first.PaymentKey))
	}
	if keys, err := standardwebhooks.ParseKeys(first.PaymentSigningSecret); len(keys) != 1 || err != nil || first.PaymentSigningSecret == other.PaymentSigningSecret {
		t.Errorf("the signing secret is %d keys, %v", len(keys), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), info.Mode().Perm())
		}
	}
	if len(entries) != 1 {
		t.Errorf("left over: %v", entries)
	}
	if err := os.WriteFile(secretsFile(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keepSecrets(dir); err == nil {
		t.Error("damaged secrets were replaced, which makes the data inaccessible")
	}
}

// A data directory from the time when NATS had a single password still works.
func TestOlderSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	older := `{"roles": {"auth": "role"}, "nats_password": "one for all", "payment_key": "webhook", "admins": {"admin": {"created": true}}}`
	if err := os.WriteFile(secretsFile(dir), []byte(older), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := keepSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Roles["auth"] != "role" || s.PaymentKey != "webhook" || s.PaymentSigningSecret == "" || !s.Admins["admin"].Created {
		t.Error("secrets generated earlier are lost")
	}
	if _, err := nats.Options(s.NATSUsers); err != nil {
		t.Error(err)
	}
}

func TestAdminPassword(t *testing.T) {
	t.Parallel()
	s := &keptSecrets{Admins: map[string]admin{}}
	made, madeUp := s.adminPassword("admin", "")
	if made == "" || !madeUp {
		t.Fatalf("%q, %v", made, madeUp)
	}
	if again, _ := s.adminPassword("admin", ""); again != made {
		t.Error("generated again before the first one was used")
	}
	if got, madeUp := s.adminPassword("admin", "given later"); got != "given later" || madeUp {
		t.Errorf("a password that is set must win: %q, %v", got, madeUp)
	}
	if again, madeUp := s.adminPassword("admin", ""); again != made || !madeUp {
		t.Error("the password that auth may have is lost")
	}

	s.Admins["boss"] = admin{Created: true}
	if got, madeUp := s.adminPassword("boss", ""); got != "" || madeUp {
		t.Errorf("a password that was set must not be stored or replaced: %q, %v", got, madeUp)
	}

	// The start failed before auth got it.
	s.adminPassword("chief", "given in vain")
	if got, madeUp := s.adminPassword("chief", ""); got == "" || !madeUp {
		t.Errorf("%q, %v", got, madeUp)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir, bin := filepath.Join(t.TempDir(), "data"), t.TempDir()
	lock, err := LockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{second(LockData(dir)), Remove(dir, bin), second(Start(t.Context(), Config{DataDir: dir}))} {
		if !errors.Is(err, ErrInUse) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the data is locked, and yet: %v", err)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error("the data is gone")
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := Running(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Running: %v", err)
	}
	if err := Remove(dir, bin); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data is still there: %v", err)
	}
	if err := Remove(dir, bin); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
}

func TestBinariesAreHeld(t *testing.T) {
	t.Parallel()
	dir, data := t.TempDir(), t.TempDir()
	if _, err := keepSecrets(data); err != nil {
		t.Fatal(err)
	}
	var shops []*Lock
	for range 2 {
		l, err := HoldBinaries(dir)
		if err != nil {
			t.Fatal(err)
		}
		shops = append(shops, l)
	}
	for _, l := range shops {
		if err := Remove(data, dir); !errors.Is(err, ErrBinariesInUse) || strings.Contains(err.Error(), "\n") {
			t.Errorf("a shop's binaries could be removed: %v", err)
		}
		if _, err := os.Stat(filepath.Join(data, "secrets.json")); err != nil {
			t.Error("the data is gone, although the binaries could not be removed")
		}
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
	}
	claim, err := ClaimBinaries(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := HoldBinaries(dir); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a shop starts from binaries that are being removed: %v", err)
	}
	if err := claim.Release(); err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRemoveLeavesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	dir, bin := t.TempDir(), t.TempDir()
	for _, file := range []string{filepath.Join(dir, "secrets.json"), filepath.Join(dir, "thesis.tex"), filepath.Join(bin, "lavka"), filepath.Join(bin, Auth), filepath.Join(bin, "latex")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Remove(dir, bin); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{dir: "thesis.tex", bin: "latex"} {
		left, err := os.ReadDir(in)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) != 1 || left[0].Name() != want {
			t.Errorf("left: %v", left)
		}
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	number := l.Addr().(*net.TCPAddr).Port
	for want, cfg := range map[string]Config{
		"LAVKA_GATEWAY_ADDR":          {GatewayAddr: addr},
		"LAVKA_BILLING_INTERNAL_ADDR": {Billing: Service{InternalAddr: addr}},
		"LAVKA_NATS_PORT":             {NATSPort: number},
		"LAVKA_POSTGRES_PORT":         {PostgresPort: number},
		"which is not host:port":      {Auth: Service{Addr: "8081"}},
		"LAVKA_GATEWAY_ADDR and LAVKA_AUTH_ADDR have the same port": {GatewayAddr: "127.0.0.1:23", Auth: Service{Addr: "127.0.0.1:23"}},
	} {
		cfg.Log = slog.New(slog.DiscardHandler)
		err := choosePorts(t.Context(), &cfg, 0)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want one sentence with %s: %v", want, err)
		}
		if err != nil && cfg.GatewayAddr == addr && !strings.Contains(err.Error(), port) {
			t.Errorf("the port is not in the error: %v", err)
		}
	}
	free := Config{GatewayAddr: "127.0.0.1:0", NATSURL: "nats://x", NATSPort: number}
	if err := choosePorts(t.Context(), &free, 0); err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(free.GatewayAddr, ":0") || free.Auth.Addr == "" || free.PostgresPort == 0 {
		t.Errorf("ports were not chosen: %+v", free)
	}
}

// atFirstWrite is closed at the first line of a log.
type atFirstWrite chan struct{}

func (w atFirstWrite) Write(p []byte) (int, error) { close(w); return len(p), nil }

// The processes of a killed shop hold its ports a moment longer.
func TestPortThatIsGivenBack(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	waits, closed := make(atFirstWrite), make(chan error, 1)
	go func() {
		<-waits
		closed <- l.Close()
	}()
	cfg := Config{GatewayAddr: l.Addr().String(), Log: slog.New(slog.NewTextHandler(waits, nil))}
	if err := errors.Join(choosePorts(t.Context(), &cfg, time.Minute), <-closed); err != nil {
		t.Error(err)
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for want, addrs := range map[string][3]string{
		"127.0.0.1/32":         {"127.0.0.1:1", ":2", "0.0.0.0:3"},
		"127.0.0.1/32,::1/128": {"[::1]:1", "[::]:2", "127.0.0.1:3"},
		"127.0.0.1/32,192.0.2.7/32,2001:db8::7/128,fe80::1/128": {"192.0.2.7:1", "[2001:db8::7]:2", "[fe80::1%lo]:3"},
	} {
		got, err := trustedProxies(t.Context(), Config{Auth: Service{Addr: addrs[0]}, Catalog: Service{Addr: addrs[1]}, Billing: Service{Addr: addrs[2]}})
		if err != nil || got != want {
			t.Errorf("%v: got %q, %v, want %q", addrs, got, err, want)
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := NewLines(&out, "auth")
	for _, part := range []string{"one\ntw", "o\r\n\n", strings.Repeat("x", maxLine), "more\nend"} {
		if n, err := l.Write([]byte(part)); err != nil || n != len(part) {
			t.Fatal(n, err)
		}
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "auth      | one\nauth      | two\nauth      | \nauth      | " + strings.Repeat("x", maxLine) + " … (cut)\nauth      | end\n"
	if out.String() != want {
		t.Errorf("got %.200q", out.String())
	}
}

// An unhealthy server does not recover until it is restarted.
func TestNATSThatIsNotWellIsStartedAgain(t *testing.T) {
	t.Parallel()
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	n := &NATS{dir: t.TempDir(), port: port, passwords: map[string]string{}, log: slog.New(slog.DiscardHandler)}
	for _, user := range nats.Users() {
		n.passwords[user] = "secret"
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	first := n.current()
	if err := first.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "JetStream is on again", func() bool { return n.current().JetStreamEnabled() })
	n.Stop()
	if n.current() != nil {
		t.Error("it is running after Stop")
	}
	if err := n.Start(); err != nil {
		t.Errorf("it does not start after Stop: %v", err)
	}
}
