// Package stack runs a whole shop on this machine: PostgreSQL, NATS, the services as child processes (one replica of each, or more)
// and the gateway in front of them. The launcher uses it, and so do the tests that need a shop.
package stack

import (
	"io"
	"log/slog"
	"net"
	"time"

	"lavka/deploy/postgres"
)

// The services, in the order in which they are told about.
const (
	Auth    = "auth"
	Catalog = "catalog"
	Billing = "billing"
)

// Services are the names of all services, of their binaries, schemas and roles.
func Services() []string { return postgres.Services() }

// Config says what a shop is made of. Only BinDir and DataDir are needed: a port that is 0, or an address left empty, stands for a free port
// of 127.0.0.1, so that any number of shops run side by side.
type Config struct {
	// BinDir holds the binaries auth, catalog and billing; see Build.
	BinDir string
	// DataDir holds everything that outlives a run. One shop at a time uses it.
	DataDir string

	GatewayAddr string
	// MaxConnections bounds those of the gateway's clients; 0 means 8192. The services have theirs from their environment.
	MaxConnections         int
	Auth, Catalog, Billing Service
	NATSPort, PostgresPort int

	// DatabaseURL is an administrator's way into a database to use instead of a server of our own. Roles, and so their passwords,
	// belong to the whole server: it takes one shop.
	DatabaseURL string
	// NATSURL is a server (with JetStream) to use instead of one of our own, and the way in for all services: its user has the rights of all.
	NATSURL string

	// AdminLogin is the first administrator; empty means admin. AdminPassword and PaymentKeys are made up and kept when they are empty.
	AdminLogin, AdminPassword string
	PaymentKeys               []string

	// PostgresSettings go over those of our own server. Volatile lets it forget at a crash of the machine; for tests.
	PostgresSettings map[string]string
	Volatile         bool

	// TracesURL is where the tools beside the shop find its traces; "" for nowhere.
	TracesURL string
	// TrustTraceparent has the gateway pass on the traces that clients say they are in.
	TrustTraceparent bool

	// Without names services that are not started here. The gateway sends their requests to their addresses all the same,
	// and [SettingsFile] tells how to start them by hand, under a debugger for example.
	Without []string
	// Control is where the tools beside the shop send their requests to its launcher; the zero value for nowhere.
	Control Control

	// Env is given to every service, and goes over what it would get otherwise.
	Env map[string]string
	// Adjust, when it is there, has the last word on the settings of a service's replica (the first is 0) before that is started for the
	// first time. Tests lead a replica's connections through a proxy with it.
	Adjust func(service string, replica int, env map[string]string) error
	// Output takes the services' lines, each marked with the service's name; nil drops them.
	Output io.Writer
	// Log takes what the stack itself has to say; nil drops it.
	Log *slog.Logger

	// StartTimeout bounds each step of the start, StopTimeout the time that a service has to stop before it is killed.
	// 0 means 60 s and 10 s.
	StartTimeout, StopTimeout time.Duration
}

// Service says how a service runs.
type Service struct {
	// Addr and InternalAddr are those of the first replica; the others get free ports.
	Addr, InternalAddr string
	// Replicas is how many there are; 0 means one.
	Replicas int
	// Env goes over what the service would get otherwise.
	Env map[string]string
}

func (c Config) withDefaults() Config {
	if c.AdminLogin == "" {
		c.AdminLogin = "admin"
	}
	if c.Output == nil {
		c.Output = io.Discard
	}
	c.Output = &sharedWriter{w: c.Output}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 8192
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = time.Minute
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = 10 * time.Second
	}
	for _, s := range []*Service{&c.Auth, &c.Catalog, &c.Billing} {
		s.Replicas = max(s.Replicas, 1)
	}
	return c
}

func (c Config) service(name string) Service {
	return map[string]Service{Auth: c.Auth, Catalog: c.Catalog, Billing: c.Billing}[name]
}

// baseURL is how this machine reaches what listens on addr.
func baseURL(addr string) string { return "http://" + dialable(addr) }

func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr // checked before: every address is host:port
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
