package stack

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"lavka/deploy/nats"
)

// NATS is a server within this process, on 127.0.0.1. Each service logs in as the user of its name (see lavka/deploy/nats).
type NATS struct {
	dir       string
	port      int
	passwords map[string]string // by user
	log       *slog.Logger

	mu     sync.Mutex
	server *server.Server
	unwant chan struct{} // closed when the server is no longer wanted
}

// Start starts the server. It does nothing if the server is running.
func (n *NATS) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		return nil
	}
	s, err := n.launch()
	if err != nil {
		return err
	}
	n.server, n.unwant = s, make(chan struct{})
	go n.supervise(n.unwant)
	return nil
}

func (n *NATS) launch() (*server.Server, error) {
	opts, err := nats.Options(n.passwords)
	if err != nil {
		return nil, err
	}
	opts.ServerName, opts.Host, opts.Port, opts.StoreDir = "lavka", "127.0.0.1", n.port, n.dir
	opts.NoSigs = true // the launcher handles Ctrl-C
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("prepare NATS: %w", err)
	}
	s.SetLoggerV2(natsLog{n.log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		return nil, errors.New("NATS was not ready in time")
	}
	return s, nil
}

// supervise restarts the server when two health checks in a row fail. After a full disk, for example, a stream refuses every message, or the server
// turns JetStream off, and neither recovers by itself.
func (n *NATS) supervise(unwanted <-chan struct{}) {
	ill := 0 // failed checks in a row
	for pause := newBackoff(); ; {
		wait := time.Second
		why := n.illness()
		if ill++; why == "" {
			ill = 0
		}
		if ill > 1 {
			wait = pause.next()
			n.log.Error("NATS is unhealthy; restarting it", "reason", why, "in", wait)
		}
		select {
		case <-unwanted:
			return
		case <-time.After(wait):
		}
		if ill > 1 {
			if err := n.again(unwanted); err != nil {
				n.log.Error("NATS did not restart", "error", err)
			}
		}
	}
}

// illness returns why the server is unhealthy, as on /healthz, or "" if it is healthy.
func (n *NATS) illness() string {
	s := n.current()
	if s == nil {
		return ""
	}
	if !s.JetStreamEnabled() {
		return "JetStream is off"
	}
	return s.Healthz(nil).Error
}

// again replaces the server.
func (n *NATS) again(unwanted <-chan struct{}) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-unwanted:
		return nil
	default:
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
	s, err := n.launch()
	if err == nil {
		n.server = s
	}
	return err
}

func (n *NATS) current() *server.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

// Stop stops the server. It does nothing if the server is stopped.
func (n *NATS) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return
	}
	close(n.unwant)
	n.server.Shutdown()
	n.server.WaitForShutdown()
	n.server = nil
}

// Wipe removes everything that the server has stored. It must be stopped.
func (n *NATS) Wipe() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		return errors.New("wipe NATS: it is running")
	}
	if err := os.RemoveAll(filepath.Join(n.dir, "jetstream")); err != nil {
		return fmt.Errorf("wipe NATS: %w", err)
	}
	return nil
}

// url returns a user's URL, including the password.
func (n *NATS) url(user string) string {
	u := url.URL{Scheme: "nats", User: url.UserPassword(user, n.passwords[user]), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port))}
	return u.String()
}

// natsLog passes on errors and warnings only.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Errorf(format string, v ...any) { l.log.Error("NATS: " + fmt.Sprintf(format, v...)) }
func (l natsLog) Fatalf(format string, v ...any) { l.log.Error("NATS: " + fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any)  { l.log.Warn("NATS: " + fmt.Sprintf(format, v...)) }
func (l natsLog) Noticef(string, ...any)         {}
func (l natsLog) Debugf(string, ...any)          {}
func (l natsLog) Tracef(string, ...any)          {}
