package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"1": true, "9.99": true, "-1": true, "1.999": true, "": false, "x": false, `"1"`: false, "1 ": false, "0x1": false, "null": false, "1;2": false} {
		if got := isNumber(text); got != want {
			t.Errorf("isNumber(%q) is %v", text, got)
		}
	}
}

func TestTokensAreShortened(t *testing.T) {
	t.Parallel()
	secret := "eyJhbGciOiJFZERTQSJ9.payload.signature"
	for _, text := range []string{"Bearer " + secret, pretty([]byte(`{"access_token":"` + secret + `","refresh_token":"` + secret + `"}`))} {
		if got := shorten(text); strings.Contains(got, "payload") || !strings.Contains(got, "eyJhbGciOiJF…") {
			t.Errorf("%q", got)
		}
	}
}

// Scripts rely on these defaults.
func TestDefaults(t *testing.T) {
	for _, name := range []string{"LAVKA_DATA", "LAVKA_GATEWAY_ADDR", "LAVKA_NATS_PORT", "LAVKA_GATEWAY_TRUSTED_PROXIES", "ADMIN_LOGIN", "ADMIN_PASSWORD", "PAYMENT_PRIVATE_KEYS", "PAYMENT_SIGNING_SECRETS", "PAYMENT_READ_TOKENS", "DATABASE_URL", "NATS_URL"} {
		t.Setenv(name, "")
	}
	s, err := load()
	if err != nil {
		t.Fatal(err)
	}
	want := settings{
		Data: ".lavka", GatewayAddr: "127.0.0.1:8080",
		AuthAddr: "127.0.0.1:8081", CatalogAddr: "127.0.0.1:8082", BillingAddr: "127.0.0.1:8083",
		AuthInner: "127.0.0.1:9081", CatalogInner: "127.0.0.1:9082", BillingInner: "127.0.0.1:9083",
		NATSPort: 4222, PostgresPort: 54329, MaxConnections: 8192, AdminLogin: "admin", LogFormat: s.LogFormat,
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("defaults are %+v", s)
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, value := range map[string]string{"LAVKA_NATS_PORT": "x", "LAVKA_POSTGRES_PORT": "65536", "MAX_CONNECTIONS": "0", "PAYMENT_PRIVATE_KEYS": "long enough to be a key,short", "PAYMENT_SIGNING_SECRETS": "whsec_short"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if _, err := load(); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "short") {
				t.Errorf("%v", err)
			}
		})
	}
}
