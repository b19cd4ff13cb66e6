package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/host/freeport"
	"lavka/libs/testkit/waittest"
)

// NATS is down while a user is disabled and while replicas start. Without NATS, the
// new replicas are not ready, since the others can check tokens, and answer that they
// are starting. When NATS comes back, with its store or
// without, they still refuse the user before auth has published what happened.
func TestANewReplicaRefusesADisabledUser(t *testing.T) {
	t.Parallel()
	s := startTwins(t, nil)
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("store lost: %v", lost), func(t *testing.T) {
			u, out := s.newUser(t), s.newUser(t)
			bill := s.bill(t, u, "10")
			s.NATS().Stop()
			known := &client{base: s.Replicas(stack.Auth)[0].URL(), token: s.adminToken(t)}
			known.want(t, 200, "", "PATCH", fmt.Sprint("/users/", out.id), map[string]any{"enabled": false})
			newcomers := s.relaunchSeconds(t)
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

// relaunchSeconds restarts the second replica of each service, and waits until they serve.
func (s *shopUnderTest) relaunchSeconds(t *testing.T) (newcomers []door) {
	t.Helper()
	var restarts sync.WaitGroup
	for _, service := range stack.Services() {
		r := s.Replicas(service)[1]
		newcomers = append(newcomers, door{r.Name, r.URL(), protected[service], r.InternalURL()})
		restarts.Go(func() {
			if err := errors.Join(r.Stop(), r.Launch()); err != nil {
				t.Error(err)
			}
			waittest.Eventually(t, r.Name+" serves", func() bool {
				_, err := (&client{base: r.InternalURL()}).plain(t.Context(), "/livez")
				return err == nil
			})
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
		unable(t, d.internal, "NATS")
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
	s.inWithoutNATS(t, out)
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
	s.inWithoutNATS(t, u)
	must(t, s.NATS().Start())
	back := time.Now()
	s.out(t, u, back, &refused)
	if time.Since(disabled) > lifetime {
		t.Errorf("refused %v after the user was disabled: the token may simply have expired", time.Since(disabled))
	}
	t.Logf("NATS back: refused by each replica after %v", &refused)
}

// inWithoutNATS requires catalog and billing to accept a disabled user's token, which
// is the cost of doing without NATS, and auth to refuse it: auth has its database.
func (s *shopUnderTest) inWithoutNATS(t *testing.T, u *user) {
	t.Helper()
	s.atEachDoor(func(d door) {
		want := 200
		if strings.HasPrefix(d.name, stack.Auth) {
			want = 401
		}
		if a := d.ask(t, u); a.status != want {
			t.Errorf("%s: %s, want %d", d.name, a, want)
		}
	})
}

// unable requires a replica to be unready because another one can do its work and it
// can't, and to say why.
func unable(t *testing.T, internal, why string) {
	t.Helper()
	var a answer
	waittest.Eventually(t, "/readyz gives the reason: "+why, func() bool {
		var err error
		a, err = (&client{base: internal}).plain(t.Context(), "/readyz")
		return err == nil && a.status == 503 && a.code() == "unable" && strings.Contains(a.str("detail"), why)
	})
}

// A replica that can't do its work is not ready while another one can, whatever the
// reason, and its requests go to the others.
func TestUnableReplicas(t *testing.T) {
	t.Parallel()
	s := startTwins(t, nil)
	u := s.newUser(t)
	bill, product := s.bill(t, u, "10"), s.product(t, "a bell", "1")
	for name, c := range map[string]struct{ service, setting, value, why string }{
		"a wrong NATS password":  {stack.Catalog, "NATS_URL", strings.Replace(s.NATSURL(), "operator:", "catalog:", 1), "Authorization"},
		"no keys":                {stack.Catalog, "JWKS_URL", "http://127.0.0.1:1/keys", "auth's keys"},
		"copies of the stream":   {stack.Billing, "NATS_STREAM_REPLICAS", "3", "stream PURCHASES"},
		"its own wrong password": {stack.Auth, "NATS_URL", strings.Replace(s.NATSURL(), "operator:", "auth:", 1), "Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			replica := s.beside(t, s.binaryOf(c.service), c.service, map[string]string{c.setting: c.value})
			unable(t, replica.internal, c.why)
		})
	}
	u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
}

func (s *shopUnderTest) binaryOf(service string) string { return filepath.Join(binDir, service) }

// withPortsOfItsOwn prepares a further process of a service: its ports are free ones, and
// its other settings those of env, if given. It returns its addresses for clients and for
// probes.
func withPortsOfItsOwn(t *testing.T, cmd *exec.Cmd, env map[string]string) (clients, internal string) {
	t.Helper()
	cmd.WaitDelay = time.Second
	for name, addr := range map[string]*string{"HTTP_ADDR": &clients, "INTERNAL_ADDR": &internal} {
		port, err := freeport.Take()
		must(t, err)
		*addr = fmt.Sprintf("127.0.0.1:%d", port)
		cmd.Env = append(cmd.Env, name+"="+*addr)
	}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return clients, internal
}

// process is a further process of a service.
type process struct {
	cmd           *exec.Cmd
	url, internal string // for clients, and of the probes
}

// beside starts a further process of a service with the shop's settings, except for env.
// It ends with the test.
func (s *shopUnderTest) beside(t *testing.T, binary, service string, env map[string]string) *process {
	t.Helper()
	cmd := s.Command(t.Context(), service)
	cmd.Path = binary
	clients, internal := withPortsOfItsOwn(t, cmd, env)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()         // killed
	})
	return &process{cmd, "http://" + clients, "http://" + internal}
}

// awaitReady waits until the process is ready.
func (p *process) awaitReady(t *testing.T) *process {
	t.Helper()
	waittest.Eventually(t, p.cmd.Path+" is ready", func() bool {
		a, err := (&client{base: p.internal}).plain(t.Context(), "/readyz")
		return err == nil && a.status == 200
	})
	return p
}

// stop ends the process as an upgrade does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	must(t, p.cmd.Wait())
}

// asOwner returns a command of a service that works as the owner of its schema.
func (s *shopUnderTest) asOwner(t *testing.T, service string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), filepath.Join(binDir, service), args...)
	cmd.Env = append(os.Environ(), "MIGRATE_DATABASE_URL="+s.DatabaseURL(service+"_owner"))
	return cmd
}
