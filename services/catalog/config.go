package main

import (
	"errors"
	"fmt"
	"time"

	"lavka/libs/service/config"
)

// Config is catalog's settings.
type Config struct {
	config.Common
	JWKSURL            string        `envconfig:"JWKS_URL"`                            // where auth publishes its keys
	PurchaseWait       time.Duration `envconfig:"PURCHASE_WAIT" default:"3s"`          // the maximum wait for billing's answer; then 202
	PurchaseExpiry     time.Duration `envconfig:"PURCHASE_EXPIRY" default:"15m"`       // billing declines older purchases
	PendingMax         int           `envconfig:"PENDING_MAX" default:"100000"`        // pending purchases in all
	PendingMaxPerUser  int           `envconfig:"PENDING_MAX_PER_USER" default:"1000"` // and of one user
	DeclinesMaxPerUser int           `envconfig:"DECLINES_MAX_PER_USER" default:"100"` // declined purchases of one user at once
	Public             bool          `envconfig:"CATALOG_PUBLIC" default:"false"`      // products can be read without a token
}

// ValidateServe checks the settings of serve and reports everything that is wrong.
func (c Config) ValidateServe() error {
	wrong := []error{c.Common.ValidateServe(), config.CheckURL("JWKS_URL", c.JWKSURL, "http://127.0.0.1:8081/.well-known/jwks.json")}
	if c.PurchaseWait < 10*time.Millisecond || c.PurchaseWait > 15*time.Second {
		wrong = append(wrong, fmt.Errorf("PURCHASE_WAIT %v is not between 10ms and 15s", c.PurchaseWait))
	}
	if c.PurchaseExpiry < time.Second || c.PurchaseExpiry > 24*time.Hour {
		wrong = append(wrong, fmt.Errorf("PURCHASE_EXPIRY %v is not between 1s and 24h", c.PurchaseExpiry))
	}
	if c.PendingMax < 1 || c.PendingMaxPerUser < 1 || c.DeclinesMaxPerUser < 1 {
		wrong = append(wrong, errors.New("PENDING_MAX, PENDING_MAX_PER_USER and DECLINES_MAX_PER_USER must be greater than zero"))
	}
	return errors.Join(wrong...)
}
