package main

import (
	"context"
	"testing"
	"time"

	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
	"lavka/tests/faults/history"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Settings: map[string]string{"synchronous_commit": "on"}}) // so that a commit waits for a standby
}

func TestOnlyRefusalsDuringAStallAreExcused(t *testing.T) {
	t.Parallel()
	found := stalls{{10 * time.Second, 13 * time.Second}}
	for name, test := range map[string]struct {
		call history.Call
		want bool
	}{
		"refused during a stall":       {history.Call{Start: 9 * time.Second, End: 12 * time.Second, Status: 503, Code: "outcome_unknown"}, true},
		"refused before it":            {history.Call{Start: 6 * time.Second, End: 10 * time.Second, Status: 503, Code: "outcome_unknown"}, false},
		"refused after it":             {history.Call{Start: 13 * time.Second, End: 14 * time.Second, Status: 503, Code: "overloaded"}, false},
		"not answered":                 {history.Call{Start: 9 * time.Second, End: 12 * time.Second, Failure: "EOF"}, false},
		"a bug":                        {history.Call{Start: 9 * time.Second, End: 12 * time.Second, Status: 500}, false},
		"against the contract":         {history.Call{Start: 9 * time.Second, End: 12 * time.Second, Status: 503, Failure: "no Retry-After"}, false},
		"a gateway without a replica":  {history.Call{Start: 9 * time.Second, End: 12 * time.Second, Status: 502}, false},
		"refused by a healthy machine": {history.Call{Start: time.Second, End: 2 * time.Second, Status: 503}, false},
	} {
		if got := found.excuse(test.call); got != test.want {
			t.Errorf("%s: excused %v, want %v", name, got, test.want)
		}
	}
	if found.total() != 3*time.Second {
		t.Errorf("the stalls last %v in all, want 3s", found.total())
	}
}

// While Postgres waits for a standby that does not exist, no commit ends.
func TestWatchFindsAStall(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	operator := pgtest.Connect(t, db.AdminURL())
	set := func(standbys string) {
		for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = " + standbys, "SELECT pg_reload_conf()"} {
			if _, err := operator.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	// waits reports whether a commit has waited for longer than that.
	waits := func(longer time.Duration) bool {
		var yes bool
		err := operator.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep' AND clock_timestamp() - query_start > $1)`,
			longer).Scan(&yes)
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}

	began := time.Now()
	now := func() time.Duration { return time.Since(began) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan stalls, 1)
	go func() {
		found, err := watch(ctx, db.AdminURL(), now)
		if err != nil {
			t.Error(err)
		}
		result <- found
	}()

	set("'missing'")
	waittest.Eventually(t, "a commit waits", func() bool { return waits(0) })
	waited := now()
	waittest.Eventually(t, "it has waited for longer than stalled", func() bool { return waits(stalled + 100*time.Millisecond) })
	released := now()
	set("''")
	waittest.Eventually(t, "no commit waits", func() bool { return !waits(0) })
	cancel()
	found := <-result
	if len(found) == 0 || !found.excuse(history.Call{Start: waited, End: released, Status: 503}) {
		t.Errorf("found %v, but a commit waited from %v to %v", found, waited, released)
	}
}
