// Package secrets creates the secrets of a shop in containers: one file each, which docker-compose.yml mounts only where it is needed.
package secrets

import (
	"context"
	"crypto/rand"
	"encoding/base64"
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

// set is a group of files that must be created together.
type set struct {
	files []string // written in this order: if a later one is missing, the whole set is created again
	make  func(context.Context) (map[string]string, error)
}

// Make creates the secrets that are missing in a directory, and returns their names. It never changes an existing one: to replace a secret, remove its
// file. It runs authBinary to create the signing keys.
//
// The directory is accessible only to its owner, but the files in it are readable for all: a file that is mounted into a container keeps its owner, who
// is not a user of the container.
func Make(ctx context.Context, dir, authBinary string) (made []string, err error) {
	for _, d := range []string{dir, filepath.Join(dir, "signing-keys")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("create the directory of secrets: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("restrict the directory of secrets: %w", err)
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
			if err := Write(filepath.Join(dir, name), texts[name], 0o444); err != nil {
				return made, fmt.Errorf("write the secrets: %w", err)
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
		one("postgres-password"), roles, users, one("admin-password"), one("payment-keys"), signingSecret("payment-signing-secrets"), one("payment-read-tokens"),
		{files: []string{signing}, make: func(ctx context.Context) (map[string]string, error) {
			text, err := SigningKeys(ctx, authBinary)
			return map[string]string{signing: text}, err
		}},
	}
}

// one is a set of a single secret: a random word.
func one(name string) set {
	return set{files: []string{name}, make: func(context.Context) (map[string]string, error) {
		return map[string]string{name: rand.Text()}, nil
	}}
}

func signingSecret(name string) set {
	return set{files: []string{name}, make: func(context.Context) (map[string]string, error) {
		return map[string]string{name: SigningSecret()}, nil
	}}
}

// SigningSecret returns a new secret of Standard Webhooks: "whsec_" and the Base64 of 32 random bytes.
func SigningSecret() string {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(secret)
}

// login creates a Postgres role with which the replicas of a service log in, and which has that service's rights. Every set of passwords has a role of its
// own, so that replicas with the previous one keep working while they are replaced. Roles that are no longer used are dropped.
const login = `
SELECT 'CREATE ROLE %[2]s LOGIN IN ROLE %[1]s' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[2]s') \gexec
ALTER ROLE %[2]s PASSWORD '%[3]s';
ALTER ROLE %[1]s PASSWORD NULL;
SELECT format('DROP ROLE %%I', r.rolname) FROM pg_roles r JOIN pg_auth_members m ON m.member = r.oid AND m.roleid = '%[1]s'::regrole
WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> '%[2]s' AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.usename = r.rolname) \gexec
`

// roles creates a login role for each service, and a password for the owner of its schema: each as a URL, and as a verifier in a script for psql.
func roles(context.Context) (map[string]string, error) {
	texts := map[string]string{}
	var sql strings.Builder
	for _, service := range postgres.Services() {
		for name, role := range map[string]string{
			service + "-database-url":         service + "_" + strings.ToLower(rand.Text()[:8]),
			service + "-migrate-database-url": postgres.Owner(service),
		} {
			password := rand.Text()
			verifier, err := postgres.Verifier(password)
			if err != nil {
				return nil, fmt.Errorf("derive a password's verifier: %w", err)
			}
			texts[name] = (&url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: "postgres:5432", Path: "lavka"}).String()
			if role == postgres.Owner(service) { // only migrations use it, so it needs no second role
				fmt.Fprintf(&sql, "ALTER ROLE %s PASSWORD '%s';\n", role, verifier)
				continue
			}
			fmt.Fprintf(&sql, login, service, role, verifier)
		}
	}
	texts["role-passwords.sql"] = sql.String()
	return texts, nil
}

// users creates a password for each user of NATS: as a URL, and as a hash in a file of shell variables.
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

// SigningKeys runs auth's binary to create its keys, and returns the text of the key file.
func SigningKeys(ctx context.Context, authBinary string) (text string, err error) {
	dir, err := os.MkdirTemp("", "signing-keys-*") // 0700
	if err != nil {
		return "", fmt.Errorf("create the signing keys: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "keys.json")
	cmd := exec.CommandContext(ctx, authBinary, "keys", "new", file)
	cmd.Env = []string{} // our settings must not affect it
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("create the signing keys: %w: %s", err, strings.TrimSpace(string(out)))
	}
	keys, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("create the signing keys: %w", err)
	}
	return string(keys), nil
}

func absent(dir string, files []string) (bool, error) {
	for _, name := range files {
		switch _, err := os.Stat(filepath.Join(dir, name)); {
		case errors.Is(err, fs.ErrNotExist):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("check for existing secrets: %w", err)
		}
	}
	return false, nil
}

// Write replaces a file atomically: on an error it stays as it was. The text ends with
// exactly one line break.
func Write(path, text string, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(strings.TrimRight(text, "\n") + "\n")
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
