package polledmetrics_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/polledmetrics"
)

var answered = prometheus.NewDesc("answered", "Number of successful polls.", nil, nil)

func TestAStaleValueIsNotShown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var down, hangs atomic.Bool
		n := 0.0
		m := &polledmetrics.Metrics{
			Log: slog.New(slog.DiscardHandler), Every: time.Second, Descs: []*prometheus.Desc{answered},
			Ask: func(ctx context.Context) ([]prometheus.Metric, error) {
				if hangs.Load() {
					<-ctx.Done()
				}
				if down.Load() {
					return nil, errors.Join(errors.New("down"), ctx.Err())
				}
				n++
				return []prometheus.Metric{prometheus.MustNewConstMetric(answered, prometheus.GaugeValue, n)}, nil
			},
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(m)
		// shows checks the value that a scrape returns: -1 means none.
		shows := func(want float64) {
			t.Helper()
			synctest.Wait()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := -1.0
			if len(families) == 1 {
				got = families[0].Metric[0].Gauge.GetValue()
			}
			if got != want {
				t.Errorf("a scrape returned %v, want %v", got, want)
			}
		}
		shows(-1)
		ctx, stop := context.WithCancel(t.Context())
		go m.Run(ctx)
		shows(1)
		time.Sleep(time.Second)
		shows(2)
		down.Store(true)
		time.Sleep(3 * time.Second) // a few failures are tolerated
		shows(2)
		time.Sleep(time.Second)
		shows(-1)
		down.Store(false)
		time.Sleep(time.Second)
		shows(3)
		// A poll that never responds holds up no scrape.
		down.Store(true)
		hangs.Store(true)
		time.Sleep(5 * time.Second)
		shows(-1)
		stop()
	})
}
