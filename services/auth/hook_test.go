package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/libs/service/config"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/testkit/waittest"
)

// two secrets: the old and the new one while one is being replaced.
const hookSecrets = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

// receiver takes links, as an operator's mailer does.
type receiver struct {
	*httptest.Server
	t        *testing.T
	verifier *standardwebhooks.Verifier

	mu       sync.Mutex
	answer   http.HandlerFunc // after the message was recorded
	received []sentLink
}

type sentLink struct {
	ID                 string
	Event, Login, Link string
	ExpiresAt          time.Time `json:"expires_at"`
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	keys, err := standardwebhooks.ParseKeys(strings.Split(hookSecrets, ",")[1]) // it knows one of them
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, verifier: standardwebhooks.New(keys, time.Now)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// hooked configures a replica that sends links to the receiver.
func (r *receiver) hooked(c *Config) {
	c.LinkHookURL, c.LinkHookSecret = r.URL+"/links", config.Hide(hookSecrets)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the client has given up
	}
	if err := r.verifier.Verify(req.Header, body); err != nil {
		r.t.Errorf("the signature: %v", err)
	}
	if n := len(strings.Fields(req.Header.Get(standardwebhooks.HeaderSignature))); n != 2 {
		r.t.Errorf("%d signatures, want one of each secret", n)
	}
	if req.Method != "POST" || req.URL.Path != "/links" || req.Header.Get("Content-Type") != "application/json" || req.Header.Get("Traceparent") != "" {
		r.t.Errorf("%s %s %v", req.Method, req.URL, req.Header)
	}
	link := sentLink{ID: req.Header.Get(standardwebhooks.HeaderID)}
	var members map[string]any
	if err := json.Unmarshal(body, &link); err != nil || json.Unmarshal(body, &members) != nil || len(members) != 4 {
		r.t.Errorf("%s: %v", body, err)
	}
	r.mu.Lock()
	r.received = append(r.received, link)
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(w, req)
	}
}

// answers sets what the receiver answers from now on.
func (r *receiver) answers(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// to returns the links that were sent to a login.
func (r *receiver) to(login string) (links []sentLink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.received {
		if l.Login == login {
			links = append(links, l)
		}
	}
	return links
}

// wait returns the n-th link to a login when it has come.
func (r *receiver) wait(login string, n int) sentLink {
	r.t.Helper()
	waittest.Eventually(r.t, fmt.Sprintf("link %d to %s", n, login), func() bool { return len(r.to(login)) >= n })
	return r.to(login)[n-1]
}

func (l sentLink) token() string { return l.Link[strings.LastIndexAny(l.Link, "/=")+1:] }

func (w *world) unsent() int { return w.count(`auth.links WHERE due_at IS NOT NULL`) }

func TestLinksAreSent(t *testing.T) {
	t.Parallel()
	w, mail := newWorld(t), newReceiver(t)
	r := w.start(mail.hooked)
	a := r.do("POST", "/auth/register", "", object{"login": "anna", "password": goodPassword}).want(t, 201, "")
	if len(a.body) != 1 || a.body["user"] == nil {
		t.Errorf("a link that is sent is in the response, too: %s", a.text)
	}
	first := mail.wait("anna", 1)
	path, ok := strings.CutPrefix(first.Link, "https://shop.example")
	if left := time.Until(first.ExpiresAt); !ok || first.Event != "activation" || left < 47*time.Hour || left > 48*time.Hour {
		t.Errorf("%+v", first)
	}

	// Another one is sent when a minute has passed. Both are valid.
	again := func() answer {
		return r.do("POST", "/auth/activation", "", object{"login": "anna", "password": goodPassword})
	}
	waittest.Eventually(t, "the first link is marked as sent", func() bool { return w.unsent() == 0 })
	if a := again().want(t, 202, ""); a.text != "" {
		t.Errorf("%s", a.text)
	}
	if n := w.unsent(); n != 0 {
		t.Error("a second link is to be sent at once")
	}
	w.exec(`UPDATE auth.links SET requested_at = requested_at - interval '1 minute'`)
	again().want(t, 202, "")
	if second := mail.wait("anna", 2); second.Link == first.Link || second.ID == first.ID {
		t.Errorf("%+v after %+v", second, first)
	}
	r.do("GET", path, "", nil).want(t, 200, "")
	again().want(t, 409, "already_active")
	_, refresh := r.login("anna", goodPassword)

	// A forgotten password.
	for _, login := range []string{"ANNA", "nobody", "?", strings.Repeat("y", 1000)} {
		if a := r.do("POST", "/auth/password-reset", "", object{"login": login}).want(t, 202, ""); a.text != "" {
			t.Errorf("%s", a.text)
		}
	}
	reset := mail.wait("anna", 3)
	if left := time.Until(reset.ExpiresAt); reset.Event != "password_reset" || left > 30*time.Minute || left < 29*time.Minute || !strings.HasPrefix(reset.Link, "https://shop.example/password-reset#token=") {
		t.Errorf("%+v", reset)
	}
	waittest.Eventually(t, "all requests are dealt with", func() bool { return w.count(`auth.reset_requests`) == 0 && w.unsent() == 0 })
	r.do("POST", "/auth/password-reset/confirm", "", object{"token": reset.token(), "new_password": otherPassword}).want(t, 204, "")
	r.do("POST", "/auth/refresh", "", object{"refresh_token": refresh}).want(t, 401, "refresh_token_invalid")
	r.login("anna", otherPassword)

	// An admin's link is sent, too.
	w.exec(`UPDATE auth.links SET requested_at = requested_at - interval '1 minute'`)
	id := int64(a.body["user"].(object)["id"].(float64))
	if a := r.do("POST", fmt.Sprintf("/users/%d/password-reset", id), r.admin(), nil).want(t, 202, ""); a.text != "" {
		t.Errorf("%s", a.text)
	}
	if byAdmin := mail.wait("anna", 4); byAdmin.Event != "password_reset" || byAdmin.token() == reset.token() {
		t.Errorf("%+v", byAdmin)
	}
	waittest.Eventually(t, "the metric counts the links", func() bool {
		m := r.metrics()
		return strings.Contains(m, `auth_links_total{event="activation",outcome="sent"} 2`) && strings.Contains(m, `auth_links_total{event="password_reset",outcome="sent"} 2`)
	})
	mail.mu.Lock()
	defer mail.mu.Unlock()
	if len(mail.received) != 4 {
		t.Errorf("%d links were sent, want 4", len(mail.received))
	}
	for _, l := range mail.received {
		if strings.Contains(r.log.String(), l.token()) || w.count(`auth.activations WHERE encode(token_hash, 'escape') LIKE '%' || $1 || '%'`, l.token()) != 0 {
			t.Error("a token is in the log or stored in plain text")
		}
	}
}

// A link is tried again until the receiver takes it, each time with a new token. The
// tokens of earlier attempts stay valid, and nothing else waits for the receiver.
func TestAReceiverThatFails(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		reason string
	}{
		"answers 500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "the receiver answered 500"},
		"answers 404": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "the receiver answered 404"},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "the receiver answered 307"},
		"never answers": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "Client.Timeout exceeded"},
		"hangs up":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"sends a header without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 100<<10))
		}, "exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, mail := newWorld(t), newReceiver(t)
			mail.answers(c.answer)
			r := w.start(mail.hooked)
			r.do("POST", "/auth/register", "", object{"login": "anna", "password": goodPassword}).want(t, 201, "")
			first := mail.wait("anna", 1)
			r.login(adminLogin, adminPassword) // while the receiver may still be busy
			failed := func(n int) func() bool {
				return func() bool {
					_, after, _ := strings.Cut(r.metrics(), `auth_links_total{event="activation",outcome="failed"} `)
					count, _, _ := strings.Cut(after, "\n")
					got, err := strconv.Atoi(count)
					return err == nil && got >= n
				}
			}
			waittest.Eventually(t, "the failure is counted", failed(1))
			if log := r.log.String(); !strings.Contains(log, c.reason) || strings.Contains(log, first.token()) || strings.Contains(log, "/links") {
				t.Errorf("the log does not say %q, or contains the link or the receiver's path", c.reason)
			}
			if w.count(`auth.links WHERE due_at >= requested_at + interval '15 s'`) != 1 {
				t.Error("the second attempt is due too early")
			}
			// Two more attempts, the last of which succeeds.
			w.exec(`UPDATE auth.links SET due_at = now(), requested_at = now()`)
			second := mail.wait("anna", 2)
			waittest.Eventually(t, "the second failure is counted", failed(2))
			if w.count(`auth.links WHERE due_at >= requested_at + interval '30 s'`) != 1 {
				t.Error("the third attempt is due too early")
			}
			mail.answers(nil)
			w.exec(`UPDATE auth.links SET due_at = now()`)
			third := mail.wait("anna", 3)
			if first.ID != second.ID || second.ID != third.ID || first.Link == second.Link || second.Link == third.Link {
				t.Errorf("%+v, %+v, %+v", first, second, third)
			}
			waittest.Eventually(t, "the link is sent", func() bool { return w.unsent() == 0 })
			r.do("GET", strings.TrimPrefix(first.Link, "https://shop.example"), "", nil).want(t, 200, "")
		})
	}
}

// A replica that is dead has sent nothing for good: another one goes on.
func TestAnotherReplicaSends(t *testing.T) {
	t.Parallel()
	w, mail := newWorld(t), newReceiver(t)
	down := httptest.NewServer(nil)
	down.Close()
	first := w.start(mail.hooked, func(c *Config) { c.LinkHookURL = down.URL })
	for i := range 20 {
		first.do("POST", "/auth/register", "", object{"login": fmt.Sprint("user", i), "password": goodPassword}).want(t, 201, "")
	}
	waittest.Eventually(t, "the metric shows how long links wait", func() bool {
		_, after, found := strings.Cut(first.metrics(), "\nauth_links_oldest_unsent_seconds ")
		return found && !strings.HasPrefix(after, "0\n")
	})
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	w.exec(`UPDATE auth.links SET due_at = now()`)
	w.start(mail.hooked)
	w.start(mail.hooked)
	waittest.Eventually(t, "all links are sent", func() bool { return w.unsent() == 0 })
	for i := range 20 {
		if n := len(mail.to(fmt.Sprint("user", i))); n != 1 {
			t.Errorf("user%d got %d links, want 1", i, n)
		}
	}
}

// A link to reset a password waits neither for activation links nor for a receiver that
// is slow to take them.
func TestResetsDoNotWaitForActivations(t *testing.T) {
	t.Parallel()
	w, mail := newWorld(t), newReceiver(t)
	mail.answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	r := w.start(mail.hooked)
	w.exec(`INSERT INTO auth.users (login, password_hash, role) SELECT 'user' || n, 'x', 'user' FROM generate_series(1, 100) AS n`)
	w.exec(`INSERT INTO auth.links (user_id, event) SELECT id, 'activation' FROM auth.users WHERE password_hash = 'x'`)
	got := func(event string) bool {
		mail.mu.Lock()
		defer mail.mu.Unlock()
		return slices.ContainsFunc(mail.received, func(l sentLink) bool { return l.Event == event })
	}
	waittest.Eventually(t, "an activation link comes", func() bool { return got("activation") })
	r.do("POST", "/auth/password-reset", "", object{"login": "user1"}).want(t, 202, "")
	waittest.Eventually(t, "the link to reset the password comes", func() bool { return got("password_reset") })
	if n := w.count(`auth.links WHERE event = 'activation' AND attempts = 0`); n == 0 {
		t.Error("the link to reset the password was sent after all others")
	}
}

// A link that its user no longer expects, or has no use for, is not sent.
func TestLinksThatAreNotSent(t *testing.T) {
	t.Parallel()
	w, mail := newWorld(t), newReceiver(t)
	mail.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	r := w.start(mail.hooked)
	for _, login := range []string{"late", "active", "disabled", "forgetful"} {
		r.do("POST", "/auth/register", "", object{"login": login, "password": goodPassword}).want(t, 201, "")
		mail.wait(login, 1)
	}
	r.do("POST", "/auth/password-reset", "", object{"login": "forgetful"}).want(t, 202, "")
	mail.wait("forgetful", 2)
	waittest.Eventually(t, "all attempts have failed", func() bool {
		m := r.metrics()
		return strings.Contains(m, `auth_links_total{event="activation",outcome="failed"} 4`) && strings.Contains(m, `auth_links_total{event="password_reset",outcome="failed"} 1`)
	})
	mail.answers(nil)
	w.exec(`UPDATE auth.users SET activated_at = now() WHERE login IN ('active', 'forgetful')`)
	w.exec(`UPDATE auth.users SET disabled_at = now() WHERE login = 'disabled'`)
	w.exec(`
		UPDATE auth.links SET due_at = now(), requested_at = requested_at - CASE
			WHEN user_id NOT IN (SELECT id FROM auth.users WHERE login IN ('late', 'forgetful')) THEN interval '0'
			WHEN event = 'activation' THEN interval '48 hours' ELSE interval '1 hour' END`)
	waittest.Eventually(t, "no link waits", func() bool { return w.unsent() == 0 })
	for login, n := range map[string]int{"late": 1, "active": 1, "disabled": 1, "forgetful": 2} {
		if got := len(mail.to(login)); got != n {
			t.Errorf("%s got %d links, want %d", login, got, n)
		}
	}
	waittest.Eventually(t, "those that were too late are counted", func() bool {
		m := r.metrics()
		return strings.Contains(m, `auth_links_total{event="activation",outcome="given_up"} 2`) && strings.Contains(m, `auth_links_total{event="password_reset",outcome="given_up"} 1`)
	})
	// A disabled user's request is as good as an unknown one's.
	r.do("POST", "/auth/password-reset", "", object{"login": "disabled"}).want(t, 202, "")
	waittest.Eventually(t, "the request is dealt with", func() bool { return w.count(`auth.reset_requests`) == 0 })
	if n := w.unsent(); n != 0 {
		t.Errorf("%d links wait", n)
	}
}

// A receiver that has no use for a link refuses it for good.
func TestARefusedLink(t *testing.T) {
	t.Parallel()
	w, mail := newWorld(t), newReceiver(t)
	r := w.start(mail.hooked)
	for i, status := range []int{410, 422} {
		mail.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		login := fmt.Sprint("user", i)
		r.do("POST", "/auth/register", "", object{"login": login, "password": goodPassword}).want(t, 201, "")
		mail.wait(login, 1)
		waittest.Eventually(t, "the link is done and counted", func() bool {
			return w.unsent() == 0 && strings.Contains(r.metrics(), fmt.Sprintf(`auth_links_total{event="activation",outcome="refused"} %d`, i+1))
		})
		if want := fmt.Sprintf("it answered %d", status); !strings.Contains(r.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// An endless response does not hold the sender up: its status has said everything.
func TestAnEndlessResponse(t *testing.T) {
	t.Parallel()
	w, mail := newWorld(t), newReceiver(t)
	mail.answers(func(w http.ResponseWriter, r *http.Request) {
		for part := make([]byte, 32<<10); r.Context().Err() == nil; {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	})
	r := w.start(mail.hooked)
	began := time.Now()
	r.do("POST", "/auth/register", "", object{"login": "anna", "password": goodPassword}).want(t, 201, "")
	waittest.Eventually(t, "the link is sent", func() bool { return w.count(`auth.links WHERE due_at IS NULL`) == 1 })
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestSettingsOfTheHook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ url, secret, want string }{
		{"", "", ""}, {"https://mail.example/links", hookSecrets, ""},
		{"https://mail.example", "", "LINK_HOOK_SECRET is not"}, {"", hookSecrets, ""}, {"", "short", ""}, {"mail.example", hookSecrets, "LINK_HOOK_URL is not an http"},
		{"https://user:password@mail.example", hookSecrets, "LINK_HOOK_URL is not an http"}, {"https://mail.example", "short", "LINK_HOOK_SECRET: secret 1"},
	} {
		cfg := w.config()
		cfg.LinkHookURL, cfg.LinkHookSecret = c.url, config.Hide(c.secret)
		err := cfg.ValidateServe()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil && c.secret != "" && strings.Contains(err.Error(), c.secret) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	// Without a URL, links are in responses, and the log says why.
	r := w.start(func(c *Config) { c.LinkHookSecret = config.Hide("short") })
	if a := r.do("POST", "/auth/register", "", object{"login": "anna", "password": goodPassword}).want(t, 201, ""); a.str("activation_link") == "" {
		t.Errorf("no link in the response: %s", a.text)
	}
	if !strings.Contains(r.log.String(), "LINK_HOOK_SECRET is set, and LINK_HOOK_URL is not") {
		t.Error("the log does not say that the secret is not used")
	}
}
