package routes

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"lavka/libs/service/httpserver"
)

// A gateway closes an idle connection to a service before the service does: a request on a connection that the service is closing would be lost. The launcher's
// gateway has a test of its own.
func TestGatewaysCloseIdleConnectionsFirst(t *testing.T) {
	t.Parallel()
	const caddyfile, policies = "../../deploy/gateway/Caddyfile", "../../deploy/k8s/components/gateway/limits.yaml"
	for file, setting := range map[string]string{caddyfile: `(?m)^\s+keepalive (\S+)$`, policies: `connectionIdleTimeout: (\w+)`} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(setting).FindAllStringSubmatch(string(text), -1)
		if want := max(1, strings.Count(string(text), "kind: BackendTrafficPolicy")); len(found) != want {
			t.Errorf("%s sets the time that idle connections to a service stay open %d times, want %d", file, len(found), want)
		}
		for _, match := range found {
			if keeps, err := time.ParseDuration(match[1]); err != nil || keeps <= 0 || keeps >= httpserver.IdleTimeout {
				t.Errorf("%s keeps idle connections for %s, and a service for %v: %v", file, match[1], httpserver.IdleTimeout, err)
			}
		}
	}
}

// The services believe Caddy alone, so it passes on the client's address, and never a list that clients may have begun.
func TestCaddyTellsTheClientsAddress(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/gateway/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"header_up X-Forwarded-For {client_ip}", "trusted_proxies static {$LAVKA_GATEWAY_TRUSTED_PROXIES}", "trusted_proxies_strict"} {
		if !strings.Contains(string(text), "\t"+line+"\n") {
			t.Errorf("the Caddyfile does not have %q", line)
		}
	}
}
