// Package config holds the settings that all services share, and types for
// secrets that do not show their values in logs.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/kelseyhightower/envconfig"

	"lavka/libs/service/cors"
)

// Secret is a value that only Reveal shows. It is stored behind a pointer
// because fmt calls no methods on unexported fields or for wrong verbs, but
// prints the field's contents.
type Secret struct{ text *string }

// Hide returns a Secret for text; for "" it is the zero Secret.
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

// Reveal returns the value itself, or "" if there is none.
func (s Secret) Reveal() string {
	if s.Empty() {
		return ""
	}
	return *s.text
}

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s.text == nil }

// String returns "[redacted]", or "" if there is no value.
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

// Prefixes is a list of CIDRs or addresses, separated by commas or spaces. None may be
// every address.
type Prefixes []netip.Prefix

// Decode reads the list (envconfig.Decoder).
func (p *Prefixes) Decode(text string) error {
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			addr, err := netip.ParseAddr(part)
			if err != nil {
				return fmt.Errorf("%q is neither an address nor a CIDR", part)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Bits() == 0 {
			return fmt.Errorf("%q is every address, so any client could claim to be any other; list the addresses or networks of the proxies", part)
		}
		*p = append(*p, prefix)
	}
	return nil
}

// Sentence returns an error's text on one line, with "; " in place of line breaks.
func Sentence(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Common holds the settings that all services share.
type Common struct {
	HTTPAddr           string        `envconfig:"HTTP_ADDR" default:":8080"`
	InternalAddr       string        `envconfig:"INTERNAL_ADDR" default:":9090"`
	DatabaseURL        Secret        `envconfig:"DATABASE_URL"`
	MigrateDatabaseURL Secret        `envconfig:"MIGRATE_DATABASE_URL"` // the schema owner's; only for migrate, migrate finish and after-restore
	NATSURL            Secret        `envconfig:"NATS_URL"`
	TokenIssuer        string        `envconfig:"TOKEN_ISSUER" default:"lavka"`
	TokenAudience      string        `envconfig:"TOKEN_AUDIENCE" default:"lavka"`
	TokenLifetime      time.Duration `envconfig:"TOKEN_LIFETIME" default:"10m"`
	TrustedProxies     Prefixes      `envconfig:"TRUSTED_PROXIES"` // whose X-Forwarded-For is trusted
	CORSOrigins        cors.Origins  `envconfig:"CORS_ORIGINS"`    // whose pages may read responses
	LogLevel           string        `envconfig:"LOG_LEVEL" default:"info"`
	LogFormat          string        `envconfig:"LAVKA_LOG_FORMAT" default:"json"`
	DrainDelay         time.Duration `envconfig:"DRAIN_DELAY" default:"5s"`       // from "not ready" until the ports are closed
	ShutdownTimeout    time.Duration `envconfig:"SHUTDOWN_TIMEOUT" default:"25s"` // then, for requests in flight; each may take 20 s
	MaxConnections     int           `envconfig:"MAX_CONNECTIONS" default:"8192"` // on HTTP_ADDR
}

// Load fills a struct with envconfig tags from the environment. A Secret can be
// read from a file instead: set NAME_FILE to its path in place of NAME. This is how
// container engines and Kubernetes provide secrets. Line breaks at the end of the
// file are dropped. An empty file, one of more than 64 KiB, and setting both NAME
// and NAME_FILE are errors. So is a file that does not exist, unless the field has the
// tag file:"optional", with which it counts as not set: a deployment can then name a
// file that some of its operators have not created yet.
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
		if field.Tag.Get("file") == "optional" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s_FILE: %w", name, err)
		}
		cfg.Field(i).Set(reflect.ValueOf(secret))
	}
	return nil
}

// maxSecret is the maximum size of a secret's file, in bytes.
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

// CheckURL returns nil for an http or https URL with a host, with or without a
// path. Query, fragment and user are errors: the URL is logged, so it must not
// contain a password. The error names the setting and gives the example.
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

// CheckStreamReplicas returns nil if NATS supports that many replicas of a stream.
func CheckStreamReplicas(n int) error {
	if n < 1 || n > 5 {
		return fmt.Errorf("NATS_STREAM_REPLICAS %d is not between 1 and 5", n)
	}
	return nil
}

// ValidateServe checks the settings that serve needs. Its error lists every
// setting that is wrong.
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
