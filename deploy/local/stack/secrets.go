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

// keptSecrets is what the launcher has made up, once for the life of the data.
type keptSecrets struct {
	Roles      map[string]string `json:"roles"`      // PostgreSQL's, by role
	NATSUsers  map[string]string `json:"nats_users"` // by user
	PaymentKey string            `json:"payment_key"`
	Admins     map[string]admin  `json:"admins"` // by login
}

type admin struct {
	// Password is what we made up. It is empty when auth has one that was given: then it is not ours to keep.
	Password string `json:"password,omitempty"`
	// Created means that auth has the administrator. From then on it keeps the password, whatever it is told.
	Created bool `json:"created"`
}

func secretsFile(dataDir string) string { return filepath.Join(dataDir, "secrets.json") }

// keepSecrets reads the secrets, adds what is missing and writes them down.
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
			return nil, fmt.Errorf("%s is damaged: bring back a good copy (%w)", file, err)
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
	return s, s.save(dataDir)
}

func (s *keptSecrets) save(dataDir string) error {
	if err := writePrivate(secretsFile(dataDir), s); err != nil {
		return fmt.Errorf("keep the secrets: %w", err)
	}
	return nil
}

// adminPassword says what auth is to be told, and whether we made it up. It is empty for an administrator of an earlier run
// whose password was given then and is not now: auth has it, and we don't. Which of those it is told auth takes, settleAdmin finds out.
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

// signingKeys has auth make its keys, where there are none.
func signingKeys(ctx context.Context, cfg Config) (file string, err error) {
	file = filepath.Join(cfg.DataDir, "signing-keys.json")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	text, err := secrets.SigningKeys(ctx, filepath.Join(cfg.BinDir, Auth))
	if err != nil {
		return "", err
	}
	if err := secrets.Write(file, text, 0o600); err != nil {
		return "", fmt.Errorf("keep the signing keys: %w", err)
	}
	return file, nil
}

// writePrivate puts a value into a file that nobody else can read.
func writePrivate(file string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return secrets.Write(file, string(text), 0o600)
}
