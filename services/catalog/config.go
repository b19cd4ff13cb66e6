package main

import (
	"errors"
	"fmt"
	"time"

	"lavka/libs/config"
)

// settings are catalog's, from the environment.
type settings struct {
	config.Common
	JWKSURL           string        `envconfig:"JWKS_URL"`                            // where auth publishes its keys
	PurchaseWait      time.Duration `envconfig:"PURCHASE_WAIT" default:"3s"`          // for billing's answer; then 202
	PurchaseExpiry    time.Duration `envconfig:"PURCHASE_EXPIRY" default:"15m"`       // billing declines what is older
	PendingMax        int           `envconfig:"PENDING_MAX" default:"100000"`        // pending purchases in all
	PendingMaxPerUser int           `envconfig:"PENDING_MAX_PER_USER" default:"1000"` // and of one user
}

// validateServe checks what serve needs.
func (s settings) validateServe() error {
	wrong := []error{config.CheckURL("JWKS_URL", s.JWKSURL, "http://127.0.0.1:8081/.well-known/jwks.json")}
	if s.PurchaseWait < 10*time.Millisecond || s.PurchaseWait > 15*time.Second {
		wrong = append(wrong, fmt.Errorf("PURCHASE_WAIT %v is not between 10ms and 15s", s.PurchaseWait))
	}
	if s.PurchaseExpiry < time.Second || s.PurchaseExpiry > 24*time.Hour {
		wrong = append(wrong, fmt.Errorf("PURCHASE_EXPIRY %v is not between 1s and 24h", s.PurchaseExpiry))
	}
	if s.PendingMax < 1 || s.PendingMaxPerUser < 1 {
		wrong = append(wrong, errors.New("PENDING_MAX and PENDING_MAX_PER_USER must be above zero"))
	}
	return errors.Join(s.ValidateServe(), errors.Join(wrong...))
}
