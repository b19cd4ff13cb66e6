package pg_test

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

// gather gives the first series of a metric; nil when there is none.
func gather(t *testing.T, registry *prometheus.Registry, name string) *dto.Metric {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0]
		}
	}
	return nil
}

func TestClock(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool := open(t, db)
	// This database's clock is an hour ahead.
	for _, sql := range []string{
		`CREATE FUNCTION shelf.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$`,
		`ALTER DATABASE ` + db.Name + ` SET search_path = shelf, pg_catalog`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what string
		want float64
	}{{"the same machine", 0}, {"an hour ahead", 3600}} {
		if c.want > 0 {
			pool = open(t, db)
		}
		clock, registry := pg.Clock(pool, slog.New(slog.DiscardHandler)), prometheus.NewRegistry()
		registry.MustRegister(clock)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { clock.Run(ctx) })
		var m *dto.Metric
		waittest.Eventually(t, "the clock was asked", func() bool { m = gather(t, registry, "pg_clock_offset_seconds"); return m != nil })
		if got := m.Gauge.GetValue(); math.Abs(got-c.want) > 1 {
			t.Errorf("%s: %v s ahead, want %v", c.what, got, c.want)
		}
		stop()
		running.Wait()
	}
}
