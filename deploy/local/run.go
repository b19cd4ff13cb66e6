package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/service/telemetry"
)

// run keeps the shop open until ctx ends.
func run(ctx context.Context, cfg settings, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("run takes no arguments, and got %q; settings are environment variables", args)
	}
	c, err := cfg.stack()
	if err != nil {
		return err
	}
	if c.Log, err = telemetry.NewLogger(stack.NewLines(os.Stdout, "lavka"), "lavka", cfg.logFormat(), "info"); err != nil {
		return err
	}
	closeTraces, err := keepTraces(ctx, &c)
	if err != nil {
		return err
	}
	shop, err := stack.Start(ctx, c)
	if err != nil {
		err = errors.Join(err, closeTraces())
		if ctx.Err() != nil {
			return nil // stopped before it had opened, and all is cleared up
		}
		return err
	}
	// A write that fails here (nobody reads us) must not keep the shop from running.
	_, _ = fmt.Print("lavka is ready\n" + welcome(ctx, cfg, shop))
	<-ctx.Done()
	_, _ = fmt.Println("\nlavka stops …")
	return errors.Join(shop.Stop(), closeTraces())
}

// welcome says what is where, and how to begin.
func welcome(ctx context.Context, cfg settings, shop *stack.Stack) string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s"+format+"\n", append([]any{what}, args...)...)
	}
	b.WriteString("\n")
	line("gateway", "%s", shop.GatewayURL())
	for _, name := range stack.Services() {
		r := shop.Replicas(name)[0]
		line(name, "%s   (%s/readyz, /metrics; %s/%s/openapi.json)", r.URL(), r.InternalURL(), shop.GatewayURL(), name)
	}
	line("PostgreSQL", "%s", host(shop.AdminDatabaseURL()))
	line("NATS", "%s", host(shop.NATSURL()))
	if dir, err := filepath.Abs(cfg.Data); err == nil {
		line("data", "%s   (passwords and keys: running.json)", dir)
	}
	password := "$ADMIN_PASSWORD"
	switch works := knows(ctx, shop); {
	case works && shop.AdminPasswordMadeUp:
		password = shop.AdminPassword
		line("admin", "login %s, password %s", shop.AdminLogin, password)
	case works:
		line("admin", "login %s, with the password that you gave", shop.AdminLogin)
	default:
		line("admin", "login %s, with the password of an earlier time (it is not the one known here)", shop.AdminLogin)
	}
	b.WriteString(firstSteps(cfg, shop, password))
	return b.String()
}

// host leaves out what is secret in an address.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "at the address given" // a list of servers, say
	}
	return u.Host
}

// knows tries the administrator's password: it may have been changed since it was made up.
func knows(ctx context.Context, shop *stack.Stack) bool {
	if shop.AdminPassword == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := client{base: shop.GatewayURL()}
	answer, err := c.do(ctx, call{method: http.MethodPost, path: "/auth/login", body: credentials{shop.AdminLogin, shop.AdminPassword}})
	if err != nil || answer.status != http.StatusOK {
		return false
	}
	// The session was only a question. One that stays open is no harm.
	_, _ = c.do(ctx, call{method: http.MethodPost, path: "/auth/logout", token: answer.text("access_token"), body: map[string]string{"refresh_token": answer.text("refresh_token")}})
	return true
}

// firstSteps can be pasted into a shell, more than once.
func firstSteps(cfg settings, shop *stack.Stack, adminPassword string) string {
	tools := "make"
	if cfg.Data != ".lavka" {
		tools = "LAVKA_DATA='" + cfg.Data + "' make"
	}
	return strings.NewReplacer("GATEWAY", shop.GatewayURL(), "LOGIN", shop.AdminLogin, "PASSWORD", adminPassword, "MAKE", tools).Replace(`
Paste this to begin (and see MAKE demo for the whole story):

  N=$(date +%s); J='Content-Type: application/json'
  MIRA=$(curl -sS GATEWAY/auth/register -H "$J" -d "{\"login\":\"mira$N\",\"password\":\"quiet river, tall grass\"}"); echo "$MIRA"
  curl -sS "$(echo "$MIRA" | sed 's/.*"activation_link": *"\([^"]*\)".*/\1/')"
  MAKE topup USER="$(echo "$MIRA" | sed 's/.*"id": *\([0-9]*\).*/\1/')" BILL="$N" AMOUNT=100
  TOKEN=$(curl -sS GATEWAY/auth/login -H "$J" -d "{\"login\":\"LOGIN\",\"password\":\"PASSWORD\"}" | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')
  curl -sS GATEWAY/products -H "$J" -H "Authorization: Bearer $TOKEN" -d '{"title":"Tea","description":"A tin of it","price":9.99}'
  curl -sS GATEWAY/products -H "Authorization: Bearer $TOKEN"

`)
}
