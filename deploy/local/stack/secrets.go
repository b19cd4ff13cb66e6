package stack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"lavka/deploy/nats"
	"lavka/deploy/postgres"
	"lavka/deploy/secrets"
)

// keptSecrets are the secrets that the launcher generates once and keeps with the data.
type keptSecrets struct {
	Roles      map[string]string `json:"roles"`      // PostgreSQL passwords by role
	NATSUsers  map[string]string `json:"nats_users"` // NATS passwords by user
	PaymentKey string            `json:"payment_key"`
	// PaymentSigningSecret is that of Standard Webhooks.
	PaymentSigningSecret string           `json:"payment_signing_secret"`
	PaymentReadToken     string           `json:"payment_read_token"`
	Admins               map[string]admin `json:"admins"` // by login
}

type admin struct {
	// Password is the generated password. It is empty if auth has one that was set by the operator: that one is not stored here.
	Password string `json:"password,omitempty"`
	// Created means that auth has created the administrator. From then on auth keeps the password, and ignores the setting.
	Created bool `json:"created"`
}

func secretsFile(dataDir string) string { return filepath.Join(dataDir, "secrets.json") }

// keepSecrets reads the secrets, generates the missing ones, and saves them.
func keepSecrets(dataDir string) (*keptSecrets, error) {
	s := &keptSecrets{}
	file := secretsFile(dataDir)
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the secrets: %w", err)
	default:
		if err := json.Unmarshal(text, s); err != nil {
			return nil, fmt.Errorf("%s is damaged: restore a good copy (%w)", file, err)
		}
	}
	if s.Roles == nil {
		s.Roles = map[string]string{}
	}
	if s.NATSUsers == nil {
		s.NATSUsers = map[string]string{}
	}
	if s.Admins == nil {
		s.Admins = map[string]admin{}
	}
	for _, service := range postgres.Services() {
		for _, role := range []string{service, postgres.Owner(service)} {
			if s.Roles[role] == "" {
				s.Roles[role] = rand.Text()
			}
		}
	}
	for _, user := range nats.Users() {
		if s.NATSUsers[user] == "" {
			s.NATSUsers[user] = rand.Text()
		}
	}
	if s.PaymentKey == "" {
		s.PaymentKey = rand.Text()
	}
	if s.PaymentSigningSecret == "" {
		s.PaymentSigningSecret = secrets.SigningSecret()
	}
	if s.PaymentReadToken == "" {
		s.PaymentReadToken = rand.Text()
	}
	return s, s.save(dataDir)
}

func (s *keptSecrets) save(dataDir string) error {
	if err := writePrivate(secretsFile(dataDir), s); err != nil {
		return fmt.Errorf("save the secrets: %w", err)
	}
	return nil
}

// adminPassword returns the password to give to auth, and whether it was generated. It is empty if the operator set the password for an earlier run
// and not for this one: auth has it, and the launcher does not. settleAdmin finds out whether auth accepted it.
func (s *keptSecrets) adminPassword(login, given string) (password string, madeUp bool) {
	kept := s.Admins[login]
	if given != "" {
		return given, false
	}
	if !kept.Created && kept.Password == "" {
		kept.Password = rand.Text()
		s.Admins[login] = kept
	}
	return kept.Password, kept.Password != ""
}

func signingKeysFile(dataDir string) string { return filepath.Join(dataDir, "signing-keys.json") }

// signingKeys makes auth generate its keys if there are none.
func signingKeys(ctx context.Context, cfg Config) (file string, err error) {
	file = signingKeysFile(cfg.DataDir)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	text, err := secrets.SigningKeys(ctx, filepath.Join(cfg.BinDir, Auth))
	if err != nil {
		return "", err
	}
	if err := secrets.Write(file, text, 0o600); err != nil {
		return "", fmt.Errorf("save the signing keys: %w", err)
	}
	return file, nil
}

// writePrivate writes a value as JSON to a file of mode 0600.
func writePrivate(file string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return secrets.Write(file, string(text), 0o600)
}
