package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// patience bounds every wait of the demo and of seed until a change in one service has reached another.
const patience = 10 * time.Second

// story is one run of the demo.
type story struct {
	target
	adminToken     string
	mira           credentials
	link           string
	userID         string
	token          string
	bill           string
	payment        string
	product        string
	purchase       string // the one that was completed
	refunded       bool
	chapter, calls int
}

// demo plays the whole story against a running shop, and fails at the first response that is not as expected.
func demo(ctx context.Context, cfg settings, args []string) error {
	to, err := parseTarget(cfg, "demo", args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	s := &story{target: to}
	s.show = os.Stdout
	s.mira = credentials{"mira-" + strings.ToLower(rand.Text()[:8]), "quiet river, tall grass"}
	for _, chapter := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Mira registers; she can't log in until she has activated her account", s.register},
		{"She activates it and logs in", s.activate},
		{"The payment provider tops up her bill; a forged signature is refused, and a repeated payment is credited once", s.pay},
		{"The administrator puts a samovar on sale", s.stock},
		{"Mira looks at the products", s.browse},
		{"She buys it; repeating the request with the same key buys nothing more, and she finds the purchase by its key", s.buy},
		{"Her balance is too low for a second one", s.declined},
		{"There is one left; she can't buy two", s.soldOut},
		{"Her history", s.history},
		{"What the administrator sees about her", s.customers},
		{"The administrator gives back a part of the price; repeating the request gives back nothing more", s.refund},
		{"The payment provider takes the payment back, most of which she has spent; her bill does not go below zero", s.reverse},
		{"She has lost her phone, and ends its session from her laptop, which goes on after a refresh", s.lostPhone},
		{"She has forgotten her password; the administrator gives her a link with which she sets a new one", s.forgotten},
		{"The administrator disables her; her token is refused from then on", s.disable},
		{"The administrator takes the samovar off sale, and orders are refused from then on; then it is deleted", s.clearShelf},
	} {
		s.chapter++
		if _, err := fmt.Printf("%d. %s\n\n", s.chapter, chapter.title); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		if err := chapter.tell(ctx); err != nil {
			return fmt.Errorf("the demo failed in step %d (%s): %w", s.chapter, chapter.title, err)
		}
	}
	_, err = fmt.Printf("That was the whole story: %d requests, and every response was as expected.\n", s.calls)
	return err
}

// expect sends a request, and fails unless the response has the given status and, for a problem, the given code.
func (s *story) expect(ctx context.Context, status int, code string, c call) (answer, error) {
	a, err := s.do(ctx, c)
	s.calls++
	if err != nil {
		return a, err
	}
	if a.status != status || a.text("code") != code {
		return a, fmt.Errorf("%s %s: the response is %d %s, want %d %s", c.method, c.path, a.status, a.text("code"), status, code)
	}
	return a, nil
}

// ifOpen sends a request for a kind of row that the release before does not know. Where the upgrade of the shop is not complete it says that
// the step is left out, and reports false.
func (s *story) ifOpen(ctx context.Context, c call) (a answer, open bool, err error) {
	a, err = s.do(ctx, c)
	if err != nil {
		return a, false, err
	}
	if a.text("code") == "not_open_yet" {
		return a, false, s.leaveOut("the upgrade of this shop is not complete")
	}
	s.calls++
	return a, true, nil
}

func (s *story) leaveOut(why string) error {
	_, err := fmt.Fprintf(s.show, "  (left out: %s)\n\n", why)
	return err
}

// await repeats a request until the response is as expected: a change takes a moment to reach the other services.
func (s *story) await(ctx context.Context, status int, code string, c call) (answer, time.Duration, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var said strings.Builder // only the last attempt is printed
		attempt := s.client
		attempt.show = &said
		a, err := attempt.do(ctx, c)
		if err != nil {
			return a, 0, err
		}
		if a.status == status && a.text("code") == code {
			s.calls++
			_, err := fmt.Fprint(s.show, said.String())
			return a, time.Since(begin), err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return a, 0, fmt.Errorf("%s %s: after %[5]v the response is still %[3]d %[4]s, want %[6]d %[7]s", c.method, c.path, a.status, a.text("code"), patience, status, code)
		}
	}
}

// same returns an error unless got equals want.
func same(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s is %q, want %q", what, got, want)
	}
	return nil
}

func (s *story) register(ctx context.Context) error {
	a, err := s.expect(ctx, http.StatusCreated, "", call{method: http.MethodPost, path: "/auth/register", body: s.mira})
	if err != nil {
		return err
	}
	s.userID = textOf(a.object("user")["id"])
	s.link = a.text("activation_link")
	if err := same("her status", textOf(a.object("user")["status"]), "inactive"); err != nil {
		return err
	}
	_, err = s.expect(ctx, http.StatusForbidden, "user_inactive", call{method: http.MethodPost, path: "/auth/login", body: s.mira})
	return err
}

func (s *story) activate(ctx context.Context) error {
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: s.link})
	if err != nil {
		return err
	}
	if err := same("her status", textOf(a.object("user")["status"]), "active"); err != nil {
		return err
	}
	if s.token, err = s.login(ctx, s.mira); err != nil {
		return err
	}
	a, err = s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/users/me", token: s.token})
	if err != nil {
		return err
	}
	return same("her id", a.text("id"), s.userID)
}

func (s *story) login(ctx context.Context, who credentials) (string, error) {
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodPost, path: "/auth/login", body: who})
	return a.text("access_token"), err
}
