package revocation_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/waittest"
)

// publishChanged publishes a user whose last change was that long ago.
func (f *fixture) publishChanged(userID, tokenVersion int64, ago time.Duration) {
	f.t.Helper()
	data, err := wire.Encode(wire.UserChanged{
		V: wire.Version, ID: userID, Login: "anna", Role: "user", Status: "active", Version: tokenVersion, TokenVersion: tokenVersion, ChangedAt: f.clock().Add(-ago),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.publish(userID, data)
}

func TestOnlyNewsOfRevokedTokensIsMeasured(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.makeStream()
	f.database[1] = 2 // known at the start, so not measured
	f.publishChanged(1, 2, 5*time.Minute)
	v := f.run(10 * time.Minute)
	registry := prometheus.NewRegistry()
	v.Measure(registry)
	<-v.Loaded()
	f.publishChanged(2, 2, 3*time.Second) // counts
	waittest.Eventually(t, "the change is received", func() bool { return v.Revoked(2, 1) })
	f.publishChanged(2, 2, 9*time.Second) // the same change again
	f.publishChanged(3, 1, time.Second)   // a new user has no older tokens
	f.publishChanged(4, 2, 24*time.Hour)  // auth's daily republication
	f.publishUser(5, 2, 2)                // from an older release, without a time
	f.publishChanged(6, 2, -time.Second)  // counts; auth's clock is ahead
	f.publishChanged(7, 1, 0)
	waittest.Eventually(t, "all changes are received", func() bool { return v.Known() == 7 })
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]*dto.Metric{}
	for _, family := range families {
		by[family.GetName()] = family.Metric[0]
	}
	if h := by["revocation_delay_seconds"].Histogram; h.GetSampleCount() != 2 || h.GetSampleSum() != 3 {
		t.Errorf("%d delays, %v s in total; want 2 and 3 s", h.GetSampleCount(), h.GetSampleSum())
	}
	if known := by["revocation_known_users"].Gauge.GetValue(); known != 7 {
		t.Errorf("%v users are known, want 7", known)
	}
}
