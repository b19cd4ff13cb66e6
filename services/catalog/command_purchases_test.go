package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"lavka/libs/service/config"
	"lavka/libs/service/program"
	"lavka/libs/testkit/waittest"
)

// runCommand runs the program with arguments and returns what it prints.
func runCommand(t *testing.T, cfg Config, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), cfg, args, program.Streams{In: strings.NewReader(""), Out: &out, Err: io.Discard})
	return out.String(), err
}

func TestInspectingPurchases(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, silent)
	cfg := s.settings(t)
	if out, err := runCommand(t, cfg, "purchases", "pending"); err != nil || out != "0 pending\n" {
		t.Errorf("an empty shop: %q, %v", out, err)
	}
	r := s.start(t, func(cfg *Config) { cfg.PurchaseWait = 50 * time.Millisecond })
	ann := s.token(t, 2, "user")
	tea := r.product(t, "tea", "3.50")
	a := r.send(t, ann, "POST", "/purchases", order(tea, 7), "traceparent", "00-6ebc852d0a54f1d344a408a3f8fbb310-00f067aa0ba902b7-01")
	if a.status != 202 {
		t.Fatal(a)
	}
	id := fmt.Sprint(a.body["id"])
	const span, past = `[0-9hms]+`, ` \([0-9hms]+ ago\)`
	const moment = `20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	for _, c := range []struct {
		name   string
		args   []string
		prints []string
	}{
		{"pending", []string{"pending"}, []string{
			`1 pending`,
			`purchase +age +next send +sent again +buyer +bill +amount`,
			id + ` +` + span + ` +(in ` + span + `|` + span + ` ago) +\d+ times +user 2 +7 +3\.50`,
		}},
		{"show a pending one", []string{"show", id}, []string{
			`purchase +` + id, `state +pending`, fmt.Sprintf(`product +%d "tea"`, tea), `buyer +user 2`, `bill +7`, `price +3\.50`, `quantity +1`, `amount +3\.50`,
			`created +` + moment + past, `expires +` + moment + ` \(in 1[45]m` + span + `\)`,
			`next send +` + moment + ` \(.*\)`, `sent again +\d+ times`, `trace id +[0-9a-f]{32}`,
		}},
	} {
		out, err := runCommand(t, cfg, append([]string{"purchases"}, c.args...)...)
		if err != nil || !regexp.MustCompile(`^`+strings.Join(c.prints, `\n`)+`\n$`).MatchString(out) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}

	b.decides(declined("insufficient_funds", new(int64(120))))
	waittest.Eventually(t, "the purchase is declined", func() bool {
		a = r.send(t, ann, "POST", "/purchases", order(tea, 8), "Idempotency-Key", "k")
		return a.status == 402
	})
	out, err := runCommand(t, cfg, "purchases", "show", fmt.Sprint(a.body["purchase_id"]))
	if err != nil || strings.Contains(out, "next send") {
		t.Errorf("show a declined one: %v\n%s", err, out)
	}
	for _, want := range []string{`state +declined\n`, `settled +` + moment + past + `\n`, `decline reason +insufficient_funds\n`, `balance +1\.20, when it was declined\n`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("show a declined one: no %s in\n%s", want, out)
		}
	}

	b.decides(settled)
	waittest.Eventually(t, "the purchase is completed", func() bool {
		a = r.send(t, ann, "POST", "/purchases", order(tea, 9), "Idempotency-Key", "l")
		return a.status == 201
	})
	if out, err := runCommand(t, cfg, "purchases", "show", fmt.Sprint(a.body["id"])); err != nil || !regexp.MustCompile(`\ntransaction +42\n`).MatchString(out) {
		t.Errorf("show a completed one: %v\n%s", err, out)
	}
}

func TestPendingPurchasesAreCountedBeyondThoseListed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	if _, err := s.owner.Exec(t.Context(), `
		INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, created_at, expires_at, next_send_at)
		SELECT gen_random_uuid(), 1, 1, 'tea', n, 1, now() - n * interval '1 second', now(), now() + interval '10 seconds'
		FROM generate_series(1, 130) AS n`); err != nil {
		t.Fatal(err)
	}
	out, err := runCommand(t, s.settings(t), "purchases", "pending")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 102 || lines[0] != "130 pending; the oldest 100:" || !strings.HasSuffix(lines[2], " 1.30") || !strings.HasSuffix(lines[101], " 0.31") {
		t.Errorf("%d lines, %v:\n%s", len(lines), err, out)
	}
}

func TestPurchasesCommandErrors(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const unknown = "01976b1e-0000-7000-8000-000000000001"
	for _, c := range []struct {
		args   string
		change func(*Config)
		says   string
	}{
		{"show " + unknown, nil, "no purchase has the id " + unknown},
		{"show 17", nil, `"17" is not the id of a purchase`},
		{"show {" + unknown + "}", nil, "is not the id of a purchase"},
		{"show", nil, `unknown command "purchases show"; the commands are purchases show ID, purchases pending`},
		{"show " + unknown + " now", nil, "unknown command"},
		{"pending all", nil, "unknown command"},
		{"", nil, `unknown command "purchases"; the commands are`},
		{"pending", func(cfg *Config) { cfg.DatabaseURL = config.Secret{} }, "DATABASE_URL"},
		{"pending", func(cfg *Config) { cfg.DatabaseURL = config.Hide("postgres://catalog@127.0.0.1:1/catalog") }, "the database is unreachable"},
	} {
		cfg := s.settings(t)
		if c.change != nil {
			c.change(&cfg)
		}
		out, err := runCommand(t, cfg, append([]string{"purchases"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.says) || out != "" {
			t.Errorf("purchases %s: %v, want an error that mentions %s; printed %q", c.args, err, c.says, out)
		}
	}
	if _, err := runCommand(t, s.settings(t), "sell"); err == nil || !strings.Contains(err.Error(), "purchases show ID, purchases pending") {
		t.Errorf("an unknown command does not list them: %v", err)
	}
}
