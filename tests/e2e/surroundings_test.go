package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// hostile returns variables that libraries read on their own, with values that would
// show, and the requests that a proxy among them got.
func hostile(t *testing.T) (env map[string]string, proxied *atomic.Int64) {
	t.Helper()
	proxied = new(atomic.Int64)
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	t.Cleanup(proxy.Close)
	home := t.TempDir()
	for file, text := range map[string]string{
		".pgpass": "*:*:*:*:poison\n", ".pg_service.conf": "[poison]\nhost=192.0.2.1\n",
		".postgresql/root.crt": "poison", ".postgresql/postgresql.crt": "poison", ".postgresql/postgresql.key": "poison",
	} {
		file = filepath.Join(home, file)
		must(t, os.MkdirAll(filepath.Dir(file), 0o700))
		must(t, os.WriteFile(file, []byte(text), 0o600))
	}
	env = map[string]string{"HOME": home}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		env[name] = proxy.URL
	}
	for _, name := range []string{
		"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGSSLMODE", "PGSSLKEY", "PGSSLCERT",
		"PGSSLCERTMODE", "PGSSLSNI", "PGSSLROOTCERT", "PGSSLPASSWORD", "PGSSLNEGOTIATION", "PGTARGETSESSIONATTRS", "PGSERVICE", "PGSERVICEFILE", "PGTZ",
		"PGOPTIONS", "PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION", "PGCHANNELBINDING", "PGREQUIREAUTH", "PGDATA", "PGCLIENTENCODING",
		"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS",
		"OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_PROPAGATORS", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
		"OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_CONFIG_FILE", "OTEL_GO_X_OBSERVABILITY", "LOCALDOMAIN", "RES_OPTIONS",
	} {
		env[name] = "poison"
	}
	env["OTEL_BSP_MAX_QUEUE_SIZE"] = "-1"
	return env, proxied
}

// Every program works, whatever variables and files its libraries would follow.
func TestTheSurroundingsDoNotDecide(t *testing.T) {
	t.Parallel()
	env, proxied := hostile(t)
	s := startShop(t, func(c *stack.Config) { c.Env = env })
	u := s.newUser(t)
	bill, product := s.bill(t, u, "10"), s.product(t, "a bell", "1")
	u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
	for _, command := range [][]string{{stack.Auth, "admin", "list"}, {stack.Billing, "verify"}, {stack.Catalog, "healthcheck"}, {stack.Catalog, "migrate"}} {
		cmd := s.Command(t.Context(), command[0], command[1:]...)
		if command[1] == "migrate" {
			cmd.Env = append(cmd.Env, "MIGRATE_DATABASE_URL="+s.DatabaseURL("catalog_owner"))
		}
		if out, err := cmd.CombinedOutput(); err != nil && command[1] != "admin" {
			t.Errorf("%v: %v: %s", command, err, out)
		}
	}
	output, err := os.ReadFile(s.output)
	must(t, err)
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_BSP_MAX_QUEUE_SIZE"} {
		if !strings.Contains(string(output), name) {
			t.Errorf("no warning about %s", name)
		}
	}
	if n := proxied.Load(); n > 0 {
		t.Errorf("a proxy got %d requests", n)
	}
}

// So does the launcher, and what it starts.
func TestTheLaunchersSurroundingsDoNotDecide(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(bin, "lavka"), "./local")
	build.Dir = filepath.Join(root, "deploy")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the launcher: %v: %s", err, out)
	}
	for _, service := range stack.Services() {
		must(t, os.Symlink(filepath.Join(binDir, service), filepath.Join(bin, service)))
	}
	env, proxied := hostile(t)
	env["LAVKA_DATA"] = filepath.Join(t.TempDir(), "data")
	env["LAVKA_NATS_PORT"], env["LAVKA_POSTGRES_PORT"] = "0", "0"
	for _, name := range []string{"GATEWAY", "AUTH", "CATALOG", "BILLING", "AUTH_INTERNAL", "CATALOG_INTERNAL", "BILLING_INTERNAL"} {
		env["LAVKA_"+name+"_ADDR"] = "127.0.0.1:0"
	}
	launch := func(ctx context.Context, out *waittest.Text, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "lavka"), args...)
		cmd.Stdout, cmd.Stderr = out, out
		cmd.Env = os.Environ()
		for name, value := range env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		return cmd
	}
	var out waittest.Text
	shop := launch(t.Context(), &out, "run")
	must(t, shop.Start())
	ended := make(chan error, 1)
	go func() { ended <- shop.Wait() }()
	waittest.Eventually(t, "the launcher is ready or has ended", func() bool {
		return strings.Contains(out.String(), "lavka is ready\n") || len(ended) > 0
	})
	if len(ended) > 0 {
		t.Fatalf("the launcher ended: %s", out.String())
	}
	for _, tool := range []string{"demo", "verify"} {
		var said waittest.Text
		if err := launch(t.Context(), &said, tool).Run(); err != nil {
			t.Errorf("lavka %s: %v: %s", tool, err, said.String())
		}
	}
	must(t, shop.Process.Signal(syscall.SIGTERM))
	if err := <-ended; err != nil {
		t.Errorf("the launcher ended with %v: %s", err, out.String())
	}
	if n := proxied.Load(); n > 0 {
		t.Errorf("a proxy got %d requests", n)
	}
}
