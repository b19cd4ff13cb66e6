package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"lavka/deploy/local/stack"
	"lavka/libs/service/config"
	"lavka/libs/service/cors"
	"lavka/libs/service/proxies"
	"lavka/libs/service/standardwebhooks"
)

// minKey is the shortest payment key that billing accepts, in characters.
const minKey = 16

type settings struct {
	Data string `envconfig:"LAVKA_DATA" default:".lavka"`

	GatewayAddr  string `envconfig:"LAVKA_GATEWAY_ADDR" default:"127.0.0.1:8080"`
	AuthAddr     string `envconfig:"LAVKA_AUTH_ADDR" default:"127.0.0.1:8081"`
	CatalogAddr  string `envconfig:"LAVKA_CATALOG_ADDR" default:"127.0.0.1:8082"`
	BillingAddr  string `envconfig:"LAVKA_BILLING_ADDR" default:"127.0.0.1:8083"`
	AuthInner    string `envconfig:"LAVKA_AUTH_INTERNAL_ADDR" default:"127.0.0.1:9081"`
	CatalogInner string `envconfig:"LAVKA_CATALOG_INTERNAL_ADDR" default:"127.0.0.1:9082"`
	BillingInner string `envconfig:"LAVKA_BILLING_INTERNAL_ADDR" default:"127.0.0.1:9083"`
	NATSPort     int    `envconfig:"LAVKA_NATS_PORT" default:"4222"`
	PostgresPort int    `envconfig:"LAVKA_POSTGRES_PORT" default:"54329"`

	MaxConnections int `envconfig:"MAX_CONNECTIONS" default:"8192"` // the gateway's; the services read this setting too

	AdminLogin    string        `envconfig:"ADMIN_LOGIN" default:"admin"`
	AdminPassword config.Secret `envconfig:"ADMIN_PASSWORD"`
	PaymentKeys   config.Secret `envconfig:"PAYMENT_PRIVATE_KEYS"`
	SigningSecret config.Secret `envconfig:"PAYMENT_SIGNING_SECRETS"`
	ReadTokens    config.Secret `envconfig:"PAYMENT_READ_TOKENS"`
	LinkHookURL   string        `envconfig:"LINK_HOOK_URL"`
	LinkHook      config.Secret `envconfig:"LINK_HOOK_SECRET"`
	DatabaseURL   config.Secret `envconfig:"DATABASE_URL"`
	NATSURL       config.Secret `envconfig:"NATS_URL"`
	LogFormat     string        `envconfig:"LAVKA_LOG_FORMAT"`

	CORSOrigins           cors.Origins    `envconfig:"CORS_ORIGINS"`                  // the services read this setting too
	GatewayTrustedProxies config.Prefixes `envconfig:"LAVKA_GATEWAY_TRUSTED_PROXIES"` // in front of the gateway

	TrustTraceparent bool `envconfig:"TRUST_TRACEPARENT"` // from clients; always true while traces are kept here
}

// load reads the environment. A setting that is empty counts as absent.
func load() (settings, error) {
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); value == "" && (strings.HasPrefix(name, "LAVKA_") || name == "ADMIN_LOGIN") {
			if err := os.Unsetenv(name); err != nil {
				return settings{}, fmt.Errorf("read the environment: %w", err)
			}
		}
	}
	var s settings
	if err := config.Load(&s); err != nil {
		return s, err
	}
	for name, port := range map[string]int{"LAVKA_NATS_PORT": s.NATSPort, "LAVKA_POSTGRES_PORT": s.PostgresPort} {
		if port < 0 || port > 65535 {
			return s, fmt.Errorf("%s is %d, which is not a port", name, port)
		}
	}
	if s.MaxConnections < 1 || s.MaxConnections > 1_000_000 {
		return s, fmt.Errorf("MAX_CONNECTIONS is %d, but must be between 1 and 1000000", s.MaxConnections)
	}
	for _, key := range s.paymentKeys() {
		if utf8.RuneCountInString(key) < minKey {
			return s, fmt.Errorf("PAYMENT_PRIVATE_KEYS: a key has fewer than %d characters", minKey)
		}
	}
	if _, err := standardwebhooks.ParseKeys(s.SigningSecret.Reveal()); err != nil {
		return s, fmt.Errorf("PAYMENT_SIGNING_SECRETS: %w", err)
	}
	return s, nil
}

func (s settings) paymentKeys() []string { return list(s.PaymentKeys) }

// list returns the entries of a secret that is a comma-separated list.
func list(secret config.Secret) []string {
	var entries []string
	for entry := range strings.SplitSeq(secret.Reveal(), ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// binDir returns the directory of this program, which holds the services' binaries too.
func binDir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return filepath.Dir(self), nil
}

func (s settings) stack() (stack.Config, error) {
	bin, err := binDir()
	if err != nil {
		return stack.Config{}, err
	}
	for _, name := range stack.Services() {
		if _, err := os.Stat(filepath.Join(bin, name)); errors.Is(err, os.ErrNotExist) {
			return stack.Config{}, fmt.Errorf("the binary %s is missing in %s: build all of them with make build", name, bin)
		}
	}
	env := map[string]string{"LAVKA_LOG_FORMAT": s.logFormat()}
	return stack.Config{
		BinDir:         bin,
		DataDir:        s.Data,
		GatewayAddr:    s.GatewayAddr,
		MaxConnections: s.MaxConnections,
		Auth:           stack.Service{Addr: s.AuthAddr, InternalAddr: s.AuthInner, Env: map[string]string{"LINK_HOOK_URL": s.LinkHookURL, "LINK_HOOK_SECRET": s.LinkHook.Reveal()}},
		Catalog:        stack.Service{Addr: s.CatalogAddr, InternalAddr: s.CatalogInner},
		Billing:        stack.Service{Addr: s.BillingAddr, InternalAddr: s.BillingInner},
		NATSPort:       s.NATSPort,
		PostgresPort:   s.PostgresPort,
		DatabaseURL:    s.DatabaseURL.Reveal(),
		NATSURL:        s.NATSURL.Reveal(),
		AdminLogin:     s.AdminLogin,
		AdminPassword:  s.AdminPassword.Reveal(),
		PaymentKeys:    s.paymentKeys(),

		PaymentSigningSecrets: list(s.SigningSecret),
		PaymentReadTokens:     list(s.ReadTokens),

		Env: env,

		CORSOrigins:      s.CORSOrigins,
		TrustedProxies:   proxies.Trusted(s.GatewayTrustedProxies),
		TrustTraceparent: s.TrustTraceparent,
		Output:           os.Stdout,
	}, nil
}

// logFormat returns the format that was set, or else the one that suits stdout. NO_COLOR
// follows https://no-color.org.
func (s settings) logFormat() string {
	switch {
	case s.LogFormat != "":
		return s.LogFormat
	case !isTerminal(os.Stdout):
		return "json"
	case os.Getenv("NO_COLOR") != "":
		return "text"
	}
	return "color"
}

// isTerminal reports whether f is a character device, which it takes for a terminal.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
