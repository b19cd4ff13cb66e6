// Package nats sets up the shop's NATS server: a user for each service, who may do what that service does and no more.
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

// Operator is the user who may do everything within the shop's account, streams of others included. No service is given it.
const Operator = "operator"

// Users are all users of nats.conf: one for each service, and the operator.
func Users() []string { return append(postgres.Services(), Operator) }

// Options are what nats.conf says, with the passwords by user: one for each of Users, made up at random, of 72 bytes at most. Only their hashes
// go into the options.
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

// Hash is what NATS takes for a password of 72 bytes at most, which is random: that needs no dear hash, and a service that reconnects does not
// wait for one.
func Hash(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	return string(hash), err
}

// Variable is what nats.conf calls a user's password. In the file it goes over the environment.
func Variable(user string) string { return strings.ToUpper(user) + "_NATS_PASSWORD" }
