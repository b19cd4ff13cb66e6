// Package stack runs a whole shop on this machine: PostgreSQL, NATS, the services as child processes (one or more replicas of each)
// and the gateway in front of them. The launcher uses it, and so do the tests that need a shop.
package stack

import (
	"io"
	"log/slog"
	"net"
	"time"

	"lavka/deploy/postgres"
	"lavka/libs/service/cors"
	"lavka/libs/service/proxies"
)

// The services, in the order in which they are listed.
const (
	Auth    = "auth"
	Catalog = "catalog"
	Billing = "billing"
)

// Services returns the names of all services, which are also the names of their binaries, schemas and roles.
func Services() []string { return postgres.Services() }

// Config describes a shop. Only BinDir and DataDir are required: a port of 0 or an empty address means a free port of 127.0.0.1, so that any
// number of shops can run side by side.
type Config struct {
	// BinDir holds the binaries auth, catalog and billing; see Build.
	BinDir string
	// DataDir holds everything that is kept between runs. One shop at a time uses it.
	DataDir string

	GatewayAddr string
	// MaxConnections is the largest number of client connections to the gateway; 0 means 8192. The services take theirs from their environment.
	MaxConnections         int
	Auth, Catalog, Billing Service
	NATSPort, PostgresPort int

	// Template is a directory made by MakeTemplate. If DataDir holds no database yet, our own server starts with a copy of the template's; for
	// tests. Empty means an empty database.
	Template string

	// DatabaseURL is an administrator's URL of a database to use instead of a server of our own. Roles, and so their passwords, belong to the
	// whole server, which can therefore hold only one shop.
	DatabaseURL string
	// NATSURL is the URL of a NATS server with JetStream to use instead of one of our own. All services log in with it, so its user needs the
	// permissions of all of them.
	NATSURL string

	// AdminLogin is the first administrator's; empty means admin. If AdminPassword or PaymentKeys is empty, it is generated and kept.
	AdminLogin, AdminPassword string
	PaymentKeys               []string
	PaymentSigningSecrets     []string // likewise
	PaymentReadTokens         []string // likewise

	// PostgresSettings override those of our own server. With Volatile, that server may lose data when the machine crashes; for tests.
	PostgresSettings map[string]string
	Volatile         bool

	// TracesURL is where the tools find the shop's traces; "" if traces are not kept here.
	TracesURL string
	// CORSOrigins are the origins whose pages may read responses, of the services and of the gateway.
	CORSOrigins cors.Origins
	// TrustedProxies are the proxies in front of the gateway, whose X-Forwarded-For it believes.
	TrustedProxies proxies.Trusted
	// TrustTraceparent makes the gateway honour the traceparent of clients.
	TrustTraceparent bool

	// Without names services that are not started here. The gateway still routes requests to their addresses, and [SettingsFile]
	// holds the settings with which to start them by hand, under a debugger for example.
	Without []string
	// Control is where the tools send requests to the launcher; the zero value if it takes none.
	Control Control

	// Env is added to the settings of every service, and overrides them.
	Env map[string]string
	// Adjust, if set, changes the settings of a service's replica (the first is 0) last, before the replica is started for the first time.
	// Tests use it to lead a replica's connections through a proxy.
	Adjust func(service string, replica int, env map[string]string) error
	// Output receives the services' output, each line prefixed with the replica's name; nil discards it.
	Output io.Writer
	// Log receives the stack's own log; nil discards it.
	Log *slog.Logger

	// StartTimeout limits each step of the start except the migrations; 0 means 60 s. StopTimeout is how long a service may take to stop before it is killed;
	// 0 means 10 s.
	StartTimeout, StopTimeout time.Duration
}

// Service configures the replicas of a service.
type Service struct {
	// Addr and InternalAddr are the addresses of the first replica; the others get free ports.
	Addr, InternalAddr string
	// Replicas is the number of replicas; 0 means one.
	Replicas int
	// Env overrides the service's other settings.
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

// baseURL returns the URL at which this machine reaches a server that listens on addr.
func baseURL(addr string) string { return "http://" + dialable(addr) }

func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr // checked earlier: every address is host:port
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
