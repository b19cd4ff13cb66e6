package pg

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// poolMetrics are metrics of pools, by name: sessions in use, idle and opening, the
// maximum, and how often and how long callers waited for a session.
type poolMetrics map[string]*pgxpool.Pool

var (
	poolSessions = prometheus.NewDesc("pg_pool_sessions", "Sessions of a pool, by state.", []string{"pool", "state"}, nil)
	poolMax      = prometheus.NewDesc("pg_pool_sessions_max", "Maximum number of sessions of a pool.", []string{"pool"}, nil)
	poolWaits    = prometheus.NewDesc("pg_pool_waits_total", "Times a caller had to wait for a session.", []string{"pool"}, nil)
	poolWaited   = prometheus.NewDesc("pg_pool_wait_seconds_total", "Time spent waiting for a session.", []string{"pool"}, nil)
)

func (poolMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolSessions, poolMax, poolWaits, poolWaited} {
		descs <- d
	}
}

func (m poolMetrics) Collect(metrics chan<- prometheus.Metric) {
	for name, pool := range m {
		s := pool.Stat()
		for state, n := range map[string]int32{"used": s.AcquiredConns(), "idle": s.IdleConns(), "opening": s.ConstructingConns()} {
			metrics <- prometheus.MustNewConstMetric(poolSessions, prometheus.GaugeValue, float64(n), name, state)
		}
		metrics <- prometheus.MustNewConstMetric(poolMax, prometheus.GaugeValue, float64(s.MaxConns()), name)
		metrics <- prometheus.MustNewConstMetric(poolWaits, prometheus.CounterValue, float64(s.EmptyAcquireCount()), name)
		metrics <- prometheus.MustNewConstMetric(poolWaited, prometheus.CounterValue, s.EmptyAcquireWaitTime().Seconds(), name)
	}
}
