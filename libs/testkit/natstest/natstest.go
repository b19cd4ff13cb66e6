// Package natstest gives each test its own NATS server with JetStream, which the
// test can stop, restart, and strip of its store.
package natstest

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a NATS server that belongs to one test.
type Server struct {
	URL string

	t    testing.TB
	opts *server.Options
	ns   *server.Server
}

// Start runs a server on a free port of 127.0.0.1 until the test ends. Each
// change is called with the server's options. A change may keep the pointer:
// what is modified later takes effect at the next start.
func Start(t testing.TB, changes ...func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, opts: &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		JetStreamMaxMemory: 1 << 30, JetStreamMaxStore: 1 << 30,
	}}
	for _, change := range changes {
		change(s.opts)
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start runs the server on the same port as before, with the data in its store.
func (s *Server) Start() {
	s.t.Helper()
	ns, err := server.NewServer(s.opts)
	if err != nil {
		s.t.Fatalf("create NATS server: %v", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		s.t.Fatal("the NATS server did not start within 30 s")
	}
	s.ns, s.URL = ns, ns.ClientURL()
	s.opts.Port = ns.Addr().(*net.TCPAddr).Port
}

// Stop shuts the server down and waits for its end. Its store is kept.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}

// Wipe deletes the store of a stopped server.
func (s *Server) Wipe() {
	s.t.Helper()
	if err := os.RemoveAll(s.opts.StoreDir); err != nil {
		s.t.Fatalf("delete the NATS store: %v", err)
	}
}

// Connect connects a test to a server. By default it waits 60 s for the server,
// unlike [nats.Connect], which gives up after 2 s: too soon on a busy machine.
// The options can change that.
func Connect(url string, options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(url, append([]nats.Option{nats.Timeout(time.Minute)}, options...)...)
}
