package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/service/gctuning"
	"lavka/libs/service/telemetry"
)

// run runs the shop until ctx ends.
func run(ctx context.Context, cfg settings, args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	without := flags.String("without", "", "the `services` not to start, comma-separated: you start them, under a debugger for example")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("run takes no arguments, but got %q; settings are environment variables", flags.Args())
	}
	c, err := cfg.stack()
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(*without, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(c.Without, name) {
			c.Without = append(c.Without, name)
		}
	}
	if c.Log, err = telemetry.NewLogger(stack.NewLines(os.Stdout, "lavka"), "lavka", cfg.logFormat(), "info"); err != nil {
		return err
	}
	closeTraces, err := keepTraces(ctx, &c)
	if err != nil {
		return err
	}
	tools, err := newControl(ctx)
	if err != nil {
		return errors.Join(err, closeTraces())
	}
	c.Control = tools.at
	gctuning.Tune() // for the gateway, which allocates for each request and keeps little
	shop, err := stack.Start(ctx, c)
	if err != nil {
		err = errors.Join(err, tools.close(), closeTraces())
		if ctx.Err() != nil {
			return nil // stopped before it was ready, and everything is cleaned up
		}
		return err
	}
	tools.serve(ctx, shop.Restart)
	// A write that fails here (the reader of our output has gone) must not keep the shop from running.
	_, _ = fmt.Print(ready(c.Without) + welcome(ctx, cfg, shop, c.Without) + byHand(cfg, shop, c.Without) + unfinished(ctx, cfg, shop))
	<-ctx.Done()
	_, _ = fmt.Println("\nlavka is stopping …")
	return errors.Join(tools.close(), shop.Stop(), closeTraces())
}

func ready(without []string) string {
	if len(without) == 0 {
		return "lavka is ready\n"
	}
	return "lavka is ready, without " + strings.Join(without, " and ") + "\n"
}

// unfinished returns how to complete an upgrade, or "" if nothing is to be completed.
func unfinished(ctx context.Context, cfg settings, shop *stack.Stack) string {
	if closed, err := shop.Unfinished(ctx); err != nil || !closed { // where the level can't be read, the services log why
		return ""
	}
	return "The upgrade of this shop is not complete: what the release before does not understand, such as a reversal, gets 503 not_open_yet.\n" +
		"When you want to keep this release, run " + maker(cfg) + " finish. Afterwards, going back is not promised.\n\n"
}

// byHand returns instructions to start the services that were left out.
func byHand(cfg settings, shop *stack.Stack, without []string) string {
	var b strings.Builder
	for _, name := range without {
		file, err := filepath.Abs(stack.SettingsFile(cfg.Data, name))
		if err != nil {
			file = stack.SettingsFile(cfg.Data, name)
		}
		settings, err := shop.Settings(name)
		if err != nil {
			fmt.Fprintf(&b, "%s is missing, and its settings are not known: %v\n\n", name, err)
			continue
		}
		fmt.Fprintf(&b, `%[1]s is missing: its requests get 503 until you start it. From the root of the checkout:

  (set -a; . '%[2]s'; dlv debug ./services/%[1]s)

or in VS Code: "Debug %[1]s of a running shop". The limits of its database sessions are lifted. The settings in that file:

%[3]s
`, name, file, stack.Assignments(settings, "  export "))
	}
	return b.String()
}

// welcome lists the addresses, and the first commands to try.
func welcome(ctx context.Context, cfg settings, shop *stack.Stack, without []string) string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s"+format+"\n", append([]any{what}, args...)...)
	}
	b.WriteString("\n")
	line("gateway", "%s", shop.GatewayURL())
	for _, name := range stack.Services() {
		r := shop.Replicas(name)[0]
		missing := ""
		if slices.Contains(without, name) {
			missing = "   MISSING: start it yourself, see below"
		}
		line(name, "%s   (%s/readyz, /metrics; %s/%s/openapi.json)%s", r.URL(), r.InternalURL(), shop.GatewayURL(), name, missing)
	}
	line("PostgreSQL", "%s", host(shop.AdminDatabaseURL()))
	line("NATS", "%s", host(shop.NATSURL()))
	if dir, err := filepath.Abs(cfg.Data); err == nil {
		line("data", "%s   (passwords and keys: running.json)", dir)
	}
	password := "$ADMIN_PASSWORD"
	switch works := slices.Contains(without, stack.Auth) && shop.AdminPassword != "" || knows(ctx, shop); {
	case works && shop.AdminPasswordMadeUp:
		password = shop.AdminPassword
		line("admin", "login %s, password %s", shop.AdminLogin, password)
	case works:
		line("admin", "login %s, with the password in ADMIN_PASSWORD", shop.AdminLogin)
	default:
		line("admin", "login %s, with a password set earlier (not the one known here)", shop.AdminLogin)
	}
	b.WriteString(firstSteps(cfg, shop, password))
	return b.String()
}

// host returns an address without its secrets.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "at the address given" // a list of servers, for example
	}
	return u.Host
}

// knows reports whether the administrator's password works: it may have been changed since it was generated.
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
	// The session was only a test. One that stays open does no harm.
	_, _ = c.do(ctx, call{method: http.MethodPost, path: "/auth/logout", token: answer.text("access_token"), body: map[string]string{"refresh_token": answer.text("refresh_token")}})
	return true
}

// maker returns the command that runs the launcher's tools on this shop.
func maker(cfg settings) string {
	if cfg.Data == ".lavka" {
		return "make"
	}
	return "LAVKA_DATA='" + cfg.Data + "' make"
}

// firstSteps returns commands that can be pasted into a shell, more than once.
func firstSteps(cfg settings, shop *stack.Stack, adminPassword string) string {
	return strings.NewReplacer("GATEWAY", shop.GatewayURL(), "LOGIN", shop.AdminLogin, "PASSWORD", adminPassword, "MAKE", maker(cfg)).Replace(`
Paste this to try the shop (MAKE demo shows everything; MAKE seed adds data to play with):

  N=$(date +%s); J='Content-Type: application/json'
  MIRA=$(curl -sS GATEWAY/auth/register -H "$J" -d "{\"login\":\"mira$N\",\"password\":\"quiet river, tall grass\"}"); echo "$MIRA"
  curl -sS "$(echo "$MIRA" | sed 's/.*"activation_link": *"\([^"]*\)".*/\1/')"
  MAKE topup USER="$(echo "$MIRA" | sed 's/.*"id": *\([0-9]*\).*/\1/')" BILL="$N" AMOUNT=100
  TOKEN=$(curl -sS GATEWAY/auth/login -H "$J" -d "{\"login\":\"LOGIN\",\"password\":\"PASSWORD\"}" | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')
  curl -sS GATEWAY/products -H "$J" -H "Authorization: Bearer $TOKEN" -d '{"title":"Tea","description":"A tin of it","price":9.99}'
  curl -sS GATEWAY/products -H "Authorization: Bearer $TOKEN"

`)
}
