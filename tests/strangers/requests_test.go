package strangers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lavka/deploy/local/payment"
	"lavka/deploy/local/stack"
	"lavka/libs/service/proxies"
	"lavka/tests/contract"
)

var seed = flag.Uint64("seed", 1, "the seed of the generated requests; 0 takes a new one")

// How many requests are made of each operation. Those that make the shop hash a
// password are fewer: each costs it as much time as a hundred others.
const (
	perOperation = 200
	perHash      = 60
)

var hashing = []string{"register", "login", "newActivation", "changePassword", "endSession", "endOtherSessions", "confirmPasswordReset"}

// Requests are generated from the served contracts: valid ones, ones at the bounds,
// and spoilt ones. Two validators that share no code check each answer.
func TestGeneratedRequests(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	from := *seed
	if from == 0 {
		from = rand.Uint64()
	}
	t.Logf("repeat with: go test ./tests/strangers -run '^TestGeneratedRequests$' -seed %d", from)
	shop := start(ctx, t, func(cfg *stack.Config) {
		cfg.TrustedProxies = proxies.Trusted{netip.MustParsePrefix("127.0.0.1/32")}
		cfg.Env = map[string]string{"DECLINES_MAX_PER_USER": "1000000"}
	})
	r, err := newRunner(ctx, shop, from)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range perOperation {
		for _, j := range r.judges {
			for _, o := range j.operations {
				if slices.Contains(hashing, o.id) && i >= perHash {
					continue
				}
				req := r.g.generate(o, j.requests)
				a, err := r.send(ctx, req)
				if err == nil {
					err = r.check(j, req, a)
				}
				if err != nil {
					t.Errorf("seed %d: request %d of %s (%s): %v\n%s", from, i, o.id, req.what, err, show(req, a))
					if r.failed++; r.failed >= 20 {
						t.Fatal("there may be more")
					}
				}
				if err := r.learn(ctx, req, a); err != nil {
					t.Fatalf("seed %d: after request %d of %s: %v\n%s", from, i, o.id, err, show(req, a))
				}
			}
		}
	}
	t.Logf("%d requests in %s", r.g.serial, time.Since(began).Round(time.Second/10))
	for _, name := range slices.Sorted(maps.Keys(r.seen)) {
		statuses := r.seen[name]
		t.Logf("%-40s %v", name, statuses)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(statuses)), func(status int) bool { return status < 300 }) {
			t.Errorf("seed %d: no generated request of %s succeeded: %v", from, name, statuses)
		}
		if len(statuses) < 2 {
			t.Errorf("seed %d: all requests of %s had the same status: %v", from, name, statuses)
		}
	}
	if out, err := shop.Command(ctx, stack.Billing, "verify").CombinedOutput(); err != nil {
		t.Errorf("seed %d: billing verify: %v\n%s", from, err, out)
	}
}

// reply is what the shop answered.
type reply struct {
	sent   *http.Request
	resp   *http.Response
	body   []byte
	fields object // of a JSON object
}

type runner struct {
	base   string
	client *http.Client
	kin    *contract.Checker
	judges []*judge
	g      *generator
	shop   *stack.Stack
	seen   map[string]map[int]int // the number of answers, by operation and status
	failed int
}

// newRunner reads the contracts and logs in the callers.
func newRunner(ctx context.Context, shop *stack.Stack, seed uint64) (*runner, error) {
	r := &runner{
		base: shop.GatewayURL(), shop: shop, seen: map[string]map[int]int{},
		client: &http.Client{
			Transport:     &http.Transport{DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       time.Minute,
		},
		g: &generator{rng: rand.New(rand.NewPCG(seed, 0)), pools: map[string][]string{}, passwords: map[string]string{}, tokens: map[string]string{"provider": shop.PaymentReadTokens[0]}, keys: shop.PaymentKeys, secret: shop.PaymentSigningSecrets[0]},
	}
	contracts := map[string][]byte{}
	for _, service := range stack.Services() {
		a, err := r.call(ctx, http.MethodGet, "/"+service+"/openapi.json", "", nil)
		if err != nil {
			return nil, err
		}
		contracts[service] = a.body
		j, err := newJudge(service, a.body)
		if err != nil {
			return nil, fmt.Errorf("read the contract of %s: %w", service, err)
		}
		r.judges = append(r.judges, j)
	}
	var err error
	if r.kin, err = contract.New(contracts); err != nil {
		return nil, err
	}
	if r.g.tokens["admin"], err = r.logIn(ctx, shop.AdminLogin, shop.AdminPassword); err != nil {
		return nil, err
	}
	for _, name := range []string{"user", "victim"} {
		r.g.passwords[name] = "quiet river, tall grass of the " + name
		a, err := r.call(ctx, http.MethodPost, "/auth/register", "", object{"login": name + "1", "password": r.g.passwords[name]})
		if err != nil {
			return nil, err
		}
		link, _ := a.fields["activation_link"].(string)
		if _, err := r.call(ctx, http.MethodGet, strings.TrimPrefix(link, r.base), "", nil); err != nil {
			return nil, err
		}
		if r.g.tokens[name], err = r.logIn(ctx, name+"1", r.g.passwords[name]); err != nil {
			return nil, err
		}
		// A payment needs no message of auth's about a user who has used billing.
		bill, err := r.call(ctx, http.MethodPost, "/bills", r.g.tokens[name], nil)
		if err != nil {
			return nil, err
		}
		r.g.learn("customers", fmt.Sprint(a.fields["user"].(object)["id"]))
		if name == "user" {
			id := fmt.Sprint(bill.fields["id"])
			r.g.learn("bills", id)
			r.g.learn("funded", id)
			top := payment.Signed(shop.PaymentKeys[0], 1, r.g.pools["customers"][0], id, "100000.00")
			if _, err := r.call(ctx, http.MethodPost, "/payment/webhook", "", json.RawMessage(top)); err != nil {
				return nil, err
			}
			r.g.learn("credited", "1")
		}
	}
	return r, nil
}

func (r *runner) logIn(ctx context.Context, login, password string) (string, error) {
	a, err := r.call(ctx, http.MethodPost, "/auth/login", "", object{"login": login, "password": password})
	if err != nil {
		return "", err
	}
	refresh, _ := a.fields["refresh_token"].(string)
	r.g.learn("refresh_token", refresh)
	token, _ := a.fields["access_token"].(string)
	return token, nil
}

// call sends a request that must succeed.
func (r *runner) call(ctx context.Context, method, path, token string, body any) (*reply, error) {
	req := &request{op: &operation{method: method}, path: path, header: http.Header{}}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		req.body = text
		req.header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.header.Set("Authorization", "Bearer "+token)
	}
	a, err := r.send(ctx, req)
	if err == nil && a.resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s %s", method, path, a.resp.Status, a.body)
	}
	return a, err
}

func (r *runner) send(ctx context.Context, req *request) (*reply, error) {
	u, err := url.Parse(r.base + req.path)
	if err != nil {
		return nil, err
	}
	u.RawQuery = req.query
	sent, err := http.NewRequestWithContext(ctx, req.op.method, u.String(), bytes.NewReader(req.body))
	if err != nil {
		return nil, err
	}
	sent.Header = req.header
	resp, err := r.client.Do(sent)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a := &reply{sent: sent, resp: resp}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if len(a.body) > 0 && a.body[0] == '{' {
		err = decode(a.body, &a.fields)
	}
	return a, err
}

// check returns what is wrong with an answer, by either validator.
func (r *runner) check(j *judge, req *request, a *reply) error {
	status := a.resp.StatusCode
	o, params := j.find(req.op.method, a.sent.URL.EscapedPath())
	if o == nil {
		return errors.New("the generator has left its operation")
	}
	name := o.method + " " + o.path
	if r.seen[name] == nil {
		r.seen[name] = map[int]int{}
	}
	r.seen[name][status]++
	wrong := []error{}
	if err := r.kin.Check(a.sent, req.body, a.resp, a.body); err != nil {
		wrong = append(wrong, fmt.Errorf("kin-openapi: %w", err))
	}
	if err := j.answer(o, a.resp, a.body); err != nil {
		wrong = append(wrong, fmt.Errorf("jsonschema-go: %w", err))
	}
	forbidden := j.request(o, params, a.sent, req.body)
	code, _ := a.fields["code"].(string)
	switch {
	case status == http.StatusInternalServerError:
		wrong = append(wrong, errors.New("an error of the service's own"))
	case status < 400 && forbidden != nil:
		wrong = append(wrong, fmt.Errorf("it was accepted, though the contract does not allow it: %w", forbidden))
	case req.plain && forbidden != nil:
		wrong = append(wrong, fmt.Errorf("the generator made a request that is not valid: %w", forbidden))
	case req.plain && (code == "unauthenticated" || code == "token_invalid" || code == "forbidden"):
		wrong = append(wrong, errors.New("its caller was refused"))
	case forbidden == nil && (status == 400 || status == 413 || status == 415) && (req.plain || !o.raw) && !hasCursor(a.sent):
		if prose(a.sent, req.body) == nil {
			wrong = append(wrong, errors.New("it was refused, though the contract allows it"))
		}
	}
	return errors.Join(wrong...)
}

// hasCursor reports whether a request has a cursor, which may not be of its list.
func hasCursor(r *http.Request) bool { return r.URL.Query().Has("cursor") }

// learn keeps what later requests need.
func (r *runner) learn(ctx context.Context, req *request, a *reply) error {
	if a == nil || a.resp.StatusCode >= 300 {
		return nil
	}
	g, id := r.g, ""
	if a.fields["id"] != nil {
		id = fmt.Sprint(a.fields["id"])
	}
	if next, ok := a.fields["next_cursor"].(string); ok {
		g.learn("cursor of "+req.op.id, next)
	}
	if link, ok := a.fields["activation_link"].(string); ok {
		g.learn("activation", link[strings.LastIndex(link, "/")+1:])
	}
	if link, ok := a.fields["link"].(string); ok && callers[userOf(a)] == "" { // the callers keep their passwords
		g.learn("resets", link[strings.LastIndex(link, "=")+1:])
	}
	if refresh, ok := a.fields["refresh_token"].(string); ok {
		g.learn("refresh_token", refresh)
	}
	g.learn("tags", a.resp.Header.Get("ETag"))
	if sku, ok := a.fields["sku"].(string); ok {
		g.learn("sku", sku)
	}
	var sent struct {
		Login, Password string
		NewPassword     string `json:"new_password"`
	}
	switch req.op.id {
	case "register":
		if err := json.Unmarshal(req.body, &sent); err != nil {
			return err
		}
		user := a.fields["user"].(object)
		login := user["login"].(string)
		g.passwords[login] = sent.Password
		g.learn("inactive", login)
		g.learn("users", fmt.Sprint(user["id"]))
	case "activate", "activateByToken":
		login := a.fields["user"].(object)["login"].(string)
		g.learn("active", login)
		g.pools["inactive"] = slices.DeleteFunc(g.pools["inactive"], func(l string) bool { return l == login })
	case "changePassword":
		if err := json.Unmarshal(req.body, &sent); err != nil {
			return err
		}
		g.passwords["victim"] = sent.NewPassword
		return r.logInAgain(ctx, "victim")
	case "listSessions":
		g.pools["sessions"] = nil
		for _, s := range a.fields["items"].([]any) {
			g.learn("sessions", fmt.Sprint(s.(object)["id"]))
		}
	case "endSession", "endOtherSessions": // of the victim, or of another caller
		for name, token := range g.tokens {
			if a.sent.Header.Get("Authorization") == "Bearer "+token {
				return r.logInAgain(ctx, name)
			}
		}
	case "endUserSessions":
		if name := callers[userOf(a)]; name != "" {
			return r.logInAgain(ctx, name)
		}
	case "createProduct":
		g.learn("products", id)
	case "deleteProduct":
		gone := a.sent.URL.Path[strings.LastIndex(a.sent.URL.Path, "/")+1:]
		g.pools["products"] = slices.DeleteFunc(g.pools["products"], func(id string) bool { return id == gone })
	case "paymentWebhook":
		g.learn("credited", fmt.Sprint(a.fields["transaction_id"]))
	case "createBill":
		g.learn("bills", id)
	case "createPurchase":
		g.learn("purchases", id)
	}
	return nil
}

// callers are those who log in, by their user ids.
var callers = map[string]string{"1": "admin", "2": "user", "3": "victim"}

// userOf returns the id in a path /users/{id}/…, which may be written as +1 or 01.
func userOf(a *reply) string {
	parts := strings.Split(a.sent.URL.Path, "/")
	id, err := strconv.ParseInt(parts[min(2, len(parts)-1)], 10, 64)
	if err != nil {
		return ""
	}
	return fmt.Sprint(id)
}

// logInAgain gives a caller whose token was revoked a new one.
func (r *runner) logInAgain(ctx context.Context, name string) (err error) {
	login, password := name+"1", r.g.passwords[name]
	if name == "admin" {
		login, password = r.shop.AdminLogin, r.shop.AdminPassword
	}
	r.g.tokens[name], err = r.logIn(ctx, login, password)
	return err
}

func show(req *request, a *reply) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %.300s?%.300s\n", req.op.method, req.path, req.query)
	for _, name := range slices.Sorted(maps.Keys(req.header)) {
		if name == "Authorization" {
			fmt.Fprintln(&b, "Authorization: of", req.op.role)
			continue
		}
		fmt.Fprintf(&b, "%s: %.200q\n", name, req.header[name])
	}
	fmt.Fprintf(&b, "%.600q\n", req.body)
	if a != nil {
		fmt.Fprintf(&b, "was answered %s %v\n%.800s", a.resp.Status, a.resp.Header, a.body)
	}
	return b.String()
}
