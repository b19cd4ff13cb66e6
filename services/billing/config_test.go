package main

import (
	"strings"
	"testing"

	"lavka/libs/service/config"
)

// The service refuses to start when no webhook could be accepted, rather than refuse all.
func TestSignaturesThatNoKeyCouldMake(t *testing.T) {
	t.Parallel()
	const key, secret = "a-key-of-the-provider", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
	for _, c := range []struct {
		signatures, keys, secrets string
		legacy, v2                int
		wrong                     string
	}{
		{"both", key, "", 1, 0, ""},
		{"both", "", secret, 0, 1, ""},
		{"both", key + "," + key, secret + "," + secret, 2, 2, ""},
		{"legacy", key, secret, 1, 0, ""},
		{"v2", key, secret, 0, 1, ""},
		{"v2", "", secret, 0, 1, ""},
		{"both", "", "", 0, 0, "neither PAYMENT_PRIVATE_KEYS nor PAYMENT_SIGNING_SECRETS"},
		{"both", " , ", "", 0, 0, "neither PAYMENT_PRIVATE_KEYS nor PAYMENT_SIGNING_SECRETS"},
		{"both", key, " , ", 0, 0, "PAYMENT_SIGNING_SECRETS contains no secret"},
		{"both", key, "whsec_c2hvcnQ=", 0, 0, "PAYMENT_SIGNING_SECRETS"},
		{"legacy", key, "whsec_c2hvcnQ=", 0, 0, "PAYMENT_SIGNING_SECRETS"},
		{"both", key, secret + ",", 1, 1, ""},
		{"both", "short", secret, 0, 0, "PAYMENT_PRIVATE_KEYS"},
		{"legacy", "", secret, 0, 0, "PAYMENT_PRIVATE_KEYS"},
		{"v2", key, "", 0, 0, "PAYMENT_SIGNING_SECRETS"},
		{"v1", key, secret, 0, 0, "PAYMENT_SIGNATURES"},
		{"", key, secret, 0, 0, "PAYMENT_SIGNATURES"},
	} {
		cfg := Config{
			Common: config.Common{
				HTTPAddr: ":0", InternalAddr: ":0", DatabaseURL: config.Hide("x"), NATSURL: config.Hide("x"), TokenLifetime: 600e9, MaxConnections: 1,
			},
			JWKSURL: "http://auth", StreamReplicas: 1,
			PaymentPrivateKeys: config.Hide(c.keys), PaymentSigningSecrets: config.Hide(c.secrets), PaymentSignatures: c.signatures,
		}
		err := cfg.ValidateServe()
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "c2hv") {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		signing, keysErr := cfg.signingKeys()
		if err != nil || keysErr != nil || len(cfg.legacyKeys()) != c.legacy || len(signing) != c.v2 {
			t.Errorf("%+v: %d and %d keys, %v %v", c, len(cfg.legacyKeys()), len(signing), err, keysErr)
		}
	}
}
