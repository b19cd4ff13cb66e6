// Package secrets makes the secrets of a shop in containers: a file each, for docker-compose.yml to hand to whom it concerns.
package secrets

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"lavka/deploy/nats"
	"lavka/deploy/postgres"
)

// set is some files that are made together, since they belong together.
type set struct {
	files []string // the last to be written comes last: without it the set is made again
	make  func(context.Context) (map[string]string, error)
}

// Make makes what is missing in a directory and says what it made. What is there stays as it is; to have a new secret, remove its file. authBinary makes
// the signing keys.
//
// The directory is its owner's alone. Within it everybody may read: a file that an engine puts into a container keeps its owner, whom the container
// does not know.
func Make(ctx context.Context, dir, authBinary string) (made []string, err error) {
	for _, d := range []string{dir, filepath.Join(dir, "signing-keys")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make the directory of secrets: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep the secrets to ourselves: %w", err)
	}
	for _, s := range sets(authBinary) {
		missing, err := absent(dir, s.files)
		if err != nil {
			return made, err
		}
		if !missing {
			continue
		}
		texts, err := s.make(ctx)
		if err != nil {
			return made, err
		}
		for _, name := range s.files {
			if err := write(filepath.Join(dir, name), texts[name]); err != nil {
				return made, fmt.Errorf("keep the secrets: %w", err)
			}
			made = append(made, name)
		}
	}
	return made, nil
}

func sets(authBinary string) []set {
	roles := set{make: roles}
	users := set{files: []string{"operator-nats-url"}, make: users}
	for _, service := range postgres.Services() {
		roles.files = append(roles.files, service+"-database-url", service+"-migrate-database-url")
		users.files = append(users.files, service+"-nats-url")
	}
	roles.files = append(roles.files, "role-passwords.sql")
	users.files = append(users.files, "nats-passwords")
	signing := filepath.Join("signing-keys", "keys.json")
	return []set{
		one("postgres-password"), roles, users, one("admin-password"), one("payment-keys"),
		{files: []string{signing}, make: func(ctx context.Context) (map[string]string, error) {
			text, err := signingKeys(ctx, authBinary)
			return map[string]string{signing: text}, err
		}},
	}
}

// one is a secret that stands alone: a random word.
func one(name string) set {
	return set{files: []string{name}, make: func(context.Context) (map[string]string, error) {
		return map[string]string{name: rand.Text()}, nil
	}}
}

// roles gives each role of Postgres a password: in a URL for its service, and as a verifier for the server.
func roles(context.Context) (map[string]string, error) {
	texts := map[string]string{}
	var alter strings.Builder
	for _, service := range postgres.Services() {
		for role, name := range map[string]string{service: service + "-database-url", postgres.Owner(service): service + "-migrate-database-url"} {
			password := rand.Text()
			verifier, err := postgres.Verifier(password)
			if err != nil {
				return nil, fmt.Errorf("derive a password's verifier: %w", err)
			}
			texts[name] = (&url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: "postgres:5432", Path: "lavka"}).String()
			fmt.Fprintf(&alter, "ALTER ROLE %s PASSWORD '%s';\n", role, verifier)
		}
	}
	texts["role-passwords.sql"] = alter.String()
	return texts, nil
}

// users gives each user of NATS a password: in a URL, and as a hash for the server, for a shell to read.
func users(context.Context) (map[string]string, error) {
	texts := map[string]string{}
	var variables strings.Builder
	for _, user := range nats.Users() {
		password := rand.Text()
		hash, err := nats.Hash(password)
		if err != nil {
			return nil, fmt.Errorf("hash a password for NATS: %w", err)
		}
		texts[user+"-nats-url"] = (&url.URL{Scheme: "nats", User: url.UserPassword(user, password), Host: "nats:4222"}).String()
		fmt.Fprintf(&variables, "%s='%s'\n", nats.Variable(user), hash)
	}
	texts["nats-passwords"] = variables.String()
	return texts, nil
}

// signingKeys lets auth make its keys.
func signingKeys(ctx context.Context, authBinary string) (text string, err error) {
	dir, err := os.MkdirTemp("", "signing-keys-*") // 0700
	if err != nil {
		return "", fmt.Errorf("make the signing keys: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "keys.json")
	cmd := exec.CommandContext(ctx, authBinary, "keys", "new", file)
	cmd.Env = []string{} // settings of ours are none of its business
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make the signing keys: %w: %s", err, strings.TrimSpace(string(out)))
	}
	keys, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("make the signing keys: %w", err)
	}
	return string(keys), nil
}

func absent(dir string, files []string) (bool, error) {
	for _, name := range files {
		switch _, err := os.Stat(filepath.Join(dir, name)); {
		case errors.Is(err, fs.ErrNotExist):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("look for the secrets: %w", err)
		}
	}
	return false, nil
}

// write puts a text into a file, all of it or none.
func write(path, text string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(strings.TrimRight(text, "\n") + "\n")
	if err := errors.Join(err, f.Chmod(0o444), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
