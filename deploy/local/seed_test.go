package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"lavka/libs/service/config"
)

// shelf is as much of a shop as seed needs. Everything in it is kept by the text of its id, login, title or key.
type shelf struct {
	mu       sync.Mutex
	active   map[string]bool // by login
	products []string        // titles; an id is a place in the list
	seen     map[string]int  // payments and purchases, by id or key
	refuse   int             // webhook calls that come before the user is known
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body map[string]any
	if r.ContentLength > 0 {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			panic(err)
		}
	}
	login, _ := body["login"].(string)
	user := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	respond := func(status int, format string, args ...any) {
		w.WriteHeader(status)
		fmt.Fprintf(w, format, args...)
	}
	once := func(key string, status int) {
		if s.seen[key]++; s.seen[key] > 1 {
			w.Header().Set("Idempotent-Replayed", "true")
		}
		respond(status, "{}")
	}
	link := func(status int) { respond(status, `{"activation_link":"http://%s/auth/activate/%s"}`, r.Host, login) }
	switch path := r.URL.Path; {
	case path == "/auth/register":
		if _, taken := s.active[login]; taken {
			respond(409, `{"code":"login_taken"}`)
			return
		}
		s.active[login] = false
		link(201)
	case path == "/auth/activation":
		link(201)
	case strings.HasPrefix(path, "/auth/activate/"):
		s.active[strings.TrimPrefix(path, "/auth/activate/")] = true
		respond(200, "{}")
	case path == "/auth/login" && !s.active[login]:
		respond(403, `{"code":"user_inactive"}`)
	case path == "/auth/login":
		respond(200, `{"access_token":%q}`, login)
	case path == "/users/me":
		respond(200, `{"id":%d}`, len(user)*10+int(user[0]-'a'))
	case path == "/products" && r.Method == http.MethodPost:
		s.products = append(s.products, body["title"].(string))
		respond(201, `{"id":%d}`, len(s.products))
	case path == "/products":
		var items []string
		for i, title := range s.products {
			if strings.Contains(strings.ToLower(title), strings.ToLower(r.URL.Query().Get("q"))) {
				items = append(items, fmt.Sprintf(`{"id":%d,"title":%q}`, i+1, title))
			}
		}
		respond(200, `{"items":[%s]}`, strings.Join(items, ","))
	case path == "/payment/webhook" && s.refuse > 0:
		s.refuse--
		w.Header().Set("Retry-After", "1")
		respond(404, `{"code":"user_not_found"}`)
	case path == "/payment/webhook":
		once(fmt.Sprintf("payment %.0f", body["transaction_id"]), 200)
	case path == "/purchases" && r.Method == http.MethodPost:
		once(user+" "+r.Header.Get("Idempotency-Key"), 201)
	case path == "/purchases":
		respond(200, `{"items":[]}`)
	case strings.HasPrefix(path, "/bills/"):
		respond(200, `{"balance":1.00}`)
	default:
		respond(404, `{"code":"not_found","detail":%q}`, r.Method+" "+path)
	}
}

// A run completes what is missing, also after an interrupted one, and a second run changes nothing. The payment provider has an address of its own.
func TestSeedIsIdempotent(t *testing.T) {
	t.Parallel()
	s := &shelf{active: map[string]bool{"admin": true, "anna": false}, products: []string{"Black tea set", "Honey"}, seen: map[string]int{}, refuse: 2}
	serve := func(payments bool) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/payment/") != payments {
				http.NotFound(w, r)
				return
			}
			s.ServeHTTP(w, r)
		}))
	}
	shop, provider := serve(false), serve(true)
	defer shop.Close()
	defer provider.Close()
	cfg := settings{AdminLogin: "admin", AdminPassword: config.Hide("of the admin"), PaymentKeys: config.Hide("key of the payment provider")}
	for run := 1; run <= 2; run++ {
		if err := seed(t.Context(), cfg, []string{"--url", shop.URL + "/", "--payments-url", provider.URL + "/"}); err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		if got := strings.Join(s.products, ", "); got != "Black tea set, Honey, Teapot, Black tea, Tea glass, Grand samovar" {
			t.Errorf("run %d: the products are %s", run, got)
		}
		if len(s.active) != 1+len(seedUsers) || !s.active["anna"] || !s.active["vera"] {
			t.Errorf("run %d: the users are %v", run, s.active)
		}
		if len(s.seen) != len(seedUsers)+7 {
			t.Errorf("run %d: the payments and purchases are %v", run, s.seen)
		}
		for key, times := range s.seen {
			if times != run {
				t.Errorf("run %d: %s came %d times", run, key, times)
			}
		}
	}
	if err := seed(t.Context(), cfg, []string{"--payments-url", provider.URL}); err == nil || !strings.Contains(err.Error(), "without --url") {
		t.Errorf("without the shop's URL: %v", err)
	}
	cfg.AdminPassword = config.Secret{}
	if err := seed(t.Context(), cfg, []string{"--url", shop.URL}); err == nil || !strings.Contains(err.Error(), "set ADMIN_PASSWORD") {
		t.Errorf("without the admin's password: %v", err)
	}
}
