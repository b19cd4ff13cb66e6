package config_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lavka/libs/service/config"
)

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	s := config.Hide("hunter2")
	if s.Reveal() != "hunter2" {
		t.Error("not revealed")
	}
	type settings struct {
		config.Common
		Password config.Secret
		More     []config.Secret
		ByName   map[string]*config.Secret
		inside   struct{ config.Common }
	}
	all := settings{config.Common{DatabaseURL: s}, s, []config.Secret{s}, map[string]*config.Secret{"x": &s}, struct{ config.Common }{config.Common{NATSURL: s}}}
	shown := map[string]string{}
	for _, verb := range "vTtbcdoOqxXUeEfFgGspwz!" {
		for _, flags := range []string{"", "+", "#", "-", " ", "0", "20", ".3"} {
			format := "%" + flags + string(verb)
			shown[format] = fmt.Sprintf(format, s) + fmt.Sprintf(format, &s) + fmt.Sprintf(format, all) + fmt.Sprintf(format, &all)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "settings", all)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "settings", all)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	shown["slog"], shown["JSON"], shown["String"] = log.String(), string(text), s.String()
	for how, what := range shown {
		for _, form := range []string{"hunter2", hex.EncodeToString([]byte("hunter2")), "HUNTER2", base64.StdEncoding.EncodeToString([]byte("hunter2"))} {
			if strings.Contains(what, form) {
				t.Errorf("%s shows %s", how, what)
			}
		}
	}
	for _, how := range []string{"%v", "%+v", "%#v", "%s", "%q", "slog", "JSON", "String"} {
		if !strings.Contains(shown[how], "redacted") {
			t.Errorf("%s does not show that there is a secret: %s", how, shown[how])
		}
	}
	for _, none := range []config.Secret{{}, config.Hide("")} {
		if none.Reveal() != "" || fmt.Sprint(none) != "" {
			t.Error("an empty secret is shown as if it had a value")
		}
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	var p config.Prefixes
	if err := p.Decode("10.0.0.0/8, 192.0.2.1,2001:db8::/32,,::1"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p); got != "[10.0.0.0/8 192.0.2.1/32 2001:db8::/32 ::1/128]" {
		t.Error(got)
	}
	for _, bad := range []string{"x", "10.0.0.0/33", "10.0.0.0/8;::1", "0.0.0.0/0", "10.0.0.0/8,::/0"} {
		if err := new(config.Prefixes).Decode(bad); err == nil {
			t.Errorf("%q was accepted as a list", bad)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"http://127.0.0.1:8081/.well-known/jwks.json", "https://shop.example", "http://[::1]:80"} {
		if err := config.CheckURL("X_URL", good, "https://shop.example"); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "shop.example", "ftp://shop.example", "http://", "http://shop.example?x", "http://shop.example#x",
		"http://reader:canary@shop.example", "http://canary@shop.example", "http://reader:can ary@shop.example", "http://reader:canary/x@shop.example", "://canary",
	} {
		if err := config.CheckURL("X_URL", bad, "https://shop.example"); err == nil || !strings.Contains(err.Error(), "X_URL") || strings.Contains(err.Error(), "ary") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// No t.Parallel: the environment is shared.
func TestLoad(t *testing.T) {
	for name, value := range map[string]string{
		"DATABASE_URL": "postgres://x", "NATS_URL": "nats://x", "TOKEN_LIFETIME": "5m", "TRUSTED_PROXIES": "10.0.0.0/8", "HTTP_ADDR": "127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	var c config.Common
	if err := config.Load(&c); err != nil {
		t.Fatal(err)
	}
	if c.DatabaseURL.Reveal() != "postgres://x" || c.TokenLifetime != 5*time.Minute || len(c.TrustedProxies) != 1 || c.HTTPAddr != "127.0.0.1:1" ||
		c.InternalAddr != ":9090" || c.LogLevel != "info" || c.LogFormat != "json" || c.DrainDelay != 5*time.Second || c.ShutdownTimeout != 25*time.Second || c.MaxConnections != 8192 || c.TokenIssuer != "lavka" {
		t.Errorf("%+v", c)
	}
	if err := c.ValidateServe(); err != nil {
		t.Error(err)
	}
	for name, value := range map[string]string{"TOKEN_LIFETIME": "soon", "TRUSTED_PROXIES": "x"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if err := config.Load(&config.Common{}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSecretsFromFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("DATABASE_URL_FILE", file("url", "postgres://canary@x/y z\r\n\n"))
	t.Setenv("NATS_URL", "nats://x")
	t.Setenv("LOG_LEVEL_FILE", file("level", "debug")) // not a Secret
	var c struct{ config.Common }
	if err := config.Load(&c); err != nil {
		t.Fatal(err)
	}
	if c.DatabaseURL.Reveal() != "postgres://canary@x/y z" || c.NATSURL.Reveal() != "nats://x" || c.LogLevel != "info" {
		t.Errorf("%q, %q, %q", c.DatabaseURL.Reveal(), c.NATSURL.Reveal(), c.LogLevel)
	}
	if os.Getenv("DATABASE_URL") != "" {
		t.Error("the secret was written to the environment")
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		dir:                        "is a directory",
		file("empty", "\n"):        "is empty",
		file("large", strings.Repeat("canary", 64<<10)): "more than 64 KiB",
	} {
		t.Setenv("DATABASE_URL_FILE", path)
		if err := config.Load(&c); err == nil || !strings.HasPrefix(err.Error(), "DATABASE_URL_FILE: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", path, err)
		}
	}
	t.Setenv("NATS_URL_FILE", file("nats", "nats://canary"))
	t.Setenv("DATABASE_URL_FILE", "")
	if err := config.Load(&c); err == nil || err.Error() != "NATS_URL and NATS_URL_FILE are both set: set one of them" {
		t.Errorf("%v", err)
	}
}

func TestCheckStreamReplicas(t *testing.T) {
	t.Parallel()
	for n, good := range map[int]bool{-1: false, 0: false, 1: true, 3: true, 5: true, 6: false} {
		if err := config.CheckStreamReplicas(n); (err == nil) != good || err != nil && !strings.Contains(err.Error(), "NATS_STREAM_REPLICAS") {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestValidateServe(t *testing.T) {
	t.Parallel()
	good := config.Common{DatabaseURL: config.Hide("x"), NATSURL: config.Hide("x"), HTTPAddr: ":0", InternalAddr: ":0", TokenLifetime: time.Minute, MaxConnections: 1}
	for want, change := range map[string]func(*config.Common){
		"DATABASE_URL is not set":   func(c *config.Common) { c.DatabaseURL = config.Secret{} },
		"NATS_URL is not set":       func(c *config.Common) { c.NATSURL = config.Secret{} },
		`HTTP_ADDR "8080" is not`:   func(c *config.Common) { c.HTTPAddr = "8080" },
		`INTERNAL_ADDR "" is not`:   func(c *config.Common) { c.InternalAddr = "" },
		"TOKEN_LIFETIME 0s is not":  func(c *config.Common) { c.TokenLifetime = 0 },
		"TOKEN_LIFETIME 25h0m0s is": func(c *config.Common) { c.TokenLifetime = 25 * time.Hour },
		"DRAIN_DELAY -1ns is not":   func(c *config.Common) { c.DrainDelay = -1 },
		"DRAIN_DELAY 2m0s is not":   func(c *config.Common) { c.DrainDelay = 2 * time.Minute },
		"SHUTDOWN_TIMEOUT -1ns is":  func(c *config.Common) { c.ShutdownTimeout = -1 },
		"SHUTDOWN_TIMEOUT 2m0s is":  func(c *config.Common) { c.ShutdownTimeout = 2 * time.Minute },
		"MAX_CONNECTIONS 0 is not":  func(c *config.Common) { c.MaxConnections = 0 },
	} {
		c := good
		change(&c)
		if err := c.ValidateServe(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A deployment may name a file that its operator has not created yet.
func TestASecretsFileThatMayBeMissing(t *testing.T) {
	dir := t.TempDir()
	type settings struct {
		Required config.Secret `envconfig:"REQUIRED_SECRET"`
		Optional config.Secret `envconfig:"OPTIONAL_SECRET" file:"optional"`
	}
	path := filepath.Join(dir, "secret")
	t.Setenv("OPTIONAL_SECRET_FILE", path)
	var c settings
	if err := config.Load(&c); err != nil || !c.Optional.Empty() {
		t.Errorf("no file: %v, %v", c.Optional.Reveal(), err)
	}
	if err := os.WriteFile(path, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Load(&c); err != nil || c.Optional.Reveal() != "x" {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Load(&c); err == nil {
		t.Error("an empty file was accepted")
	}
	t.Setenv("OPTIONAL_SECRET_FILE", "")
	t.Setenv("REQUIRED_SECRET_FILE", filepath.Join(dir, "missing"))
	if err := config.Load(&c); err == nil {
		t.Error("a missing file was accepted")
	}
}
