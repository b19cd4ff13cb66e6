// Package e2e tests the whole shop: the real binaries, behind the real gateway,
// on a real Postgres and a real NATS.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/deploy/local/payment"
	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
	"lavka/tests/contract"
)

const root = "../.."

// patience is how long a test waits for a response or a start.
const patience = 60 * time.Second

var (
	checker *contract.Checker
	binDir  string
	// template returns the directory of the database with which the other shops start. It is made when the first of them starts.
	template = sync.OnceValues(makeTemplate)
	shop     *shopUnderTest // most tests share it, each with its own users
	serial   atomic.Int64   // of logins and payments
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lavka-e2e-*")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	if checker, err = contract.Load(root); err != nil {
		return fail(err)
	}
	binDir = filepath.Join(dir, "bin")
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if err := stack.Build(ctx, root, binDir, true); err != nil {
		return fail(err)
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return fail(err)
	}
	data := filepath.Join(dir, "data")
	exported, err := startCollector(filepath.Join(dir, "traces"))
	if err != nil {
		return fail(err)
	}
	env := exported.environment()
	env["LOG_LEVEL"] = "debug"
	s, err := stack.Start(ctx, stack.Config{BinDir: binDir, DataDir: data, Volatile: true, Output: output, Log: logTo(output), Env: env, TrustTraceparent: true})
	if err != nil {
		return fail(fmt.Errorf("%w\n%s", err, tail(output.Name())))
	}
	shop = &shopUnderTest{Stack: s, output: output.Name(), data: data}
	if err := errors.Join(shop.keepSecrets(), shop.loginAdmin()); err != nil {
		return fail(err)
	}
	code := m.Run()
	after, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if missing := checker.NeverSucceeded(); len(missing) > 0 && code == 0 && flag.Lookup("test.run").Value.String() == "" {
		code = fail(fmt.Errorf("no test has called these operations successfully: %v", missing))
	}
	if err := errors.Join(shop.verify(after), shop.keptToItself(after)); err != nil {
		code = fail(err)
	}
	if err := errors.Join(s.Stop(), exported.close()); err != nil {
		code = fail(err)
	}
	if err := noFaults(output.Name()); err != nil {
		code = fail(err)
	}
	return code
}

// shopUnderTest is a running shop with its admin logged in.
type shopUnderTest struct {
	*stack.Stack
	output string // the file with the services' output
	data   string // the data directory
	admin  *client
}

func startShop(t *testing.T, change func(*stack.Config)) *shopUnderTest {
	t.Helper()
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	must(t, err)
	cfg := stack.Config{BinDir: binDir, DataDir: filepath.Join(t.TempDir(), "data"), Volatile: true, Output: output, Log: logTo(output)}
	if change != nil {
		change(&cfg)
	}
	if cfg.BinDir == binDir { // other binaries make their own schemas
		cfg.Template, err = template()
		must(t, err)
	}
	st, err := stack.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(output.Name()))
	}
	s := &shopUnderTest{Stack: st, output: output.Name(), data: cfg.DataDir}
	t.Cleanup(func() {
		if err := st.Stop(); err != nil {
			t.Error(err)
		}
		if err := noFaults(output.Name()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the end of the services' output:\n%s", tail(output.Name()))
		}
	})
	must(t, s.keepSecrets())
	must(t, s.loginAdmin())
	return s
}

// makeTemplate makes the template beside the binaries.
func makeTemplate() (dir string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir = filepath.Join(filepath.Dir(binDir), "template")
	return dir, stack.MakeTemplate(ctx, binDir, dir)
}

// logTo returns a logger for the stack, its gateway and its NATS that writes to the services' output.
func logTo(output *os.File) *slog.Logger { return slog.New(slog.NewTextHandler(output, nil)) }

// loginAdmin logs the admin in, for as long as the shop runs.
func (s *shopUnderTest) loginAdmin() error {
	c := &client{base: s.GatewayURL()}
	s.admin = &client{base: c.base, lasting: &lasting{login: func(ctx context.Context) (answer, error) {
		return c.do(ctx, "POST", "/auth/login", map[string]any{"login": s.AdminLogin, "password": s.AdminPassword})
	}}}
	_, err := s.admin.lasting.get(context.Background())
	return err
}

// adminToken is a token of the admin.
func (s *shopUnderTest) adminToken(t *testing.T) string {
	t.Helper()
	token, err := s.admin.lasting.get(t.Context())
	must(t, err)
	return token
}

// verify runs billing verify.
func (s *shopUnderTest) verify(ctx context.Context) error {
	if out, err := s.Command(ctx, stack.Billing, "verify").CombinedOutput(); err != nil {
		return fmt.Errorf("billing verify: %w: %s", err, out)
	}
	return nil
}

// user is a user who has registered, activated the account and logged in.
type user struct {
	*client
	id                       int64
	login, password, refresh string
	activation               string
}

const password = "correct-horse-battery-staple-42"

func (s *shopUnderTest) register(t *testing.T) *user {
	t.Helper()
	u := &user{client: &client{base: s.GatewayURL()}, login: fmt.Sprintf("buyer%d", serial.Add(1)), password: password}
	a := u.want(t, 201, "", "POST", "/auth/register", map[string]any{"login": u.login, "password": u.password})
	u.id, u.activation = a.int("user.id"), a.str("activation_link")
	if !strings.HasPrefix(u.activation, s.GatewayURL()+"/auth/activate/") {
		t.Fatalf("activation link %q", u.activation)
	}
	return u
}

// newSupport returns a user with the role support.
func (s *shopUnderTest) newSupport(t *testing.T) *user {
	t.Helper()
	u := s.newUser(t)
	if out, err := s.Command(t.Context(), stack.Auth, "admin", "grant", u.login, "support").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	u.logIn(t)
	return u
}

func (s *shopUnderTest) newUser(t *testing.T) *user {
	t.Helper()
	u := s.register(t)
	u.want(t, 200, "", "GET", strings.TrimPrefix(u.activation, s.GatewayURL()), nil)
	u.logIn(t)
	return u
}

func (u *user) logIn(t *testing.T) {
	t.Helper()
	a := u.want(t, 200, "", "POST", "/auth/login", map[string]any{"login": u.login, "password": u.password})
	u.token, u.refresh = a.str("access_token"), a.str("refresh_token")
}

func (s *shopUnderTest) product(t *testing.T, title string, price json.Number) int64 {
	t.Helper()
	a := s.admin.want(t, 201, "", "POST", "/products", map[string]any{"title": title, "description": "", "price": price})
	return a.int("id")
}

// pay signs a top-up and sends it to billing's own port, as the provider does. It
// retries while billing does not know the user yet.
func (s *shopUnderTest) pay(t *testing.T, userID, bill int64, amount string) {
	t.Helper()
	provider := &client{base: s.Replicas(stack.Billing)[0].URL()}
	body := s.payment(newPayment(), userID, bill, amount)
	waittest.Eventually(t, "the payment is credited", func() bool {
		a := provider.call(t, "POST", "/payment/webhook", body)
		if a.status != 200 && a.code() != "user_not_found" {
			t.Fatalf("payment: %s", a)
		}
		return a.status == 200
	})
}

func newPayment() int64 { return 1_000_000 + serial.Add(1) }

// payment returns a correctly signed webhook body.
func (s *shopUnderTest) payment(id, userID, bill int64, amount string) []byte {
	return payment.Signed(s.PaymentKeys[0], id, userID, bill, amount)
}

// bill opens a bill for a user and tops it up.
func (s *shopUnderTest) bill(t *testing.T, u *user, amount string) int64 {
	t.Helper()
	id := u.want(t, 201, "", "POST", "/bills", nil).int("id")
	if amount != "0" {
		s.pay(t, u.id, id, amount)
	}
	return id
}

func (u *user) balance(t *testing.T, bill int64) string {
	t.Helper()
	return u.want(t, 200, "", "GET", fmt.Sprint("/bills/", bill), nil).str("balance")
}

func purchaseOf(product, bill int64) map[string]any {
	return map[string]any{"product_id": product, "bill_id": bill}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "FAIL:", err)
	return 1
}

// noFaults searches the output for what no service may print: a data race, a NATS
// permission that it lacks (deploy/nats), or a secret, including any text that begins
// like a token.
func noFaults(output string) error {
	text, err := os.ReadFile(output)
	if err != nil {
		return err
	}
	for _, fault := range []string{"DATA RACE", "Permissions Violation", "eyJhbGciOi"} {
		if i := bytes.Index(text, []byte(fault)); i >= 0 {
			return fmt.Errorf("a service printed %q:\n%s", fault, text[max(0, i-500):min(len(text), i+4000)])
		}
	}
	return secrets.in("the services' output", text)
}

func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-6000):])
}

// database returns a function that queries one value as the service's own role.
func (s *shopUnderTest) database(t *testing.T, service string) func(sql string, args ...any) any {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL(service))
	must(t, err)
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return func(sql string, args ...any) any {
		t.Helper()
		var v any
		must(t, conn.QueryRow(t.Context(), sql, args...).Scan(&v))
		return v
	}
}
