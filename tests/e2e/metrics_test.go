package e2e

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
	"lavka/tests/observability"
)

// A query for a metric that does not exist never fails: its alert never fires, and its panel stays empty.
func TestWatchedMetricsExist(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill, samovar := shop.bill(t, u, "100"), shop.product(t, "Samovar", "59.90")
	u.want(t, 201, "", "POST", "/purchases", purchaseOf(samovar, bill))
	u.want(t, 402, "insufficient_funds", "POST", "/purchases", purchaseOf(samovar, bill))
	shop.checkAll(t)

	rules, err := observability.Rules(root)
	must(t, err)
	var exposed *observability.Exposed
	// Metrics that come from other systems are polled in the background.
	waittest.Eventually(t, "all polled metrics exist", func() bool {
		exposed = shop.metrics(t)
		return exposed.Has("auth_verify_ok") && exposed.Has("catalog_verify_ok") && exposed.Has("billing_ledger_verify_ok") && exposed.Has("billing_books_verify_ok") && exposed.Has("pg_clock_offset_seconds") && exposed.Has("nats_consumer_num_pending")
	})
	for _, r := range rules {
		if r.Record != "" {
			must(t, exposed.Recorded(r.Record, r.Expr))
		}
	}
	for _, r := range rules {
		for _, err := range exposed.Check(r.Expr) {
			t.Errorf("rule %s%s: %v", r.Record, r.Alert, err)
		}
	}
	panels, err := observability.Panels(root)
	must(t, err)
	queries := 0
	for _, p := range panels {
		for _, target := range p.Targets {
			queries++
			for _, err := range exposed.Check(target.Expr) {
				t.Errorf("panel %q: %v", p.Title, err)
			}
		}
	}
	if len(rules) < 30 || queries < 50 {
		t.Errorf("only %d rules and %d queries were found, want at least 30 and 50", len(rules), queries)
	}
	// The check itself must be able to fail on real metrics.
	if len(exposed.Check(`sum(rate(billing_webhooks_total{outcome="forgotten"}[5m]))`)) == 0 || len(exposed.Check("billing_invented_total")) == 0 {
		t.Error("the check accepted a metric or label value that does not exist")
	}

	section, err := observability.Section(root, "Metrics")
	must(t, err)
	for _, err := range exposed.Documented(section) {
		t.Errorf("docs/operations.md, Metrics: %v", err)
	}
}

// checkAll makes the nightly checks once.
func (s *shopUnderTest) checkAll(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "catalog")
	for _, command := range [][]string{{stack.Auth, "verify"}, {stack.Catalog, "verify", "--books", file}, {stack.Billing, "verify", "--books", file}} {
		if out, err := s.Command(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", strings.Join(command, " "), err, out)
		}
	}
}

// metrics returns the metrics of all services.
func (s *shopUnderTest) metrics(t *testing.T) *observability.Exposed {
	t.Helper()
	exposed := observability.NewExposed()
	for _, service := range stack.Services() {
		for _, r := range s.Replicas(service) {
			a, err := (&client{base: r.InternalURL()}).plain(t.Context(), "/metrics")
			must(t, err)
			must(t, exposed.Scraped(bytes.NewReader(a.body)))
		}
	}
	return exposed
}
