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

// NATS is a server within this process, on 127.0.0.1. A service gets in as the user of its name (see lavka/deploy/nats).
type NATS struct {
	dir       string
	port      int
	passwords map[string]string // by user
	log       *slog.Logger

	mu     sync.Mutex
	server *server.Server
	unwant chan struct{} // closed when it is wanted no more
}

// Start starts the server; started, it does nothing.
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
	opts.NoSigs = true // Ctrl-C is the launcher's business
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

// supervise starts the server again when it is not well for longer than a moment: a full disk, say, has a stream refuse every message from then
// on, or the server switch JetStream off, and neither comes back by itself.
func (n *NATS) supervise(unwanted <-chan struct{}) {
	ill := 0 // looks in a row
	for pause := newBackoff(); ; {
		wait := time.Second
		why := n.illness()
		if ill++; why == "" {
			ill = 0
		}
		if ill > 1 {
			wait = pause.next()
			n.log.Error("NATS is not well; starting it again", "reason", why, "in", wait)
		}
		select {
		case <-unwanted:
			return
		case <-time.After(wait):
		}
		if ill > 1 {
			if err := n.again(unwanted); err != nil {
				n.log.Error("NATS did not start again", "error", err)
			}
		}
	}
}

// illness is what the server itself says, as on /healthz, and empty when it is well.
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

// Stop stops the server; stopped, it does nothing.
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

// Wipe removes all that the server, stopped, has stored.
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

// url is a user's way in, with the password in it.
func (n *NATS) url(user string) string {
	u := url.URL{Scheme: "nats", User: url.UserPassword(user, n.passwords[user]), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port))}
	return u.String()
}

// natsLog keeps what matters.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Errorf(format string, v ...any) { l.log.Error("NATS: " + fmt.Sprintf(format, v...)) }
func (l natsLog) Fatalf(format string, v ...any) { l.log.Error("NATS: " + fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any)  { l.log.Warn("NATS: " + fmt.Sprintf(format, v...)) }
func (l natsLog) Noticef(string, ...any)         {}
func (l natsLog) Debugf(string, ...any)          {}
func (l natsLog) Tracef(string, ...any)          {}
