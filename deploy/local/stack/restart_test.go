package stack

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lavka/libs/testkit/waittest"
)

func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin := fakeBin(t, dir)
	s, _ := open(t, Config{BinDir: bin, DataDir: filepath.Join(dir, "data"), Billing: Service{Replicas: 2}})
	pids := func() map[string]bool {
		seen := map[string]bool{}
		for range 8 {
			seen[told(t, s, "/bills")["PID"]] = true
		}
		return seen
	}
	before := pids()
	if err := s.Restart(t.Context(), Billing); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the gateway uses both new replicas", func() bool { return len(pids()) == 2 })
	for pid := range pids() {
		if before[pid] {
			t.Errorf("process %s still runs", pid)
		}
	}
	if err := s.Restart(t.Context(), "biling"); err == nil || err.Error() != `unknown service "biling"; the services are auth, catalog, billing` {
		t.Errorf("an unknown service: %v", err)
	}

	binary := filepath.Join(bin, Billing)
	replace := func(script string) {
		t.Helper()
		if err := os.Remove(binary); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	good := pids()
	replace("echo no such column; exit 1")
	if err := s.Restart(t.Context(), Billing); err == nil || !strings.Contains(err.Error(), "its last output: no such column (the old process keeps running)") {
		t.Errorf("a migration that fails: %v", err)
	}
	for pid := range pids() {
		if !good[pid] {
			t.Errorf("process %s is new", pid)
		}
	}
	replace(`[ "$1" = migrate ] && exit; echo I am broken; exit 1`)
	err := s.Restart(t.Context(), Billing)
	if err == nil || !strings.Contains(err.Error(), "billing-1 ended before it was ready (exit status 1); its last output: I am broken (billing-1 is down until a restart succeeds)") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a new binary that does not start: %v", err)
	}
	told(t, s, "/bills") // of the other replica
	if err := os.Remove(binary); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(bin, Auth), binary); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context(), Billing); err != nil {
		t.Errorf("after the binary was repaired: %v", err)
	}
}

// A service that was left out can be started by hand with the settings in its file, as a shell reads them. The gateway then sends it
// requests.
func TestWithout(t *testing.T) {
	t.Setenv("TOKEN_LIFETIME", "7m")
	t.Setenv("EXTRA", "not a setting")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", `it's="$HOME"`)
	dir := t.TempDir()
	cfg := Config{BinDir: fakeBin(t, dir), DataDir: filepath.Join(dir, "data"), Without: []string{Billing}}
	file := SettingsFile(cfg.DataDir, Billing)
	s, _ := open(t, cfg)
	if pid := s.Replicas(Billing)[0].PID(); pid != 0 {
		t.Errorf("billing was started: %d", pid)
	}
	status := func() int {
		resp, err := http.Get(s.GatewayURL() + "/bills")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	if got := status(); got != http.StatusServiceUnavailable {
		t.Errorf("billing is missing, and the gateway answers %d", got)
	}
	told(t, s, "/products")
	if err := s.Restart(t.Context(), Billing); err == nil || !strings.Contains(err.Error(), "was started without billing") {
		t.Errorf("a restart of what is missing: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", `set -a; . "$1"; exec "$2"`, "sh", file, s.binary(Billing))
	cmd.Env = []string{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "billing answers through the gateway", func() bool { return status() == http.StatusOK })
	got := told(t, s, "/bills")
	if want := s.DatabaseURL(Billing) + "&idle_in_transaction_session_timeout=0&lock_timeout=0&statement_timeout=0"; !sameQuery(got["DATABASE_URL"], want) {
		t.Errorf("DATABASE_URL is %s, want %s", got["DATABASE_URL"], want)
	}
	if got["PAYMENT_PRIVATE_KEYS"] != s.PaymentKeys[0] || got["EXTRA"] != "" {
		t.Errorf("billing got the settings %v", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	settings, err := s.Settings(Billing)
	if err != nil {
		t.Fatal(err)
	}
	if settings["TOKEN_LIFETIME"] != "7m" || settings["EXTRA"] != "" || settings["OTEL_RESOURCE_ATTRIBUTES"] == "" {
		t.Errorf("the settings are %v", settings)
	}

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the settings outlive the shop: %v", err)
	}
	cfg.Without = []string{"biling"}
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), `unknown service "biling"`) {
		t.Errorf("a shop without an unknown service: %v", err)
	}
}

// sameQuery reports whether two URLs are equal apart from the order of their parameters.
func sameQuery(a, b string) bool {
	pathA, queryA, _ := strings.Cut(a, "?")
	pathB, queryB, _ := strings.Cut(b, "?")
	valuesA, errA := url.ParseQuery(queryA)
	valuesB, errB := url.ParseQuery(queryB)
	return pathA == pathB && errA == nil && errB == nil && valuesA.Encode() == valuesB.Encode()
}

func TestAssignments(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"PLAIN": "a b", "EMPTY": "", "URL": "postgres://u:p@h/d?a=1&b=$2", "ONE": "it's", "BOTH": `it's "$HOME" \ `}
	want := `export BOTH='it'\''s "$HOME" \ '` + "\nexport EMPTY=''\nexport ONE=\"it's\"\nexport PLAIN='a b'\nexport URL='postgres://u:p@h/d?a=1&b=$2'\n"
	if got := Assignments(settings, "export "); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for name, value := range settings {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", Assignments(settings, "")+`printf %s "$`+name+`"`).Output()
		if err != nil || string(out) != value {
			t.Errorf("%s is %q for a shell, %v", name, out, err)
		}
	}
}

// A process that starts while the shop stops would outlive its database.
func TestNothingIsRestartedWhileTheShopStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := open(t, Config{BinDir: fakeBin(t, dir), DataDir: filepath.Join(dir, "data")})
	done := make(chan error, 1)
	s.restarting.Lock() // as a restart in flight does
	go func() { done <- s.Stop() }()
	select {
	case err := <-done:
		t.Fatalf("the shop stopped during a restart: %v", err)
	case <-time.After(100 * time.Millisecond): // long enough for a stop that does not wait
	}
	s.restarting.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context(), Billing); !errors.Is(err, errStopping) {
		t.Errorf("a restart after the stop: %v", err)
	}
}
