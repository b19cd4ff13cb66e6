package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"lavka/libs/service/config"
	"lavka/libs/service/standardwebhooks"
)

// The minimum length of a webhook key and of a token of the provider, in characters.
const (
	minKey       = 16
	minReadToken = 24
)

// Config is billing's settings.
type Config struct {
	config.Common
	JWKSURL        string `envconfig:"JWKS_URL"`                         // auth's public keys
	StreamReplicas int    `envconfig:"NATS_STREAM_REPLICAS" default:"1"` // copies of the stream PURCHASES, which billing owns
	// Comma-separated. All are valid at the same time, so that a key can be rotated.
	PaymentPrivateKeys    config.Secret `envconfig:"PAYMENT_PRIVATE_KEYS"`                    // of the signature in the webhook's body
	PaymentSigningSecrets config.Secret `envconfig:"PAYMENT_SIGNING_SECRETS" file:"optional"` // of Standard Webhooks
	PaymentReadTokens     config.Secret `envconfig:"PAYMENT_READ_TOKENS" file:"optional"`     // of the provider's reads
	PaymentSignatures     string        `envconfig:"PAYMENT_SIGNATURES" default:"both"`       // which of the two are accepted
}

// The values of PAYMENT_SIGNATURES.
const (
	signaturesLegacy = "legacy"
	signaturesBoth   = "both"
	signaturesV2     = "v2"
)

// ValidateServe checks the settings of serve and reports everything that is wrong.
func (c Config) ValidateServe() error {
	errs := []error{c.Common.ValidateServe(), config.CheckStreamReplicas(c.StreamReplicas), config.CheckURL("JWKS_URL", c.JWKSURL, "http://auth:8080/.well-known/jwks.json")}
	for i, key := range c.paymentKeys() {
		if utf8.RuneCountInString(key) < minKey {
			errs = append(errs, fmt.Errorf("PAYMENT_PRIVATE_KEYS: key %d is shorter than %d characters", i+1, minKey))
		}
	}
	if _, err := c.signingKeys(); err != nil {
		errs = append(errs, err)
	}
	for i, token := range c.readTokens() {
		if len(token) < minReadToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			errs = append(errs, fmt.Errorf("PAYMENT_READ_TOKENS: token %d does not have at least %d characters, all of them visible ASCII", i+1, minReadToken))
		}
	}
	return errors.Join(append(errs, c.checkSignatures())...)
}

// checkSignatures returns an error if no webhook could be accepted.
func (c Config) checkSignatures() error {
	v1, v2 := len(c.paymentKeys()) > 0, !c.PaymentSigningSecrets.Empty()
	switch {
	case c.PaymentSignatures != signaturesLegacy && c.PaymentSignatures != signaturesBoth && c.PaymentSignatures != signaturesV2:
		return fmt.Errorf("PAYMENT_SIGNATURES %q is not legacy, both or v2", c.PaymentSignatures)
	case c.PaymentSignatures == signaturesLegacy && !v1:
		return errors.New("PAYMENT_PRIVATE_KEYS is not set: the keys shared with the payment provider, comma-separated; with PAYMENT_SIGNATURES=legacy no other is accepted")
	case c.PaymentSignatures == signaturesV2 && !v2:
		return errors.New("PAYMENT_SIGNING_SECRETS is not set: the secrets shared with the payment provider, comma-separated; with PAYMENT_SIGNATURES=v2 no other is accepted")
	case !v1 && !v2:
		return errors.New("neither PAYMENT_PRIVATE_KEYS nor PAYMENT_SIGNING_SECRETS is set: the keys shared with the payment provider, comma-separated")
	}
	return nil
}

// legacyKeys returns the keys whose signature in the body is accepted.
func (c Config) legacyKeys() []string {
	if c.PaymentSignatures == signaturesV2 {
		return nil
	}
	return c.paymentKeys()
}

// signingKeys returns the keys whose signature in the header is accepted.
func (c Config) signingKeys() ([]standardwebhooks.Key, error) {
	keys, err := standardwebhooks.ParseKeys(c.PaymentSigningSecrets.Reveal())
	switch {
	case err != nil:
		return nil, fmt.Errorf("PAYMENT_SIGNING_SECRETS: %w", err)
	case len(keys) == 0 && !c.PaymentSigningSecrets.Empty():
		return nil, errors.New("PAYMENT_SIGNING_SECRETS contains no secret")
	case c.PaymentSignatures == signaturesLegacy:
		return nil, nil
	}
	return keys, nil
}

func (c Config) paymentKeys() []string { return list(c.PaymentPrivateKeys) }

func (c Config) readTokens() []string { return list(c.PaymentReadTokens) }

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
