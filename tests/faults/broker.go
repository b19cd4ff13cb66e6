package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lavka/deploy/nats"
	"lavka/libs/host/childprocess"
	"lavka/libs/host/freeport"
)

// operator is the NATS user with all permissions.
const operator = nats.Operator

// broker is NATS in a separate process, so that it can be killed and frozen.
// The launcher's NATS runs inside the launcher.
type broker struct {
	bin, conf, dir string
	port           int
	passwords      map[string]string // by user
	output         io.Writer
	cmd            *exec.Cmd
}

// newBroker builds the NATS server in the version that the launcher embeds.
func (h *harness) newBroker(ctx context.Context, dir string, output io.Writer) (*broker, error) {
	bin := filepath.Join(h.work, "nats-server")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/nats-io/nats-server/v2")
	build.Dir = filepath.Join(h.root, "tests")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build NATS: %w: %s", err, out)
	}
	port, err := freeport.Take()
	if err != nil {
		return nil, err
	}
	conf, err := filepath.Abs(filepath.Join(h.root, "deploy", "nats", "nats.conf"))
	if err != nil {
		return nil, err
	}
	b := &broker{bin: bin, conf: conf, dir: filepath.Join(dir, "nats"), port: port, passwords: map[string]string{}, output: output}
	for _, user := range nats.Users() {
		b.passwords[user] = "p" + rand.Text() // NATS may parse a password that begins with a digit as a number
	}
	return b, nil
}

func (b *broker) start(ctx context.Context) error {
	b.cmd = exec.Command(b.bin, "-c", b.conf, "-sd", b.dir, "-a", "127.0.0.1", "-p", strconv.Itoa(b.port))
	b.cmd.Env = os.Environ()
	for user, password := range b.passwords {
		b.cmd.Env = append(b.cmd.Env, strings.ToUpper(user)+"_NATS_PASSWORD="+password)
	}
	b.cmd.Stdout, b.cmd.Stderr = b.output, b.output
	if err := childprocess.Start(b.cmd, childprocess.Options{}); err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	return await(ctx, "NATS to accept connections", func() bool {
		conn, err := net.DialTimeout("tcp", b.addr(), time.Second)
		return err == nil && conn.Close() == nil
	})
}

// kill ends the process like a crash.
func (b *broker) kill() error {
	if b.cmd == nil {
		return nil
	}
	cmd := b.cmd
	b.cmd = nil
	if err := cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill NATS: %w", err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		return fmt.Errorf("kill NATS: %w", err)
	}
	return nil
}

func (b *broker) signal(s syscall.Signal) error { return b.cmd.Process.Signal(s) }

func (b *broker) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

// url is the URL with which a user connects; it includes the password.
func (b *broker) url(user string) string {
	u := url.URL{Scheme: "nats", User: url.UserPassword(user, b.passwords[user]), Host: b.addr()}
	return u.String()
}

// brokerFaults need NATS in a separate process.
func brokerFaults() []fault {
	return []fault{
		{
			name: "nats-kill", story: "SIGKILL of NATS, three times, at random moments", kind: "broker", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				for range 3 {
					if err := last(ctx, t.moment()); err != nil {
						return err
					}
					if err := errors.Join(t.broker.kill(), t.broker.start(ctx)); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			name: "nats-freeze", story: "SIGSTOP of NATS for 20 s (3 s), then SIGCONT: connections stay open, but nothing is transferred", kind: "broker", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				if err := t.broker.signal(syscall.SIGSTOP); err != nil {
					return err
				}
				return errors.Join(last(ctx, t.span(3*time.Second, 20*time.Second)), t.broker.signal(syscall.SIGCONT))
			},
		},
	}
}
