// Package nats configures the shop's NATS server: a user for each service, with only the permissions that the service needs.
package nats

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"

	"lavka/deploy/postgres"
)

//go:embed nats.conf
var config string

// Operator is the user who may do everything within the shop's account, including to the services' streams. No service uses it.
const Operator = "operator"

// Users returns all users of nats.conf: one for each service, and the operator.
func Users() []string { return append(postgres.Services(), Operator) }

// Options returns the options of nats.conf, given a password for each of Users: random, and at most 72 bytes. The options hold only their hashes.
func Options(passwords map[string]string) (*server.Options, error) {
	var variables strings.Builder
	for _, user := range Users() {
		if passwords[user] == "" {
			return nil, errors.New("NATS's user " + user + " has no password")
		}
		hash, err := Hash(passwords[user])
		if err != nil {
			return nil, fmt.Errorf("hash the password of NATS's user %s: %w", user, err)
		}
		fmt.Fprintf(&variables, "%s: %q\n", Variable(user), hash)
	}
	opts := &server.Options{}
	if err := opts.ProcessConfigString(variables.String() + config); err != nil {
		return nil, fmt.Errorf("read nats.conf: %w", err)
	}
	return opts, nil
}

// Hash returns the hash with which NATS checks a password of at most 72 bytes. A random password does not need an expensive hash, and with a cheap one
// services reconnect faster.
func Hash(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	return string(hash), err
}

// Variable returns the name of a user's password in nats.conf. A definition in the file overrides the environment.
func Variable(user string) string { return strings.ToUpper(user) + "_NATS_PASSWORD" }
