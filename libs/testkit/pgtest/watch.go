package pgtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Watch counts the shared buffers that statements read, in the cache or on disk. Postgres itself reports each execution (auto_explain), so
// that what is counted is what a store really runs, with the plan that the server chose for it.
type Watch struct {
	mu   sync.Mutex
	seen []Statement
}

// Statement is one execution of a statement.
type Statement struct {
	SQL     string
	Plan    string // JSON, with the actual rows and buffers of each node
	Buffers int
}

// NewWatch returns a Watch of the sessions that Pool opens.
func NewWatch(t testing.TB, db Database) *Watch {
	t.Helper()
	for _, setting := range []string{
		"session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0", "auto_explain.log_analyze = on",
		"auto_explain.log_buffers = on", "auto_explain.log_timing = off", "auto_explain.log_format = json", "auto_explain.log_level = notice",
	} {
		if err := execute(t.Context(), db.AdminURL(), "ALTER DATABASE "+db.Name+" SET "+setting); err != nil {
			t.Fatal(err)
		}
	}
	return &Watch{}
}

// Pool returns a pool with the configuration of another, and with the given settings of Postgres in its sessions.
func (w *Watch) Pool(t testing.TB, like *pgxpool.Pool, settings map[string]string) *pgxpool.Pool {
	t.Helper()
	cfg := like.Config()
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { w.hear(t, n.Message) }
	maps.Copy(cfg.ConnConfig.RuntimeParams, settings)
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func (w *Watch) hear(t testing.TB, message string) {
	_, report, ok := strings.Cut(message, "plan:\n")
	if !ok {
		return
	}
	var r struct {
		SQL  string `json:"Query Text"`
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		t.Errorf("auto_explain's report: %v: %s", err, report)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, Statement{r.SQL, report, r.Plan.Hit + r.Plan.Read})
}

// Statements returns what was run since the last call.
func (w *Watch) Statements() []Statement {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	return seen
}

// Read is a call of a store that must cost the same however much is stored.
type Read struct {
	Method string // of the store, and what makes this kind of call cost more than others
	Case   string // which of its statements, and where in the list
	Most   int    // shared buffers that the call may read
	Rows   int    // that the call must return
	Run    func(context.Context) (rows int, err error)
}

// Flat makes each call a number of times, and fails where one reads more buffers than it may. It returns the most that a call of each
// method read.
func (w *Watch) Flat(t testing.TB, times int, reads []Read) map[string]int {
	t.Helper()
	most := map[string]int{}
	for _, r := range reads {
		for n := range times {
			w.Statements()
			rows, err := r.Run(t.Context())
			statements := w.Statements()
			if err != nil || rows != r.Rows || len(statements) == 0 {
				t.Fatalf("%s, %s: %d rows from %d statements, want %d rows: %v", r.Method, r.Case, rows, len(statements), r.Rows, err)
			}
			buffers, plans := 0, ""
			for _, s := range statements {
				buffers += s.Buffers
				plans += fmt.Sprintf("\n%s", s.Plan)
			}
			most[r.Method] = max(most[r.Method], buffers)
			if buffers > r.Most {
				t.Errorf("%s, %s: execution %d read %d buffers, and may read %d: its cost depends on how much is stored%s", r.Method, r.Case, n+1, buffers, r.Most, plans)
				break
			}
		}
	}
	return most
}

// Covered fails unless each exported method of a store has a read that was measured, or a reason in exempt why there is none.
func Covered(t testing.TB, store reflect.Type, measured map[string]int, exempt map[string]string) {
	t.Helper()
	exists := map[string]bool{}
	for m := range store.Methods() {
		exists[m.Name] = true
		_, has := measured[m.Name]
		if has == (exempt[m.Name] != "") {
			t.Errorf("%s needs a read in this test, or else a reason why its cost may depend on how much is stored", m.Name)
		}
	}
	for name := range exempt {
		if !exists[name] {
			t.Errorf("there is no method %s", name)
		}
	}
}
