package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// newSigningKey replaces the key that signs tokens, as docs/operations.md does after a theft: each step waits only until the changed Secret has arrived. Tokens
// signed with the new key work at once, and those signed with the old one until it is removed.
func (d *day) newSigningKey(ctx context.Context) error {
	var stolen *buyer // has a token that was signed with the old key
	var old, added string
	if err := d.underLoad(ctx, func() (err error) {
		if stolen, err = d.loggedIn(ctx); err != nil {
			return err
		}
		if old, err = stolen.signedWith(); err != nil {
			return err
		}
		if added, err = d.keys("new"); err != nil {
			return err
		}
		if err := d.published(ctx, old, added); err != nil {
			return err
		}
		if _, err := d.keys("promote", added); err != nil {
			return err
		}
		var fresh *buyer
		if err := d.applied(ctx, func() (missing, err error) {
			if fresh, err = d.loggedIn(ctx); err != nil {
				return nil, err
			}
			key, err := fresh.signedWith()
			if key != added {
				missing = fmt.Errorf("tokens are signed with %s instead of %s", key, added)
			}
			return missing, err
		}); err != nil {
			return err
		}
		return fresh.admitted(ctx, http.StatusOK, "/users/me", "/purchases", "/bills")
	}); err != nil {
		return err
	}
	return d.underLoad(ctx, func() error { // of a user who has logged in since
		if _, err := d.keys("remove", old); err != nil {
			return err
		}
		if err := d.published(ctx, added); err != nil {
			return err
		}
		if err := d.Until(ctx, func() (missing, err error) { return stolen.admitted(ctx, http.StatusUnauthorized, "/users/me"), nil }); err != nil {
			return err
		}
		for _, s := range []string{"catalog", "billing"} {
			if err := d.restart(ctx, s); err != nil {
				return err
			}
		}
		if err := d.Settled(ctx); err != nil {
			return err
		}
		return stolen.admitted(ctx, http.StatusUnauthorized, "/purchases", "/bills")
	})
}

// keys changes the file of signing keys.
func (d *day) keys(command string, key ...string) (string, error) {
	file := filepath.Join(d.secrets(), "signing-keys/keys.json")
	out, err := exec.Command(filepath.Join(d.root, "bin/auth"), append([]string{"keys", command, file}, key...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("auth keys %s: %w\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// applied applies the Secrets, and waits until they have arrived.
func (d *day) applied(ctx context.Context, arrived func() (missing, err error)) error {
	if err := d.applySecrets(ctx); err != nil {
		return err
	}
	return d.Until(ctx, arrived)
}

// published applies the Secrets, and waits until auth publishes exactly these keys.
func (d *day) published(ctx context.Context, want ...string) error {
	slices.Sort(want)
	c, err := d.newClient()
	if err != nil {
		return err
	}
	return d.applied(ctx, func() (missing, err error) {
		a, err := c.do(ctx, http.MethodGet, "/.well-known/jwks.json", nil, nil, http.StatusOK)
		if err != nil {
			return nil, err
		}
		var set struct {
			Keys []struct{ Kid string }
		}
		if err := json.Unmarshal(a.text, &set); err != nil {
			return nil, err
		}
		var are []string
		for _, k := range set.Keys {
			are = append(are, k.Kid)
		}
		slices.Sort(are)
		if !slices.Equal(are, want) {
			missing = fmt.Errorf("auth publishes the keys %q instead of %q", are, want)
		}
		return missing, nil
	})
}

// loggedIn is a user with a new token.
func (d *day) loggedIn(ctx context.Context) (*buyer, error) {
	c, err := d.newClient()
	if err != nil {
		return nil, err
	}
	b := &buyer{client: c}
	return b, b.logIn(ctx)
}

// signedWith is the id of the key that signed the user's token.
func (b *buyer) signedWith() (string, error) {
	encoded, _, _ := strings.Cut(b.token, ".")
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("the header of a token: %w", err)
	}
	var header struct{ Kid string }
	return header.Kid, json.Unmarshal(text, &header)
}

// admitted wants a status from the service of each path.
func (b *buyer) admitted(ctx context.Context, status int, paths ...string) error {
	for _, path := range paths {
		if _, err := b.do(ctx, http.MethodGet, path, nil, nil, status); err != nil {
			return err
		}
	}
	return nil
}
