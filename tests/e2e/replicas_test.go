package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// startTwins starts a shop with two replicas of each service.
func startTwins(t *testing.T, env map[string]string) *shopUnderTest {
	t.Helper()
	return startShop(t, func(c *stack.Config) {
		c.Auth.Replicas, c.Catalog.Replicas, c.Billing.Replicas, c.Env = 2, 2, 2, env
	})
}

// door is a replica's own address, and one of its routes that needs a token.
type door struct {
	name, url, path string
	internal        string
}

// doors returns the doors of all replicas.
func (s *shopUnderTest) doors() (all []door) {
	for _, service := range stack.Services() {
		for _, r := range s.Replicas(service) {
			all = append(all, door{r.Name, r.URL(), protected[service], r.InternalURL()})
		}
	}
	return all
}

func (d door) ask(t *testing.T, u *user) answer {
	t.Helper()
	return (&client{base: d.url, token: u.token}).call(t, "GET", d.path, nil)
}

// atEachDoor calls do for every replica, all at once.
func (s *shopUnderTest) atEachDoor(do func(door)) {
	var all sync.WaitGroup
	for _, d := range s.doors() {
		all.Go(func() { do(d) })
	}
	all.Wait()
}

// span is the shortest and the longest of a set of durations.
type span struct {
	mu                sync.Mutex
	shortest, longest time.Duration
}

func (s *span) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.longest == 0 || d < s.shortest {
		s.shortest = d
	}
	s.longest = max(s.longest, d)
}

func (s *span) String() string {
	return fmt.Sprintf("%v to %v", s.shortest.Round(time.Millisecond), s.longest.Round(time.Millisecond))
}

// out waits until every replica refuses a user's token, and adds how long each of
// them took since the given time.
func (s *shopUnderTest) out(t *testing.T, u *user, since time.Time, took *span) {
	t.Helper()
	s.atEachDoor(func(d door) {
		waittest.Eventually(t, d.name+" refuses the token", func() bool {
			a := d.ask(t, u)
			if a.status == 401 && a.code() == "token_invalid" {
				took.add(time.Since(since))
				return true
			}
			return false
		})
	})
}

// in requires every replica to accept a user's new token at the first attempt.
func (s *shopUnderTest) in(t *testing.T, u *user) {
	t.Helper()
	s.atEachDoor(func(d door) {
		if a := d.ask(t, u); a.status != 200 {
			t.Errorf("%s refused a valid token: %s", d.name, a)
		}
	})
}

// Whatever revokes a token revokes it at every replica of every service. The design
// promises less than a second, which TestRevocationTakesLessThanASecond checks; this
// test only logs how long it took.
func TestEveryReplicaObeys(t *testing.T) {
	t.Parallel()
	s := startTwins(t, nil)
	role := func(command string) func(*user) {
		return func(u *user) {
			if out, err := s.Command(t.Context(), stack.Auth, "admin", command, u.login).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}
	enable := func(u *user, enabled bool) {
		s.admin.want(t, 200, "", "PATCH", fmt.Sprint("/users/", u.id), map[string]any{"enabled": enabled})
	}
	for name, change := range map[string]func(*user){
		"disabled": func(u *user) { enable(u, false) },
		"a new password": func(u *user) {
			next := "another-" + u.password
			u.want(t, 204, "", "POST", "/auth/password", map[string]any{"old_password": u.password, "new_password": next})
			u.password = next
		},
		"a password reset": func(u *user) {
			next := "another-" + u.password
			(&client{base: u.base}).want(t, 204, "", "POST", "/auth/password-reset/confirm", map[string]any{"token": s.reset(t, u), "new_password": next})
			u.password = next
		},
		"one session ended": func(u *user) { u.endSessions(t, false) },
		"others ended":      func(u *user) { u.endSessions(t, true) },
		"all sessions ended by an admin": func(u *user) {
			s.admin.want(t, 204, "", "DELETE", fmt.Sprintf("/users/%d/sessions", u.id), nil)
		},
		"an admin now":       role("grant"),
		"no longer an admin": role("revoke"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var refused, bought span
			for range 3 {
				u := s.newUser(t)
				if name == "no longer an admin" {
					role("grant")(u)
					s.out(t, u, time.Now(), new(span))
					u.logIn(t)
				}
				s.in(t, u)
				device := *u.client // which stays logged in, where sessions do
				refresh := u.refresh
				change(u)
				s.out(t, u, time.Now(), &refused)
				if name == "one session ended" || name == "others ended" {
					a := device.want(t, 200, "", "POST", "/auth/refresh", map[string]any{"refresh_token": refresh})
					device.token = a.str("access_token")
					s.in(t, &user{client: &device})
					continue
				}
				if name == "disabled" {
					old := *u.client
					enable(u, true)
					enabled := time.Now()
					u.logIn(t)
					s.in(t, u)
					s.untilUserCanBuy(t, u)
					bought.add(time.Since(enabled))
					s.atEachDoor(func(d door) {
						if a := d.ask(t, &user{client: &old}); a.status != 401 {
							t.Errorf("%s: a revoked token became valid again: %s", d.name, a)
						}
					})
					continue
				}
				u.logIn(t)
				s.in(t, u)
				s.isAdmin(t, u, name == "an admin now")
			}
			t.Logf("%s: refused by each replica after %v", name, &refused)
			if name == "disabled" {
				t.Logf("enabled: bought again after %v, including the time of two logins", &bought)
			}
		})
	}
}

// endSessions logs in at another device, whose session it ends: by its id or with all
// others. Both devices have valid tokens before, and none after.
func (u *user) endSessions(t *testing.T, others bool) {
	t.Helper()
	lost := *u
	lost.client = &client{base: u.base}
	lost.logIn(t)
	path := "/auth/sessions?others=true"
	if !others {
		a := lost.want(t, 200, "", "GET", "/auth/sessions", nil)
		path = "/auth/sessions/" + a.str("items.0.id")
		if a.str("items.0.current") != "true" || a.str("items.1.current") != "false" {
			t.Errorf("the sessions of a new device: %s", a)
		}
	}
	u.want(t, 204, "", "DELETE", path, nil)
	u.want(t, 401, "refresh_token_invalid", "POST", "/auth/refresh", map[string]any{"refresh_token": lost.refresh})
}

// isAdmin checks whether every replica lets the user use a route for admins. The
// invalid body keeps catalog's route from changing anything.
func (s *shopUnderTest) isAdmin(t *testing.T, u *user, want bool) {
	t.Helper()
	s.atEachDoor(func(d door) {
		c := &client{base: d.url, token: u.token}
		var a answer
		switch service, _, _ := strings.Cut(d.name, "-"); service {
		case stack.Auth:
			a = c.call(t, "GET", "/users", nil)
		case stack.Catalog:
			a = c.call(t, "POST", "/products", map[string]any{})
		case stack.Billing:
			a = c.call(t, "GET", "/customers", nil)
		}
		if (a.code() != "forbidden") != want || a.status == 401 {
			t.Errorf("%s: %s, want admin access: %v", d.name, a, want)
		}
	})
}

// untilUserCanBuy waits until billing, too, knows that a user is active.
func (s *shopUnderTest) untilUserCanBuy(t *testing.T, u *user) {
	t.Helper()
	product, bill := s.product(t, "a bell", "1"), s.bill(t, u, "1000")
	waittest.Eventually(t, "the user can buy", func() bool {
		a := u.call(t, "POST", "/purchases", purchaseOf(product, bill))
		if a.status != 201 && a.code() != "user_disabled" {
			t.Errorf("%s", a)
		}
		return a.status == 201
	})
}
