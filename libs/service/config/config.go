// Package config holds the settings that every service has, and types whose
// values keep themselves out of logs.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
)

// Secret is a value that shows itself only through Reveal. It lies behind a
// pointer because fmt calls no method where a field is unexported or a verb is
// wrong, and prints what it finds.
type Secret struct{ text *string }

// Hide makes a Secret, of nothing the zero one.
func Hide(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// UnmarshalText reads a Secret from the environment.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Hide(string(text))
	return nil
}

// Reveal gives the value itself, "" when there is none.
func (s Secret) Reveal() string {
	if s.Empty() {
		return ""
	}
	return *s.text
}

// Empty says that there is nothing to hide.
func (s Secret) Empty() bool { return s.text == nil }

// String hides the value, and says whether there is one.
func (s Secret) String() string {
	if s.Empty() {
		return ""
	}
	return "[redacted]"
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the value from JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Prefixes is a comma-separated list of CIDRs or addresses.
type Prefixes []netip.Prefix

// Decode reads the list (envconfig.Decoder).
func (p *Prefixes) Decode(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			addr, err := netip.ParseAddr(part)
			if err != nil {
				return fmt.Errorf("%q is neither an address nor a CIDR", part)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		*p = append(*p, prefix)
	}
	return nil
}

// Sentence makes one line of an error that may be several.
func Sentence(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Common are the settings of every service.
type Common struct {
	HTTPAddr           string        `envconfig:"HTTP_ADDR" default:":8080"`
	InternalAddr       string        `envconfig:"INTERNAL_ADDR" default:":9090"`
	DatabaseURL        Secret        `envconfig:"DATABASE_URL"`
	MigrateDatabaseURL Secret        `envconfig:"MIGRATE_DATABASE_URL"` // the owner's; only for migrate
	NATSURL            Secret        `envconfig:"NATS_URL"`
	TokenIssuer        string        `envconfig:"TOKEN_ISSUER" default:"lavka"`
	TokenAudience      string        `envconfig:"TOKEN_AUDIENCE" default:"lavka"`
	TokenLifetime      time.Duration `envconfig:"TOKEN_LIFETIME" default:"10m"`
	TrustedProxies     Prefixes      `envconfig:"TRUSTED_PROXIES"` // whose X-Forwarded-For is believed
	LogLevel           string        `envconfig:"LOG_LEVEL" default:"info"`
	LogFormat          string        `envconfig:"LAVKA_LOG_FORMAT" default:"json"`
	DrainDelay         time.Duration `envconfig:"DRAIN_DELAY" default:"5s"`       // from "not ready" to the closing of ports
	ShutdownTimeout    time.Duration `envconfig:"SHUTDOWN_TIMEOUT" default:"25s"` // then, for the requests under way, which get 20 s each
	MaxConnections     int           `envconfig:"MAX_CONNECTIONS" default:"8192"` // on HTTP_ADDR
}

// Load fills a struct with envconfig tags from the environment. A Secret may be
// given in a file instead, which NAME_FILE names for NAME: that is how container
// engines and Kubernetes hand secrets out. A line break at its end is not part of it.
func Load(cfg any) error {
	err := envconfig.Process("", cfg)
	var parse *envconfig.ParseError
	if errors.As(err, &parse) {
		// The library's own text quotes the value, which may be a secret.
		return fmt.Errorf("%s is not a valid %s: %w", parse.KeyName, parse.TypeName, parse.Err)
	}
	if err != nil {
		return err
	}
	return loadFiles(reflect.ValueOf(cfg).Elem())
}

func loadFiles(cfg reflect.Value) error {
	for i := range cfg.NumField() {
		field := cfg.Type().Field(i)
		if field.Anonymous {
			if err := loadFiles(cfg.Field(i)); err != nil {
				return err
			}
		}
		if field.Type != reflect.TypeFor[Secret]() {
			continue
		}
		name := field.Tag.Get("envconfig")
		path := os.Getenv(name + "_FILE")
		if path == "" {
			continue
		}
		if os.Getenv(name) != "" {
			return fmt.Errorf("%s and %s_FILE are both set: set one of them", name, name)
		}
		secret, err := readSecret(path)
		if err != nil {
			return fmt.Errorf("%s_FILE: %w", name, err)
		}
		cfg.Field(i).Set(reflect.ValueOf(secret))
	}
	return nil
}

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 64 << 10

func readSecret(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return Secret{}, err
	}
	if len(text) > maxSecret {
		return Secret{}, fmt.Errorf("%s has more than %d KiB", path, maxSecret>>10)
	}
	secret := Hide(strings.TrimRight(string(text), "\r\n"))
	if secret.Empty() {
		return Secret{}, fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

// CheckURL is nil for an http or https URL of a server, with a path or without
// one. It may hold no password, since it is logged.
func CheckURL(name, value, example string) error {
	if value == "" {
		return fmt.Errorf("%s is not set (for example %s)", name, example)
	}
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%s is not an http or https URL without query, fragment and user (for example %s)", name, example)
	}
	return nil
}

// CheckStreamReplicas is nil for a number of copies that NATS can keep of a stream.
func CheckStreamReplicas(n int) error {
	if n < 1 || n > 5 {
		return fmt.Errorf("NATS_STREAM_REPLICAS %d is not between 1 and 5", n)
	}
	return nil
}

// ValidateServe checks what serve needs.
func (c Common) ValidateServe() error {
	var missing []error
	need := func(name, value, example string) {
		if value == "" {
			missing = append(missing, fmt.Errorf("%s is not set (for example %s)", name, example))
		}
	}
	need("DATABASE_URL", c.DatabaseURL.Reveal(), "postgres://<service>:…@127.0.0.1:5432/lavka")
	need("NATS_URL", c.NATSURL.Reveal(), "nats://127.0.0.1:4222")
	for name, addr := range map[string]string{"HTTP_ADDR": c.HTTPAddr, "INTERNAL_ADDR": c.InternalAddr} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			missing = append(missing, fmt.Errorf("%s %q is not host:port", name, addr))
		}
	}
	if c.TokenLifetime < time.Second || c.TokenLifetime > 24*time.Hour {
		missing = append(missing, fmt.Errorf("TOKEN_LIFETIME %v is not between 1s and 24h", c.TokenLifetime))
	}
	if c.DrainDelay < 0 || c.DrainDelay > time.Minute {
		missing = append(missing, fmt.Errorf("DRAIN_DELAY %v is not between 0s and 1m", c.DrainDelay))
	}
	if c.ShutdownTimeout < 0 || c.ShutdownTimeout > time.Minute {
		missing = append(missing, fmt.Errorf("SHUTDOWN_TIMEOUT %v is not between 0s and 1m", c.ShutdownTimeout))
	}
	if c.MaxConnections < 1 || c.MaxConnections > 1_000_000 {
		missing = append(missing, fmt.Errorf("MAX_CONNECTIONS %d is not between 1 and 1000000", c.MaxConnections))
	}
	return errors.Join(missing...)
}
