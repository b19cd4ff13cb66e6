package e2e

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// NATS is down while a user is disabled and while replicas start. Without NATS, the
// new replicas answer that they are starting. When NATS comes back, with its store or
// without, they still refuse the user before auth has published what happened.
func TestANewcomerLetsNobodyIn(t *testing.T) {
	t.Parallel()
	s := startTwins(t, nil)
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("store lost: %v", lost), func(t *testing.T) {
			u, out := s.newUser(t), s.newUser(t)
			bill := s.bill(t, u, "10")
			s.NATS().Stop()
			known := &client{base: s.Replicas(stack.Auth)[0].URL(), token: s.admin.token}
			known.want(t, 200, "", "PATCH", fmt.Sprint("/users/", out.id), map[string]any{"enabled": false})
			newcomers := s.restartSeconds(t)
			s.starting(t, u, bill, newcomers)

			for _, r := range s.Replicas(stack.Auth) {
				must(t, r.Signal(syscall.SIGSTOP))
			}
			if lost {
				must(t, s.NATS().Wipe())
			}
			must(t, s.NATS().Start())
			// Longer than a listener's longest backoff, so that it has retried by then.
			s.watch(t, out, newcomers[1:], func(d door, since time.Time) bool {
				return connected(t, d) && time.Since(since) > 3*time.Second
			})
			for _, r := range s.Replicas(stack.Auth) {
				must(t, r.Signal(syscall.SIGCONT))
			}
			s.watch(t, out, newcomers, func(d door, _ time.Time) bool { return d.ask(t, u).status == 200 })
			s.out(t, out, time.Now(), new(span))
			if b := u.balance(t, bill); b != "15" {
				t.Errorf("balance %s", b)
			}
		})
	}
}

// restartSeconds restarts the second replica of each service.
func (s *shopUnderTest) restartSeconds(t *testing.T) (newcomers []door) {
	t.Helper()
	var restarts sync.WaitGroup
	for _, service := range stack.Services() {
		r := s.Replicas(service)[1]
		newcomers = append(newcomers, door{r.Name, r.URL(), protected[service], r.InternalURL()})
		restarts.Go(func() {
			if err := r.Restart(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	restarts.Wait()
	return newcomers
}

// starting requires new replicas without NATS to refuse every token with "starting",
// and to serve everything that needs no token.
func (s *shopUnderTest) starting(t *testing.T, u *user, bill int64, newcomers []door) {
	t.Helper()
	for _, d := range newcomers {
		if a := d.ask(t, u); a.status != 503 || a.code() != "starting" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s without NATS: %s %v", d.name, a, a.header)
		}
		service, _, _ := strings.Cut(d.name, "-")
		(&client{base: d.url}).want(t, 200, "", "GET", "/"+service+"/openapi.json", nil)
	}
	auth := &client{base: newcomers[0].url}
	auth.want(t, 200, "", "POST", "/auth/login", map[string]any{"login": u.login, "password": u.password})
	auth.want(t, 200, "", "GET", "/.well-known/jwks.json", nil)
	auth.want(t, 200, "", "GET", strings.TrimPrefix(u.activation, s.GatewayURL()), nil)
	billing := &client{base: newcomers[2].url}
	billing.want(t, 200, "", "POST", "/payment/webhook", s.payment(newPayment(), u.id, bill, "5"))
}

// watch keeps sending a disabled user's requests to replicas until done returns true
// for each. No replica may accept one.
func (s *shopUnderTest) watch(t *testing.T, out *user, doors []door, done func(door, time.Time) bool) {
	t.Helper()
	start := time.Now()
	var all sync.WaitGroup
	for _, d := range doors {
		all.Go(func() {
			let, asked := 0, 0
			waittest.Eventually(t, d.name+" has been watched for long enough", func() bool {
				asked++
				if a := d.ask(t, out); a.status != 401 && a.code() != "starting" {
					let++
				}
				return done(d, start)
			})
			if a := d.ask(t, out); a.status != 401 && a.code() != "starting" {
				let++
			}
			if let > 0 {
				t.Errorf("%s accepted a disabled user's token in %d of %d requests", d.name, let, asked)
			}
		})
	}
	all.Wait()
}

// connected reports whether a replica is connected to NATS.
func connected(t *testing.T, d door) bool {
	t.Helper()
	a, err := (&client{base: d.internal}).plain(t.Context(), "/metrics")
	return err == nil && strings.Contains(string(a.body), "\nnats_connected 1\n")
}

// NATS goes down and stays down: the services continue with the versions that they
// know. A disabled user can use a token until it expires; auth, which has its
// database, issues no other. The test logs how long that takes.
func TestWhatAnAbsentNATSCosts(t *testing.T) {
	t.Parallel()
	const lifetime = 20 * time.Second
	s := startTwins(t, map[string]string{"TOKEN_LIFETIME": lifetime.String()})
	disable := func(u *user) time.Time {
		must(t, s.loginAdmin()) // the admin's token expires as soon
		s.admin.want(t, 200, "", "PATCH", fmt.Sprint("/users/", u.id), map[string]any{"enabled": false})
		return time.Now()
	}
	u, out := s.newUser(t), s.newUser(t)
	s.in(t, out)
	s.NATS().Stop()
	out.logIn(t)
	born := time.Now()
	disabled := disable(out)
	out.want(t, 403, "user_disabled", "POST", "/auth/login", map[string]any{"login": out.login, "password": out.password})
	out.want(t, 401, "refresh_token_invalid", "POST", "/auth/refresh", map[string]any{"refresh_token": out.refresh})
	s.in(t, out) // the cost of doing without NATS
	var served, refused span
	s.out(t, out, disabled, &served)
	if over := time.Since(born) - lifetime; over > lifetime/2 {
		t.Errorf("a disabled user was served until %v after the token had expired", over)
	}
	t.Logf("NATS down, token lifetime %v: each replica refused the disabled user after %v", lifetime, &served)

	// Active users are served without NATS and after its return.
	a := u.want(t, 200, "", "POST", "/auth/refresh", map[string]any{"refresh_token": u.refresh})
	u.token = a.str("access_token")
	s.in(t, u)
	disabled = disable(u)
	s.in(t, u)
	must(t, s.NATS().Start())
	back := time.Now()
	s.out(t, u, back, &refused)
	if time.Since(disabled) > lifetime {
		t.Errorf("refused %v after the user was disabled: the token may simply have expired", time.Since(disabled))
	}
	t.Logf("NATS back: refused by each replica after %v", &refused)
}
