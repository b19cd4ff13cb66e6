package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lavka/libs/config"
)

func TestSecretsHide(t *testing.T) {
	t.Parallel()
	s := config.Secret("hunter2")
	if s.Reveal() != "hunter2" {
		t.Error("not revealed")
	}
	type settings struct{ Password config.Secret }
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "settings", settings{s})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "settings", settings{s})
	text, err := json.Marshal(settings{s})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{log.String(), string(text), s.String(), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", settings{s}, settings{s}, settings{s}, s, s)} {
		if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "redacted") {
			t.Errorf("%s", shown)
		}
	}
	if config.Secret("").String() != "" {
		t.Error("no secret looks like one")
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
	for _, bad := range []string{"x", "10.0.0.0/33", "10.0.0.0/8;::1"} {
		if err := new(config.Prefixes).Decode(bad); err == nil {
			t.Errorf("%q is a list", bad)
		}
	}
}

// No t.Parallel: the environment belongs to all.
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
		c.InternalAddr != ":9090" || c.LogLevel != "info" || c.LogFormat != "json" || c.DrainDelay != 5*time.Second || c.ShutdownTimeout != 15*time.Second || c.MaxConnections != 8192 || c.TokenIssuer != "lavka" {
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

func TestValidateServe(t *testing.T) {
	t.Parallel()
	good := config.Common{DatabaseURL: "x", NATSURL: "x", HTTPAddr: ":0", InternalAddr: ":0", TokenLifetime: time.Minute, MaxConnections: 1}
	for want, change := range map[string]func(*config.Common){
		"DATABASE_URL is not set":   func(c *config.Common) { c.DatabaseURL = "" },
		"NATS_URL is not set":       func(c *config.Common) { c.NATSURL = "" },
		`HTTP_ADDR "8080" is not`:   func(c *config.Common) { c.HTTPAddr = "8080" },
		`INTERNAL_ADDR "" is not`:   func(c *config.Common) { c.InternalAddr = "" },
		"TOKEN_LIFETIME 0s is not":  func(c *config.Common) { c.TokenLifetime = 0 },
		"TOKEN_LIFETIME 25h0m0s is": func(c *config.Common) { c.TokenLifetime = 25 * time.Hour },
		"DRAIN_DELAY -1ns is not":   func(c *config.Common) { c.DrainDelay = -1 },
		"DRAIN_DELAY 2m0s is not":   func(c *config.Common) { c.DrainDelay = 2 * time.Minute },
		"MAX_CONNECTIONS 0 is not":  func(c *config.Common) { c.MaxConnections = 0 },
	} {
		c := good
		change(&c)
		if err := c.ValidateServe(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
