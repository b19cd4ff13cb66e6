package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/host/freeport"
	"lavka/libs/service/config"
	"lavka/libs/service/program"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
	"lavka/services/auth/internal/keys"
	"lavka/services/auth/internal/postgres"
)

const (
	timeout = time.Minute

	adminLogin    = "boss"
	adminPassword = "samovar-orbit-kettle-9"
	goodPassword  = "violet tram 77 lamps"
	otherPassword = "seven grey herons 41"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service(postgres.Schema, postgres.Migrations)})
}

// world is a database, a NATS server and a key file, for replicas of the real
// program.
type world struct {
	t     *testing.T
	db    pgtest.Database
	admin *pgx.Conn
	nats  *natstest.Server
	keys  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.New(t), nats: natstest.Start(t), keys: filepath.Join(t.TempDir(), "keys.json")}
	if _, err := keys.Add(w.keys); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.admin, err = pgx.Connect(t.Context(), w.db.AdminURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.admin.Close(context.WithoutCancel(t.Context())) })
	return w
}

func (w *world) config() Config {
	return Config{
		Common: config.Common{
			HTTPAddr: address(w.t), InternalAddr: address(w.t), DatabaseURL: config.Hide(w.db.URL("auth")), NATSURL: config.Hide(w.nats.URL),
			TokenIssuer: "lavka", TokenAudience: "lavka", TokenLifetime: 10 * time.Minute,
			LogLevel: "info", LogFormat: "text", ShutdownTimeout: 10 * time.Second, MaxConnections: 1000,
		},
		PublicURL: "https://shop.example", SigningKeys: w.keys, AdminLogin: adminLogin, AdminPassword: config.Hide(adminPassword),
		PasswordStrength: 3, StreamReplicas: 1, RefreshLifetime: 720 * time.Hour, ActivationLifetime: 48 * time.Hour,
	}
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.admin.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) count(sql string, args ...any) (n int) {
	w.t.Helper()
	if err := w.admin.QueryRow(w.t.Context(), `SELECT count(*) FROM `+sql, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// replica is one running program.
type replica struct {
	t        *testing.T
	url      string
	internal string
	log      *waittest.Text
	stop     func() error
}

// start starts a replica and waits until it is ready.
func (w *world) start(change ...func(*Config)) *replica {
	w.t.Helper()
	r := w.launch(change...)
	r.waitReady()
	return r
}

func (w *world) launch(change ...func(*Config)) *replica {
	w.t.Helper()
	cfg := w.config()
	for _, c := range change {
		c(&cfg)
	}
	r := &replica{t: w.t, url: "http://" + cfg.HTTPAddr, internal: "http://" + cfg.InternalAddr, log: &waittest.Text{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, cfg, nil, program.Streams{In: strings.NewReader(""), Out: io.Discard, Err: r.log})
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	w.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			w.t.Errorf("serve: %v", err)
		}
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", r.url, r.log)
		}
	})
	return r
}

func (r *replica) waitReady() {
	r.t.Helper()
	waittest.Eventually(r.t, "ready", func() bool {
		resp, err := http.Get(r.internal + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// answer is a response.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (a answer) code() string { s, _ := a.body["code"].(string); return s }

func (a answer) str(member string) string { s, _ := a.body[member].(string); return s }

// do sends a request. It encodes a body that is not a string as JSON.
func (r *replica) do(method, path, token string, body any) answer {
	r.t.Helper()
	a, err := r.try(method, path, token, body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// patient is try by a client that retries after 503, when Retry-After has passed.
func (r *replica) patient(method, path, token string, body any) (answer, error) {
	for {
		a, err := r.try(method, path, token, body)
		if err != nil || a.status != http.StatusServiceUnavailable {
			return a, err
		}
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil {
			return a, fmt.Errorf("503 without Retry-After: %s: %w", a.text, err)
		}
		select {
		case <-r.t.Context().Done():
			return a, r.t.Context().Err()
		case <-time.After(time.Duration(seconds) * time.Second):
		}
	}
}

func (r *replica) try(method, path, token string, body any) (answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, reader)
	if err != nil {
		return answer{}, err
	}
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &a.body)
	}
	return a, err
}

// want fails the test unless the response has this status and, for a problem, this
// code.
func (a answer) want(t *testing.T, status int, code string) answer {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Fatalf("answer %d %q, want %d %q: %s", a.status, a.code(), status, code, a.text)
	}
	return a
}

type object = map[string]any

// register registers a user and returns the path of the activation link and the id.
func (r *replica) register(login string) (link string, id int64) {
	r.t.Helper()
	a := r.do("POST", "/auth/register", "", object{"login": login, "password": goodPassword}).want(r.t, 201, "")
	link, ok := strings.CutPrefix(a.str("activation_link"), "https://shop.example")
	if !ok {
		r.t.Fatalf("link %q does not begin with PUBLIC_URL", a.str("activation_link"))
	}
	return link, int64(a.body["user"].(object)["id"].(float64))
}

// user registers, activates and logs in a user.
func (r *replica) user(login string) (access, refresh string, id int64) {
	r.t.Helper()
	link, id := r.register(login)
	r.do("GET", link, "", nil).want(r.t, 200, "")
	access, refresh = r.login(login, goodPassword)
	return access, refresh, id
}

func (r *replica) login(login, password string) (access, refresh string) {
	r.t.Helper()
	a := r.do("POST", "/auth/login", "", object{"login": login, "password": password}).want(r.t, 200, "")
	return a.str("access_token"), a.str("refresh_token")
}

func (r *replica) admin() string {
	r.t.Helper()
	access, _ := r.login(adminLogin, adminPassword)
	return access
}

func address(t *testing.T) string {
	t.Helper()
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
