package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"lavka/libs/service/config"
)

// minKey is the least length of a webhook key, in characters.
const minKey = 16

// Config is billing's settings.
type Config struct {
	config.Common
	JWKSURL        string `envconfig:"JWKS_URL"`                         // auth's public keys
	StreamReplicas int    `envconfig:"NATS_STREAM_REPLICAS" default:"1"` // copies of the stream PURCHASES, which billing owns
	// Comma-separated; all are live, so that a key can be replaced.
	PaymentPrivateKeys config.Secret `envconfig:"PAYMENT_PRIVATE_KEYS"`
}

// ValidateServe checks what serve needs.
func (c Config) ValidateServe() error {
	errs := []error{c.Common.ValidateServe(), config.CheckStreamReplicas(c.StreamReplicas), config.CheckURL("JWKS_URL", c.JWKSURL, "http://auth:8080/.well-known/jwks.json")}
	keys := c.paymentKeys()
	if len(keys) == 0 {
		errs = append(errs, errors.New("PAYMENT_PRIVATE_KEYS is not set: the keys shared with the payment provider, comma-separated"))
	}
	for i, key := range keys {
		if utf8.RuneCountInString(key) < minKey {
			errs = append(errs, fmt.Errorf("PAYMENT_PRIVATE_KEYS: key %d is shorter than %d characters", i+1, minKey))
		}
	}
	return errors.Join(errs...)
}

func (c Config) paymentKeys() []string {
	var keys []string
	for key := range strings.SplitSeq(c.PaymentPrivateKeys.Reveal(), ",") {
		if key = strings.TrimSpace(key); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}
