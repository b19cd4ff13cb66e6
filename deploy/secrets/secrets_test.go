package secrets

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// auth is built once: only it can create signing keys.
func auth(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "auth")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".")
	cmd.Dir = "../../services/auth"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, relErr := filepath.Rel(dir, path)
		if all[name] = string(text); relErr != nil {
			return relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMake(t *testing.T) {
	t.Parallel()
	dir, binary := filepath.Join(t.TempDir(), "secrets"), auth(t)
	made, err := Make(t.Context(), dir, binary)
	if err != nil {
		t.Fatal(err)
	}
	first := contents(t, dir)
	if len(first) != 18 || len(made) != len(first) {
		t.Errorf("%d files, but reported %v", len(first), made)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: others can access it", info, err)
	}
	seen := map[string]string{}
	for name, text := range first {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o444 {
			t.Errorf("%s: %v, %v: a container can't read it, or can write it", name, info, err)
		}
		if other := seen[text]; other != "" || len(text) < 20 {
			t.Errorf("%s is %q, as is %q", name, text, other)
		}
		seen[text] = name
	}
	for name, prefix := range map[string]string{
		"auth-database-url": "postgres://auth_", "catalog-migrate-database-url": "postgres://catalog_owner:", "billing-nats-url": "nats://billing:",
		"operator-nats-url": "nats://operator:", "payment-signing-secrets": "whsec_", "role-passwords.sql": "", "nats-passwords": "OPERATOR_NATS_PASSWORD=", "signing-keys/keys.json": "{",
	} {
		if strings.Contains(prefix, "OPERATOR") {
			prefix = "" // any user may come first
		}
		if !strings.HasPrefix(first[name], prefix) {
			t.Errorf("%s does not begin with %s", name, prefix)
		}
	}

	// Again: nothing changes.
	if made, err := Make(t.Context(), dir, binary); err != nil || len(made) != 0 {
		t.Errorf("created %v again (%v)", made, err)
	}
	// A removed secret is created again with its whole set, and nothing else changes.
	for _, name := range []string{"nats-passwords", "payment-keys"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	made, err = Make(t.Context(), dir, binary)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range contents(t, dir) {
		if anew := strings.Contains(name, "nats") || name == "payment-keys"; anew == (first[name] == text) || anew != slices.Contains(made, name) {
			t.Errorf("%s has changed: %v; created: %v", name, first[name] != text, made)
		}
	}
}

func TestMakeFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(t.Context(), file, "none"); err == nil {
		t.Error("secrets were created in a file")
	}
	dir := filepath.Join(t.TempDir(), "secrets")
	if _, err := Make(t.Context(), dir, filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "create the signing keys") {
		t.Errorf("signing keys were created without auth: %v", err)
	}
}
