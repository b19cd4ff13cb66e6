package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"lavka/deploy/local/stack"
	"lavka/deploy/secrets"
)

// makeSecrets creates the secrets of a shop in containers. It prints their names, never their values.
func makeSecrets(ctx context.Context, _ settings, args []string) error {
	dir := "secrets"
	if len(args) == 1 && args[0] != "" {
		dir = args[0]
	} else if len(args) > 0 {
		return errors.New("secrets takes one directory: lavka secrets [DIR]")
	}
	bin, err := binDir()
	if err != nil {
		return err
	}
	made, err := secrets.Make(ctx, dir, filepath.Join(bin, stack.Auth))
	if err != nil {
		return err
	}
	if len(made) == 0 {
		_, err = fmt.Printf("%s already has all secrets; to replace one, remove its file and run this again\n", dir)
	} else {
		_, err = fmt.Printf("created in %s: %s\n", dir, strings.Join(made, ", "))
	}
	return err
}
