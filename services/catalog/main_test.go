package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/streams"
	"lavka/libs/contract/wire"
	"lavka/libs/host/freeport"
	"lavka/libs/service/config"
	"lavka/libs/service/program"
	"lavka/libs/service/token"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
	"lavka/services/catalog/internal/postgres"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service(postgres.Schema, postgres.Migrations)})
}

// shop is the environment of the program: a database, NATS and auth's keys.
type shop struct {
	db    pgtest.Database
	nats  *natstest.Server
	jwks  *httptest.Server
	key   ed25519.PrivateKey
	owner *pgx.Conn
}

func newShop(t *testing.T) *shop {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","alg":"EdDSA","use":"sig","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	s := &shop{db: pgtest.New(t), nats: natstest.Start(t), key: private}
	s.jwks = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, keys) }))
	t.Cleanup(s.jwks.Close)
	if s.owner, err = pgx.Connect(t.Context(), s.db.URL("catalog_owner")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.owner.Close(context.WithoutCancel(t.Context())) })
	s.playAuth(t)
	return s
}

// playAuth creates the stream of users, and answers that no token is revoked.
func (s *shop) playAuth(t *testing.T) {
	t.Helper()
	nc, js := s.connect(t)
	if _, err := js.CreateStream(t.Context(), streams.Users(1)); err != nil {
		t.Fatal(err)
	}
	none, err := wire.Encode(wire.RevocationsPage{V: wire.Version, Versions: []wire.TokenVersion{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe(wire.SubjectRevocations, func(msg *nats.Msg) {
		if err := msg.Respond(none); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) connect(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := natstest.Connect(s.nats.URL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// number reads one number from the database.
func (s *shop) number(t *testing.T, sql string, args ...any) int {
	t.Helper()
	var n int
	if err := s.owner.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// token returns an access token like auth's.
func (s *shop) token(t *testing.T, userID int64, role string) string {
	t.Helper()
	claims := token.Claims{Role: role, Version: 1, RegisteredClaims: jwt.RegisteredClaims{
		Issuer: "lavka", Audience: jwt.ClaimStrings{"lavka"}, Subject: strconv.FormatInt(userID, 10), ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Minute)),
	}}
	tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	tok.Header["kid"], tok.Header["typ"] = "k1", token.Type
	text, err := tok.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// replica is a running program.
type replica struct {
	*shop
	url, internal string
	stop          func() error
}

func (s *shop) settings(t *testing.T) Config {
	t.Helper()
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = freeport.Take(); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{JWKSURL: s.jwks.URL, PurchaseWait: 10 * time.Second, PurchaseExpiry: 15 * time.Minute, PendingMax: 100_000, PendingMaxPerUser: 1000, StockPendingMax: 10, DeclinesMaxPerUser: 100}
	cfg.HTTPAddr, cfg.InternalAddr = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	cfg.DatabaseURL, cfg.MigrateDatabaseURL = config.Hide(s.db.URL("catalog")), config.Hide(s.db.URL("catalog_owner"))
	cfg.NATSURL = config.Hide(s.nats.URL)
	cfg.TokenIssuer, cfg.TokenAudience, cfg.TokenLifetime = "lavka", "lavka", 10*time.Minute
	cfg.LogLevel, cfg.LogFormat, cfg.ShutdownTimeout, cfg.MaxConnections = "error", "text", 15*time.Second, 1000
	return cfg
}

// std holds the streams of the programs that tests run: their errors are shown.
var std = program.Streams{In: strings.NewReader(""), Out: io.Discard, Err: os.Stderr}

// start runs a replica until it is stopped or the test ends.
func (s *shop) start(t *testing.T, change func(*Config)) *replica {
	t.Helper()
	cfg := s.settings(t)
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg, nil, std) }()
	r := &replica{shop: s, url: "http://" + cfg.HTTPAddr, internal: "http://" + cfg.InternalAddr}
	var err error
	stopped := false
	r.stop = func() error {
		if !stopped {
			stopped = true
			cancel()
			err = <-ended
		}
		return err
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	waittest.Eventually(t, "the program is healthy", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("the program ended at once: %v", err)
		default:
		}
		return run(t.Context(), cfg, []string{"healthcheck"}, std) == nil
	})
	return r
}

// answer is an HTTP response with its body.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (a answer) code() any { return a.body["code"] }
func (a answer) String() string {
	return fmt.Sprintf("%d %s", a.status, strings.TrimSpace(a.text))
}

// send sends a request with a bearer token; headers are pairs of name and value.
func (r *replica) send(t *testing.T, bearer, method, path, body string, headers ...string) answer {
	t.Helper()
	a, err := r.trySend(t.Context(), bearer, method, path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *replica) trySend(ctx context.Context, bearer, method, path, body string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &a.body); err != nil {
			return a, fmt.Errorf("%s: %w", a, err)
		}
	}
	return a, nil
}

// product puts a product on sale and returns its id.
func (r *replica) product(t *testing.T, title, price string) int64 {
	t.Helper()
	a := r.send(t, r.token(t, 1, "admin"), "POST", "/products", fmt.Sprintf(`{"title":%q,"description":"","price":%s}`, title, price))
	if a.status != http.StatusCreated {
		t.Fatalf("create product: %s", a)
	}
	return int64(a.body["id"].(float64))
}
