package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/testkit/waittest"
)

// sentLink is what the hook's receiver gets.
type sentLink struct{ Event, Login, Link string }

// A shop that sends links shows them to the receiver alone: not in responses, logs,
// traces, metrics and tables.
func TestLinksGoToTheirUsersAlone(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secrets.keep("the hook's secret", secret)
	keys, err := standardwebhooks.ParseKeys(secret)
	must(t, err)
	verifier := standardwebhooks.New(keys, time.Now)
	sent := make(chan sentLink, 10)
	failing := true // the first attempt
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender has given up
		}
		var link sentLink
		if err := json.Unmarshal(body, &link); err != nil || verifier.Verify(r.Header, body) != nil {
			t.Errorf("%s: %v, %v", body, err, verifier.Verify(r.Header, body))
		}
		secrets.keep("the token of a link", link.Link[strings.LastIndexAny(link.Link, "/=")+1:])
		if failing {
			failing = false
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		sent <- link
	}))
	t.Cleanup(receiver.Close)
	s, _ := traced(t, func(c *stack.Config) {
		c.Env["LOG_LEVEL"] = "debug"
		c.Auth.Env = map[string]string{"LINK_HOOK_URL": receiver.URL, "LINK_HOOK_SECRET": secret, "PASSWORD_RESET_URL": "https://front.example/new-password"}
	})
	next := func(event, prefix string) string {
		t.Helper()
		var link sentLink
		waittest.Eventually(t, "the receiver gets a link", func() bool {
			select {
			case link = <-sent:
				return true
			default:
				return false
			}
		})
		token, ok := strings.CutPrefix(link.Link, prefix)
		if link.Event != event || link.Login != "mira" || !ok {
			t.Errorf("%+v", link)
		}
		return token
	}
	mira := &user{client: &client{base: s.GatewayURL()}, login: "mira", password: password}
	a := mira.want(t, 201, "", "POST", "/auth/register", map[string]any{"login": mira.login, "password": mira.password})
	if mira.id = a.int("user.id"); a.str("activation_link") != "" {
		t.Errorf("%s", a)
	}
	mira.want(t, 200, "", "POST", "/auth/activate", map[string]any{"token": next("activation", s.GatewayURL()+"/auth/activate/")})
	mira.logIn(t)
	(&client{base: s.GatewayURL()}).want(t, 202, "", "POST", "/auth/password-reset", map[string]any{"login": "MIRA"})
	token := next("password_reset", "https://front.example/new-password#token=")
	mira.want(t, 204, "", "POST", "/auth/password-reset/confirm", map[string]any{"token": token, "new_password": "quite-another-battery-staple-79"})
	s.untilRefused(t, mira)
	must(t, s.keptToItself(t.Context()))
}
