package e2e

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// canaries are the parts of the passwords used here. No output may contain any part of one.
var canaries = []string{"CanaryAmber17", "CanaryBeryl28", "CanaryCoral39"}

// failure is a start that is expected to fail.
type failure struct {
	service string
	args    string
	env     map[string]string
	stdin   string
	says    string // the output that shows the failure, alternatives separated by |; a service that keeps running is then stopped
}

// Whatever is wrong with a setting, the output about it contains no secrets.
func TestFailuresShowNoSecrets(t *testing.T) {
	t.Parallel()
	for _, c := range canaries {
		secrets.keep("a canary", c)
	}
	failures := wrongSettings(t)
	for service, commands := range map[string][]string{stack.Auth: {"admin grant anna"}, stack.Catalog: nil, stack.Billing: {"verify", "payments refused", "messages rejected"}} {
		for what, u := range wrongURLs(t, shop.DatabaseURL(service)) {
			name := service + " with " + what
			failures[name+" in DATABASE_URL"] = failure{service: service, env: map[string]string{"DATABASE_URL": u}, says: "DATABASE_URL|not ready"}
			failures[name+" in MIGRATE_DATABASE_URL"] = failure{service: service, args: "migrate", env: map[string]string{"MIGRATE_DATABASE_URL": u}, says: service + ": "}
			for _, command := range commands {
				failures[command+" of "+name] = failure{service: service, args: command, env: map[string]string{"DATABASE_URL": u}, says: service + ": "}
			}
		}
	}
	for what, u := range wrongURLs(t, shop.NATSURL()) {
		failures["NATS_URL with "+what] = failure{service: stack.Billing, env: map[string]string{"NATS_URL": u}, says: "NATS_URL|uthorization"}
	}
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := f.run(t)
			if err := secrets.in("the output of "+f.service, out); err != nil {
				t.Error(err)
			}
			if bytes.Contains(out, []byte("anary")) {
				t.Errorf("a part of a canary: %s", out)
			}
		})
	}
}

// wrongURLs are ways to get a server's URL wrong. Tests of libs/service/pg and libs/service/natsconn know more of them.
func wrongURLs(t *testing.T, right string) map[string]string {
	t.Helper()
	u, err := url.Parse(right)
	must(t, err)
	start, rest := u.Scheme+"://"+u.User.Username()+":", "@"+u.Host+u.Path
	return map[string]string{
		"a wrong password":  start + canaries[0] + rest,
		"a broken password": start + canaries[0] + "/" + canaries[1] + " " + canaries[2] + rest,
	}
}

// wrongSettings returns failures for the other settings that hold secrets.
func wrongSettings(t *testing.T) map[string]failure {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shop.data, "signing-keys.json"))
	must(t, err)
	damaged := func(text string) map[string]string {
		file := filepath.Join(t.TempDir(), "keys.json")
		must(t, os.WriteFile(file, []byte(text), 0o600))
		return map[string]string{"AUTH_SIGNING_KEYS": file}
	}
	cut, mixed := damaged(string(text[:len(text)-8])), damaged(strings.Replace(string(text), `"x": "`, `"x": "AAAA`, 1))
	u := shop.register(t)
	return map[string]failure{
		"a short webhook key":      {service: stack.Billing, env: map[string]string{"PAYMENT_PRIVATE_KEYS": canaries[0]}, says: "PAYMENT_PRIVATE_KEYS"},
		"one of two is short":      {service: stack.Billing, env: map[string]string{"PAYMENT_PRIVATE_KEYS": canaries[0] + canaries[1] + "," + canaries[2]}, says: "PAYMENT_PRIVATE_KEYS"},
		"a short signing secret":   {service: stack.Billing, env: map[string]string{"PAYMENT_SIGNING_SECRETS": "whsec_" + canaries[0]}, says: "PAYMENT_SIGNING_SECRETS"},
		"a short read token":       {service: stack.Billing, env: map[string]string{"PAYMENT_READ_TOKENS": canaries[0][:9]}, says: "PAYMENT_READ_TOKENS"},
		"unknown signatures":       {service: stack.Billing, env: map[string]string{"PAYMENT_SIGNATURES": "v1"}, says: "PAYMENT_SIGNATURES"},
		"v2 without a secret":      {service: stack.Billing, env: map[string]string{"PAYMENT_SIGNATURES": "v2", "PAYMENT_SIGNING_SECRETS": ""}, says: "PAYMENT_SIGNING_SECRETS"},
		"no signing keys":          {service: stack.Auth, env: map[string]string{"AUTH_SIGNING_KEYS": t.TempDir()}, says: "AUTH_SIGNING_KEYS"},
		"damaged signing keys":     {service: stack.Auth, env: cut, says: "AUTH_SIGNING_KEYS"},
		"signing keys that differ": {service: stack.Auth, env: mixed, says: "AUTH_SIGNING_KEYS"},
		"a list of damaged keys":   {service: stack.Auth, args: "keys list " + cut["AUTH_SIGNING_KEYS"], says: "auth: "},
		"one more of them":         {service: stack.Auth, args: "keys new " + mixed["AUTH_SIGNING_KEYS"], says: "auth: "},
		"a weak admin":             {service: stack.Auth, env: map[string]string{"ADMIN_LOGIN": "canary", "ADMIN_PASSWORD": canaries[0][:9]}, says: "easy to guess"},
		"a password without admin": {service: stack.Auth, env: map[string]string{"ADMIN_LOGIN": "", "ADMIN_PASSWORD": canaries[0]}, says: "ADMIN_LOGIN"},
		"a new admin, weak":        {service: stack.Auth, args: "admin create weak", env: map[string]string{"ADMIN_PASSWORD": ""}, stdin: canaries[0][:9] + "\n", says: "easy to guess"},
		"a new admin, taken":       {service: stack.Auth, args: "admin create " + u.login, env: map[string]string{"ADMIN_PASSWORD": canaries[0] + canaries[1]}, says: "taken"},
		"a password as a word":     {service: stack.Auth, args: "admin create anna " + canaries[0], says: "usage: auth admin"},
		"a lifetime that is none":  {service: stack.Catalog, env: map[string]string{"TOKEN_LIFETIME": "soon"}, says: "TOKEN_LIFETIME"},
		"a password for the keys":  {service: stack.Catalog, env: map[string]string{"JWKS_URL": "http://reader:" + canaries[0] + "@127.0.0.1:1/keys"}, says: "JWKS_URL"},
		"an unreachable service":   {service: stack.Billing, args: "healthcheck", env: map[string]string{"INTERNAL_ADDR": "127.0.0.1:1"}, says: "not ready"},
	}
}

// run runs a command with the shop's own settings except for the wrong one, until its output shows the failure. It
// returns the output.
func (f failure) run(t *testing.T) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd, internal := command(t, ctx, f)
	out := &waittest.Text{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(f.stdin), out, out
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	said := func() bool {
		for _, one := range strings.Split(f.says, "|") {
			if strings.Contains(out.String(), one) {
				return true
			}
		}
		return false
	}
	probe := time.NewTicker(50 * time.Millisecond)
	defer probe.Stop()
	for !said() {
		select {
		case <-ended:
			if !said() {
				t.Fatalf("it ended without printing %s: %s", f.says, out.String())
			}
			return []byte(out.String())
		case <-ctx.Done():
			t.Fatalf("it did not print %s: %s", f.says, out.String())
		case <-probe.C: // a readiness probe makes the service check its database
			_, _ = (&client{base: internal}).plain(ctx, "/readyz")
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-ended
	return []byte(out.String())
}

// command prepares another process of a service, with its own ports.
func command(t *testing.T, ctx context.Context, f failure) (cmd *exec.Cmd, internal string) {
	t.Helper()
	cmd = shop.Command(ctx, f.service, strings.Fields(f.args)...)
	_, internal = withPortsOfItsOwn(t, cmd, f.env)
	return cmd, "http://" + internal
}

// SIGQUIT makes Go dump the stacks of all goroutines.
func TestADumpHasNoSecrets(t *testing.T) {
	t.Parallel()
	for _, service := range stack.Services() {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd, _ := command(t, ctx, failure{service: service})
			out := &waittest.Text{}
			cmd.Stdout, cmd.Stderr = out, out
			must(t, cmd.Start())
			waittest.Eventually(t, "the service is serving", func() bool { return strings.Contains(out.String(), `"serving"`) })
			must(t, cmd.Process.Signal(syscall.SIGQUIT))
			_ = cmd.Wait() // exit status 2
			if !strings.Contains(out.String(), "main.main()") {
				t.Errorf("no dump: %s", out.String())
			}
			if err := secrets.in("the dump of "+service, []byte(out.String())); err != nil {
				t.Error(err)
			}
		})
	}
}

// The shop can't start, because the URL of its external database is wrong.
func TestTheLauncherShowsNoSecrets(t *testing.T) {
	t.Parallel()
	urls := wrongURLs(t, shop.AdminDatabaseURL())
	urls["two servers"] = urls["a wrong password"] + "," + urls["a wrong password"]
	for what, u := range urls {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			out := &waittest.Text{}
			s, err := stack.Start(t.Context(), stack.Config{BinDir: binDir, DataDir: t.TempDir(), DatabaseURL: u, Output: out})
			if err == nil {
				must(t, s.Stop())
				t.Fatal("it started")
			}
			if text := err.Error() + out.String(); strings.Contains(text, "anary") {
				t.Error(text)
			}
		})
	}
}
