package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
)

// ask pretends that shop is running, and restarts a service of it.
func ask(t *testing.T, shop stack.Shop, args ...string) error {
	t.Helper()
	dir := t.TempDir()
	cfg := pretend(t, dir)
	text, err := json.Marshal(shop)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "running.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return restart(t.Context(), cfg, args)
}

func TestRestartAsksTheLauncher(t *testing.T) {
	t.Parallel()
	bin, err := binDir()
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c, err := newControl(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.serve(ctx, func(_ context.Context, service string) error {
		if asked = append(asked, service); service == stack.Catalog {
			return errors.New("catalog has no legs")
		}
		return nil
	})
	shop := stack.Shop{BinDir: bin, Control: c.at}
	if err := errors.Join(ask(t, shop, "billing"), ask(t, shop, "--check", "auth")); err != nil {
		t.Error(err)
	}
	forged := stack.Control{URL: c.at.URL, Token: "guessed"}
	for want, err := range map[string]error{
		"catalog was not restarted: catalog has no legs":                    ask(t, shop, "catalog"),
		`unknown service "biling"; the services are auth, catalog, billing`: ask(t, shop, "biling"),
		`unknown service ""`:                       ask(t, shop),
		`unknown service "auth billing"`:           ask(t, shop, "auth", "billing"),
		"runs from the binaries in /elsewhere":     ask(t, stack.Shop{BinDir: "/elsewhere", Control: c.at}, "--check", "auth"),
		"the token is not the one in running.json": ask(t, stack.Shop{BinDir: bin, Control: forged}, "auth"),
		"no shop is running":                       restart(t.Context(), settings{Data: t.TempDir()}, []string{"auth"}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if got := strings.Join(asked, " "); got != "billing catalog" && got != "catalog billing" {
		t.Errorf("the launcher got requests for %s", got)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	if err := ask(t, shop, "auth"); err == nil || !strings.Contains(err.Error(), "the launcher does not respond") {
		t.Errorf("the launcher has ended: %v", err)
	}
}
