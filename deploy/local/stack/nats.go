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
	"golang.org/x/crypto/bcrypt"
)

const natsUser = "lavka"

// NATS is a server within this process, on 127.0.0.1.
type NATS struct {
	dir      string
	port     int
	password string
	log      *slog.Logger

	mu     sync.Mutex
	server *server.Server
}

// Start starts the server; started, it does nothing.
func (n *NATS) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		return nil
	}
	// The server warns of passwords in plain text. This one is random, so the cheapest hash is as good as the dearest.
	hash, err := bcrypt.GenerateFromPassword([]byte(n.password), bcrypt.MinCost)
	if err != nil {
		return fmt.Errorf("hash NATS's password: %w", err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "lavka", Host: "127.0.0.1", Port: n.port,
		Username: natsUser, Password: string(hash),
		JetStream: true, StoreDir: n.dir,
		JetStreamMaxMemory: 1 << 30, JetStreamMaxStore: 4 << 30,
		NoSigs: true, // Ctrl-C is the launcher's business
	})
	if err != nil {
		return fmt.Errorf("prepare NATS: %w", err)
	}
	s.SetLoggerV2(natsLog{n.log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		return errors.New("NATS was not ready in time")
	}
	n.server = s
	return nil
}

// Stop stops the server; stopped, it does nothing.
func (n *NATS) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return
	}
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

// URL is the way in, with the password in it.
func (n *NATS) URL() string {
	u := url.URL{Scheme: "nats", User: url.UserPassword(natsUser, n.password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port))}
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
