package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"lavka/deploy/local/stack"
	"lavka/libs/host/childprocess"
)

// hosted is a shop that runs in another process (this program's, with -host),
// as the launcher's does: gateway and NATS must not hide in what the generator
// takes of the CPU.
type hosted struct {
	URLs             map[string][]string // of each service's replicas
	GatewayURL       string
	AdminDatabaseURL string
	AdminLogin       string
	AdminPassword    string
	PaymentKeys      []string
	PIDs             map[string][]int // of each service's replicas; "launcher" and "postgres" too

	dir  string
	cmd  *exec.Cmd
	quit io.Closer
}

const launcher, postgres = "launcher", "postgres"

// host starts the process, with a number of replicas of each service, and settings
// beside our own, and returns when the shop is ready.
func host(dir string, replicas counts, env ...string) (*hosted, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return hostWith(self, dir, replicas, env...)
}

// hostWith is host with another commit's benchmark.
func hostWith(program, dir string, replicas counts, env ...string) (*hosted, error) {
	cmd := exec.Command(program, "-host", dir, "-replicas", replicas.String())
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := childprocess.Start(cmd, childprocess.Options{}); err != nil {
		return nil, fmt.Errorf("start the shop: %w", err)
	}
	h := &hosted{dir: dir, cmd: cmd, quit: in}
	if err := json.NewDecoder(out).Decode(h); err != nil {
		return nil, errors.Join(fmt.Errorf("start the shop: %w", err), h.stop())
	}
	return h, nil
}

// stop has the shop stop in good order.
func (h *hosted) stop() error {
	err := h.quit.Close()
	return errors.Join(err, h.cmd.Wait())
}

// verify is billing verify.
func (h *hosted) verify(ctx context.Context) (string, error) {
	running, err := stack.Running(filepath.Join(h.dir, "data"))
	if err != nil {
		return "", err
	}
	out, err := running.Command(ctx, stack.Billing, "verify").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("billing verify: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// serveShop is the process: it says where everything is, and stops when its
// standard input ends.
func serveShop(ctx context.Context, dir string, replicas counts) (err error) {
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	s, err := stack.Start(ctx, stack.Config{
		Auth: replicas.of(stack.Auth), Catalog: replicas.of(stack.Catalog), Billing: replicas.of(stack.Billing),
		BinDir: filepath.Join(dir, "bin"), DataDir: filepath.Join(dir, "data"), Output: output,
		// The generator logs in once, and measures for longer than a token lives by default.
		Env: map[string]string{"TOKEN_LIFETIME": "6h"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	h := hosted{
		URLs: map[string][]string{}, GatewayURL: s.GatewayURL(), AdminDatabaseURL: s.AdminDatabaseURL(),
		AdminLogin: s.AdminLogin, AdminPassword: s.AdminPassword, PaymentKeys: s.PaymentKeys, PIDs: map[string][]int{launcher: {os.Getpid()}},
	}
	for _, service := range stack.Services() {
		for _, r := range s.Replicas(service) {
			h.URLs[service], h.PIDs[service] = append(h.URLs[service], r.URL()), append(h.PIDs[service], r.PID())
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "data", "postgres", "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	h.PIDs[postgres] = []int{pid}
	if err := json.NewEncoder(os.Stdout).Encode(h); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
