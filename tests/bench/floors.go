package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/labstack/echo/v4"

	"lavka/libs/host/childprocess"
	"lavka/libs/host/freeport"
	"lavka/libs/host/pgserver"
	"lavka/libs/service/pgconfig"
)

// floor is a bare database on the shop's own server: what a purchase takes where
// there is nothing but BEGIN; UPDATE; INSERT; COMMIT.
type floor struct {
	url, dir, pgbench string
}

const floorBills = 100_000

// newFloor makes the floor's database.
func newFloor(ctx context.Context, adminURL, dir string) (*floor, error) {
	bin, err := pgserver.FindBinaries()
	if err != nil {
		return nil, err
	}
	cfg, err := pgconfig.Parse(adminURL)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE DATABASE floor`); err != nil {
		return nil, fmt.Errorf("make the floor: %w", err)
	}
	cfg.Database = "floor"
	inside, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer inside.Close(ctx)
	// Autovacuum is off: it would run during the shop's turn and slow the shop down.
	_, err = inside.Exec(ctx, `
		CREATE TABLE bills (id bigint PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 80, autovacuum_enabled = off);
		CREATE TABLE transactions (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, bill_id bigint NOT NULL, amount bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now()) WITH (autovacuum_enabled = off);
		INSERT INTO bills SELECT n, 1000000000 FROM generate_series(1, `+strconv.Itoa(floorBills)+`) AS n;
		ANALYZE bills`)
	if err != nil {
		return nil, fmt.Errorf("make the floor: %w", err)
	}
	f := &floor{dir: dir, pgbench: filepath.Join(bin.Dir, "pgbench")}
	if _, err := os.Stat(f.pgbench); err != nil {
		if f.pgbench, err = exec.LookPath("pgbench"); err != nil {
			return nil, fmt.Errorf("the floor of writes is measured with pgbench, which comes with PostgreSQL's server: %w", err)
		}
	}
	f.url = fmt.Sprintf("postgres://%s:%s@%s/floor", cfg.User, cfg.Password, net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))))
	for name, id := range map[string]string{"uniform": "random(1, " + strconv.Itoa(floorBills) + ")", "hot": "1"} {
		script := "\\set id " + id + "\nBEGIN;\nUPDATE bills SET balance = balance - 1 WHERE id = :id;\nINSERT INTO transactions (bill_id, amount) VALUES (:id, -1);\nCOMMIT;\n"
		if err := os.WriteFile(filepath.Join(dir, name+".sql"), []byte(script), 0o600); err != nil {
			return nil, err
		}
	}
	return f, nil
}

var (
	tps     = regexp.MustCompile(`tps = ([0-9.]+)`)
	latency = regexp.MustCompile(`latency average = ([0-9.]+) ms`)
)

// write makes a number of clients write for a while, on all bills ("uniform") or on
// one ("hot"), and returns what pgbench says of it.
func (f *floor) write(ctx context.Context, script string, clients int, span time.Duration, options ...string) ([]byte, error) {
	seconds := strconv.Itoa(max(1, int(span.Seconds())))
	args := append(options, "-n", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, processors)),
		"-T", seconds, "-f", filepath.Join(f.dir, script+".sql"), f.url)
	cmd := exec.CommandContext(ctx, f.pgbench, args...)
	cmd.Env = pgserver.Environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("pgbench: %w: %s", err, out)
	}
	return out, nil
}

// run returns the rate of a number of clients, and their latency.
func (f *floor) run(ctx context.Context, script string, clients int, span time.Duration) (rate float64, mean time.Duration, err error) {
	out, err := f.write(ctx, script, clients, span)
	if err != nil {
		return 0, 0, err
	}
	if bytes.Contains(out, []byte("actually processed: 0\n")) && span < time.Minute { // a busy machine took all of it to connect
		return f.run(ctx, script, clients, 2*max(span, time.Second))
	}
	r, l := tps.FindSubmatch(out), latency.FindSubmatch(out)
	if r == nil || l == nil {
		return 0, 0, fmt.Errorf("pgbench says what can't be read: %s", out)
	}
	if rate, err = strconv.ParseFloat(string(r[1]), 64); err != nil {
		return 0, 0, err
	}
	ms, err := strconv.ParseFloat(string(l[1]), 64)
	return rate, time.Duration(ms * float64(time.Millisecond)), err
}

// best is the best rate of several numbers of clients.
func (f *floor) best(ctx context.Context, script string, clients []int, span time.Duration) (best float64, err error) {
	for _, n := range clients {
		rate, _, err := f.run(ctx, script, n, span)
		if err != nil {
			return 0, err
		}
		best = max(best, rate)
	}
	return best, nil
}

// offered gives the 99th percentile of how long a transaction takes, from the
// moment it was due, at a given rate per second.
func (f *floor) offered(ctx context.Context, script string, clients int, rate float64, span time.Duration) (p99 time.Duration, err error) {
	dir, err := os.MkdirTemp(f.dir, "pgbench-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if _, err := f.write(ctx, script, clients, span, "--rate", strconv.Itoa(max(1, int(rate))), "--log", "--log-prefix", filepath.Join(dir, "log")); err != nil {
		return 0, err
	}
	logs, err := filepath.Glob(filepath.Join(dir, "log*")) // one of each thread
	if err != nil {
		return 0, err
	}
	var took []time.Duration
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			// client, number, microseconds, ...: the lag is in them (PostgreSQL 15, pgbench, "Per-Transaction Logging").
			fields := strings.Fields(line)
			if len(fields) < 3 {
				return 0, fmt.Errorf("pgbench's log has a line that can't be read: %q", line)
			}
			us, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("pgbench's log has a line that can't be read: %q", line)
			}
			took = append(took, time.Duration(us)*time.Microsecond)
		}
	}
	if len(took) == 0 {
		return 0, fmt.Errorf("pgbench wrote nothing at %.0f/s", rate)
	}
	slices.Sort(took)
	return percentile(took, 99), nil
}

// startEcho starts a bare server in a process of its own (this program's, with
// -echo) that answers every GET with the bytes of a file.
func startEcho(ctx context.Context, body []byte, file string) (addr string, stop func() error, err error) {
	if err := os.WriteFile(file, body, 0o600); err != nil {
		return "", nil, err
	}
	port, err := freeport.Take()
	if err != nil {
		return "", nil, err
	}
	addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, "-echo", addr, file)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := childprocess.Start(cmd, childprocess.Options{}); err != nil {
		return "", nil, err
	}
	stop = func() error {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		_ = cmd.Wait() // it was killed
		return nil
	}
	for end := time.Now().Add(20 * time.Second); ; {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			return addr, stop, conn.Close()
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return "", nil, fmt.Errorf("the echo server does not listen: %s", said.Bytes())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// serveEcho is that process.
func serveEcho(addr, file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	e := echo.New()
	e.GET("/*", func(c echo.Context) error { return c.JSONBlob(http.StatusOK, body) })
	server := &http.Server{Addr: addr, Handler: e, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}
