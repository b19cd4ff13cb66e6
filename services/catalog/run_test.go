package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lavka/libs/contract/wire"
	"lavka/libs/service/config"
	"lavka/libs/testkit/waittest"
)

func (r *replica) metrics(t *testing.T) string {
	t.Helper()
	resp, err := http.Get(r.internal + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// It runs before the parallel tests, so that any leak it finds is its own.
func TestTheProgramLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("", func(t *testing.T) {
		s := newShop(t)
		newBilling(t, s, settled)
		r := s.start(t, nil)
		tea := r.product(t, "tea", "1")
		if a := r.send(t, s.token(t, 2, "user"), "POST", "/purchases", order(tea, 7)); a.status != 201 {
			t.Error(a)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, before)
}

func TestRequestsInFlightAreFinished(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, silent)
	r := s.start(t, nil)
	tea, ann := r.product(t, "tea", "1"), s.token(t, 2, "user")
	result := make(chan answer, 1)
	go func() {
		a, err := r.trySend(context.WithoutCancel(t.Context()), ann, "POST", "/purchases", order(tea, 7))
		if err != nil {
			t.Error(err)
		}
		result <- a
	}()
	waittest.Eventually(t, "billing is asked", func() bool { return len(b.received()) == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	waittest.Eventually(t, "it reports that it is draining", func() bool {
		resp, err := http.Get(r.internal + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	m := b.received()[0]
	b.answer(t, m.header.Get(wire.HeaderReply), about(m.PurchaseID, settled(m.PurchaseRequested)))
	if a := <-result; a.status != 201 {
		t.Errorf("the purchase in flight: %s", a)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	ann := s.token(t, 2, "user")
	for _, c := range []struct {
		method, path    string
		noToken, asUser int
	}{
		{"GET", "/products", 401, 200},
		{"GET", "/products/1", 401, 404},
		{"POST", "/products", 401, 403},
		{"PATCH", "/products/1", 401, 403},
		{"DELETE", "/products/1", 401, 403},
		{"GET", "/purchases", 401, 200},
		{"POST", "/purchases", 401, 415},
		{"GET", "/purchases/01976b1e-0000-7000-8000-000000000001", 401, 404},
		{"GET", "/catalog/openapi.json", 200, 200},
		{"GET", "/nothing", 404, 404},
		{"PUT", "/products/1", 405, 405},
	} {
		if a := r.send(t, "", c.method, c.path, ""); a.status != c.noToken || (a.status == 401 && a.header.Get("WWW-Authenticate") == "") {
			t.Errorf("no token: %s %s: %s", c.method, c.path, a)
		}
		if a := r.send(t, ann, c.method, c.path, ""); a.status != c.asUser {
			t.Errorf("user: %s %s: %s", c.method, c.path, a)
		}
	}
	if a := r.send(t, "", "PUT", "/products/1", ""); !strings.Contains(a.header.Get("Allow"), "PATCH") {
		t.Errorf("Allow: %v", a.header)
	}
	text := r.metrics(t)
	for _, name := range []string{"catalog_purchases_pending", "catalog_purchases_oldest_pending_seconds", "catalog_purchases_resent_total", "nats_connected 1", "catalog_answers_unreadable_total"} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("no metric %s", name)
		}
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	good := s.settings(t)
	if err := run(ctx, good, []string{"migrate"}, std); err != nil {
		t.Errorf("migrate again: %v", err)
	}
	for _, c := range []struct {
		name   string
		args   []string
		change func(*Config)
		says   string
	}{
		{"unknown command", []string{"sell"}, func(*Config) {}, "unknown command"},
		{"too many words", []string{"serve", "now"}, func(*Config) {}, "unknown command"},
		{"migrate without a URL", []string{"migrate"}, func(c *Config) { c.MigrateDatabaseURL = config.Secret{} }, "MIGRATE_DATABASE_URL"},
		{"no server to check", []string{"healthcheck"}, func(*Config) {}, "not ready"},
		{"no database", nil, func(c *Config) { c.DatabaseURL = config.Secret{} }, "DATABASE_URL"},
		{"no NATS", nil, func(c *Config) { c.NATSURL = config.Secret{} }, "NATS_URL"},
		{"no keys", nil, func(c *Config) { c.JWKSURL = "" }, "JWKS_URL"},
		{"no wait", nil, func(c *Config) { c.PurchaseWait = 0 }, "PURCHASE_WAIT"},
		{"no expiry", nil, func(c *Config) { c.PurchaseExpiry = 0 }, "PURCHASE_EXPIRY"},
		{"nothing may wait", nil, func(c *Config) { c.PendingMax = 0 }, "PENDING_MAX"},
		{"nothing may be declined", nil, func(c *Config) { c.DeclinesMaxPerUser = 0 }, "DECLINES_MAX_PER_USER"},
		{"loud", nil, func(c *Config) { c.LogLevel = "loud" }, "LOG_LEVEL"},
		{"bad address", nil, func(c *Config) { c.HTTPAddr = "8080" }, "HTTP_ADDR"},
	} {
		cfg := good
		c.change(&cfg)
		if err := run(ctx, cfg, c.args, std); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that mentions %s", c.name, err, c.says)
		}
	}
}

// If an operator forgets to migrate, the replica is not ready.
func TestNotReadyOnAnOlderSchema(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	if _, err := s.owner.Exec(t.Context(), `DELETE FROM catalog.schema_version WHERE version_id > 1`); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(r.internal + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready: %s", resp.Status)
	}
}
