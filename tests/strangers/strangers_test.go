// Package strangers uses the shop as people would who have nothing of it but the
// contracts that it serves: with clients that other generators make of them.
package strangers

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lavka/deploy/local/stack"
)

const root = "../.."

// The clients of oapi-codegen and ogen compile in a module that has nothing of this
// repository, and play the whole story of make demo.
func TestGeneratedClients(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	shop := start(ctx, t, nil)
	module := filepath.Join(t.TempDir(), "clients")
	if err := os.CopyFS(module, os.DirFS("clients")); err != nil {
		t.Fatal(err)
	}
	do := func(env []string, program string, args ...string) {
		t.Helper()
		c := exec.CommandContext(ctx, program, args...)
		c.Dir = module
		// Compiled as releases are, so that much of it is in the cache.
		c.Env = append(append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-trimpath"), env...)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
		t.Logf("%s", out)
	}
	for _, service := range stack.Services() {
		contract := filepath.Join(module, service+".json")
		fetch(ctx, t, shop.GatewayURL()+"/"+service+"/openapi.json", contract)
		oapi := filepath.Join(module, "oapi", service)
		if err := os.MkdirAll(oapi, 0o755); err != nil {
			t.Fatal(err)
		}
		do(nil, "go", "tool", "oapi-codegen", "-generate", "client,models", "-package", service, "-o", filepath.Join(oapi, "client.gen.go"), contract)
		do(nil, "go", "tool", "ogen", "--loglevel", "error", "--config", "ogen.yml", "--package", service, "--target", filepath.Join("ogen", service), contract)
	}
	do(nil, "go", "build", "-o", "play", ".")
	do(nil, "go", "mod", "tidy", "-diff")
	do([]string{
		"GATEWAY=" + shop.GatewayURL(), "PAYMENT_KEY=" + shop.PaymentKeys[0], "ADMIN_LOGIN=" + shop.AdminLogin, "ADMIN_PASSWORD=" + shop.AdminPassword,
	}, "./play")
}

// binDir gets the services' binaries when the first test needs them.
var (
	binDir string
	build  = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		defer cancel()
		return stack.Build(ctx, root, binDir, true)
	})
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lavka-strangers-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	return m.Run()
}

// start starts a shop that stops with the test.
func start(ctx context.Context, t *testing.T, change func(*stack.Config)) *stack.Stack {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := stack.Config{BinDir: binDir, DataDir: filepath.Join(dir, "data"), Volatile: true, Output: output, Log: slog.New(slog.NewTextHandler(output, nil))}
	if change != nil {
		change(&cfg)
	}
	shop, err := stack.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shop.Stop(); err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(output.Name()); err != nil || t.Failed() {
			t.Logf("the end of the services' output: %v\n%s", err, text[max(0, len(text)-6000):])
		}
	})
	return shop
}

// fetch writes what a URL serves to a file.
func fetch(ctx context.Context, t *testing.T, url, file string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
