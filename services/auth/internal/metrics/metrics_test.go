package metrics_test

import (
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/services/auth/internal/metrics"
)

func TestEachMetricHasItsValue(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := metrics.New(registry)
	m.Login("ok")
	m.Login("ok")
	m.Login("invalid_credentials")
	registry.MustRegister(metrics.Polled(func() int { return 3 }, func() int64 { return 4 }, func() int64 { return 5 }, func() int64 { return 1_700_000_000 }, func() bool { return true })...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			switch {
			case metric.GetGauge() != nil:
				got[family.GetName()] = metric.GetGauge().GetValue()
			case metric.GetCounter().GetValue() > 0:
				name := family.GetName()
				for _, label := range metric.GetLabel() {
					name += " " + label.GetValue()
				}
				got[name] = metric.GetCounter().GetValue()
			}
		}
	}
	want := map[string]float64{
		"auth_logins_total ok": 2, "auth_logins_total invalid_credentials": 1,
		"auth_hash_queue": 3, "auth_users_due": 4, "auth_users_published_total": 5, "auth_signing_key_created_timestamp_seconds": 1_700_000_000, "auth_admin_login_is_admin": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
