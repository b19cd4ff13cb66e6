package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"lavka/libs/service/config"
	"lavka/libs/service/standardwebhooks"
	"lavka/services/auth/internal/auth"
)

// Config is auth's settings.
type Config struct {
	config.Common
	PublicURL          string        `envconfig:"PUBLIC_URL"`                       // the beginning of activation links
	ResetURL           string        `envconfig:"PASSWORD_RESET_URL"`               // the page of links to reset a password; PUBLIC_URL/password-reset if not set
	LinkHookURL        string        `envconfig:"LINK_HOOK_URL"`                    // receives links; if not set, they are in responses
	LinkHookSecret     config.Secret `envconfig:"LINK_HOOK_SECRET" file:"optional"` // of Standard Webhooks
	SigningKeys        string        `envconfig:"AUTH_SIGNING_KEYS"`                // a file; `auth keys new` creates one
	AdminLogin         string        `envconfig:"ADMIN_LOGIN"`                      // of the first admin
	AdminPassword      config.Secret `envconfig:"ADMIN_PASSWORD"`                   // used only to create that admin, so it may be removed later
	PasswordStrength   int           `envconfig:"PASSWORD_STRENGTH" default:"3"`    // zxcvbn's score that a new password needs; 0: its length alone
	StreamReplicas     int           `envconfig:"NATS_STREAM_REPLICAS" default:"1"` // copies of the stream USERS, which auth owns
	RefreshLifetime    time.Duration `envconfig:"REFRESH_LIFETIME" default:"720h"`
	ActivationLifetime time.Duration `envconfig:"ACTIVATION_LIFETIME" default:"48h"`
}

// ValidateServe checks the settings of serve and reports everything that is wrong.
func (c Config) ValidateServe() error {
	wrong := []error{c.Common.ValidateServe(), config.CheckStreamReplicas(c.StreamReplicas), config.CheckURL("PUBLIC_URL", c.PublicURL, "https://shop.example")}
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if c.ResetURL != "" {
		wrong = append(wrong, config.CheckURL("PASSWORD_RESET_URL", c.ResetURL, "https://shop.example/password-reset"))
	}
	if _, err := c.hookKeys(); err != nil {
		wrong = append(wrong, err)
	}
	if c.SigningKeys == "" {
		add("AUTH_SIGNING_KEYS is not set (the path of a JWK set; `auth keys new FILE` creates one)")
	}
	if c.AdminLogin == "" && !c.AdminPassword.Empty() {
		add("ADMIN_PASSWORD is set, and ADMIN_LOGIN is not: set both, or neither")
	}
	if err := c.checkPasswordStrength(); err != nil {
		wrong = append(wrong, err)
	}
	if c.RefreshLifetime < c.TokenLifetime || c.RefreshLifetime > auth.MaxSession {
		add("REFRESH_LIFETIME %v is not between TOKEN_LIFETIME and 90 days", c.RefreshLifetime)
	}
	if c.ActivationLifetime < time.Minute || c.ActivationLifetime > 366*24*time.Hour {
		add("ACTIVATION_LIFETIME %v is not between 1m and 366 days", c.ActivationLifetime)
	}
	return errors.Join(wrong...)
}

// resetURL returns the page of links to reset a password.
func (c Config) resetURL() string {
	return cmp.Or(c.ResetURL, strings.TrimSuffix(c.PublicURL, "/")+"/password-reset")
}

// hookKeys returns the keys that sign the links for the hook, none if there is no hook: a
// secret without a URL is not used.
func (c Config) hookKeys() ([]standardwebhooks.Key, error) {
	if c.LinkHookURL == "" {
		return nil, nil
	}
	keys, err := standardwebhooks.ParseKeys(c.LinkHookSecret.Reveal())
	switch {
	case err != nil:
		return nil, fmt.Errorf("LINK_HOOK_SECRET: %w", err)
	case len(keys) == 0:
		return nil, errors.New("LINK_HOOK_URL is set, and LINK_HOOK_SECRET is not: set both, or neither")
	}
	return keys, config.CheckURL("LINK_HOOK_URL", c.LinkHookURL, "https://mail.example/links")
}

func (c Config) checkPasswordStrength() error {
	if s := auth.Strength(c.PasswordStrength); s < auth.LengthAlone || s > auth.MaxStrength {
		return fmt.Errorf("PASSWORD_STRENGTH %d is not between 0 and 4", c.PasswordStrength)
	}
	return nil
}
