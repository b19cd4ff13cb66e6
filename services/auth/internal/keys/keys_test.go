package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"lavka/libs/service/token"
	"lavka/services/auth/internal/auth"
)

func newFile(t *testing.T) (path, id string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keys.json")
	key, err := Add(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, key.ID
}

func TestPrivateKeysAreNotPublished(t *testing.T) {
	t.Parallel()
	path, _ := newFile(t)
	ring, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	public, err := json.Marshal(ring.Public())
	if err != nil {
		t.Fatal(err)
	}
	var stored file
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	if len(stored.Keys[0].D) != 43 || strings.Contains(string(public), stored.Keys[0].D) || strings.Contains(string(public), `"d"`) {
		t.Errorf("the private key is published: %s", public)
	}
	set, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if s := set[0].String(); strings.Contains(s, stored.Keys[0].D) {
		t.Errorf("the private key is printed: %s", s)
	}
}

// The key pair of RFC 8037, appendix A, and its thumbprint.
func TestKnownKey(t *testing.T) {
	t.Parallel()
	const rfc = `{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}`
	set, err := Parse([]byte(`{"keys":[` + rfc + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := thumbprint(set[0].public()); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("thumbprint %s", got)
	}
	for name, text := range map[string]string{
		"nothing": ``, "no set": `[]`, "no keys": `{"keys":[]}`, "twice": `{"keys":[` + rfc + `,` + rfc + `]}`,
		"public only": `{"keys":[` + strings.Replace(rfc, `"d":"nWG`, `"e":"nWG`, 1) + `]}`,
		"another x":   `{"keys":[` + strings.Replace(rfc, `"x":"11q`, `"x":"22q`, 1) + `]}`,
		"no kid":      `{"keys":[` + strings.Replace(rfc, `"kid":"a"`, `"kid":""`, 1) + `]}`,
		"an EC key":   `{"keys":[` + strings.Replace(rfc, `"OKP"`, `"EC"`, 1) + `]}`,
		"another":     `{"keys":[` + strings.Replace(rfc, `Ed25519`, `X25519`, 1) + `]}`,
		"short":       `{"keys":[` + strings.Replace(rfc, `nWGxne`, ``, 1) + `]}`,
		"a long kid":  `{"keys":[` + strings.Replace(rfc, `"kid":"a"`, `"kid":"`+strings.Repeat("a", 129)+`"`, 1) + `]}`,
	} {
		if _, err := Parse([]byte(text)); err == nil || strings.Contains(err.Error(), "nWGxne") {
			t.Errorf("%s: %v", name, err)
		}
	}
	longest := strings.Replace(rfc, `"kid":"a"`, `"kid":"`+strings.Repeat("a", 128)+`"`, 1)
	if _, err := Parse([]byte(`{"keys":[` + rfc + `,` + longest + `]}`)); err != nil {
		t.Errorf("a kid of 128 characters: %v", err)
	}
	for _, second := range []string{rfc, `{}`} {
		if _, err := Parse([]byte(`{"keys":[` + rfc + `,` + second + `]}`)); err == nil || !strings.HasPrefix(err.Error(), "key 2 of the set") {
			t.Errorf("a second key %s: %v", second, err)
		}
	}
}

func TestTokenNamesItsSession(t *testing.T) {
	t.Parallel()
	path, _ := newFile(t)
	ring, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range []uuid.UUID{uuid.Nil, uuid.Must(uuid.NewV7())} {
		want := ""
		if session != uuid.Nil {
			want = session.String()
		}
		text, err := NewIssuer(ring, "lavka", "shop", time.Minute, time.Now).AccessToken(auth.LoggedIn{User: auth.User{ID: 7, Role: auth.RoleUser, TokenVersion: 1}, Session: session})
		if err != nil {
			t.Fatal(err)
		}
		v, err := token.NewVerifier(ring, "lavka", "shop", time.Hour, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := v.Verify(t.Context(), text); err != nil || id.Session != want {
			t.Errorf("the token of session %s names %q: %v", session, id.Session, err)
		}
	}
}

func TestRingFollowsTheFile(t *testing.T) {
	t.Parallel()
	path, first := newFile(t)
	var log bytes.Buffer
	ring, err := Open(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "every user") {
		t.Errorf("a warning about a file that only its owner can read: %s", log.String())
	}
	signing := func() string { id, _ := ring.signing(); return id }
	second, err := Add(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Promote(path, second.ID); err != nil {
		t.Fatal(err)
	}
	if signing() != first {
		t.Error("the signing key changed before the file was reloaded")
	}
	ring.poll(t.Context())
	if signing() != second.ID || len(ring.Public()) != 2 {
		t.Errorf("%s signs, of %d keys", signing(), len(ring.Public()))
	}
	// The file is missing, then broken, then back.
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	ring.poll(t.Context())
	ring.poll(t.Context())
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	ring.poll(t.Context())
	ring.poll(t.Context())
	if n := strings.Count(log.String(), "keeping the current ones"); n != 2 || signing() != second.ID {
		t.Errorf("logged %d times; %s signs\n%s", n, signing(), log.String())
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := Remove(path, first); err != nil {
		t.Fatal(err)
	}
	ring.poll(t.Context())
	if signing() != second.ID || len(ring.Public()) != 1 {
		t.Errorf("%s signs, of %d", signing(), len(ring.Public()))
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, slog.New(slog.NewTextHandler(&log, nil))); err != nil || !strings.Contains(log.String(), "every user on this machine") {
		t.Errorf("%v", err)
	}
	if _, err := Open(path+".none", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "auth keys new") {
		t.Errorf("%v", err)
	}
}

// A file that could not be read is reloaded as soon as it can be read, even if its
// time and size are unchanged, as after chmod.
func TestRingTriesAgain(t *testing.T) {
	t.Parallel()
	path, _ := newFile(t)
	var log bytes.Buffer
	ring, err := Open(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Add(path)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	write := func(text []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	write(bytes.Repeat([]byte("x"), len(good)))
	for range 3 {
		ring.poll(t.Context())
	}
	if n := strings.Count(log.String(), "can't read"); n != 1 || len(ring.Public()) != 1 {
		t.Errorf("logged %d times, %d keys\n%s", n, len(ring.Public()), log.String())
	}
	write(good)
	ring.poll(t.Context())
	if public := ring.Public(); len(public) != 2 || public[1].ID != second.ID {
		t.Errorf("not reloaded: %v", public)
	}
	write(bytes.Repeat([]byte("x"), len(good)+1))
	ring.poll(t.Context())
	if n := strings.Count(log.String(), "can't read"); n != 2 {
		t.Errorf("a new failure was logged, %d in total, want 2\n%s", n, log.String())
	}
}

func TestTokensAreGoodUntilTheirKeyGoes(t *testing.T) {
	t.Parallel()
	path, first := newFile(t)
	ring, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	verify := func(text string) error {
		// A new verifier each time, whose cache is empty.
		v, err := token.NewVerifier(ring, "lavka", "shop", time.Hour, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		id, err := v.Verify(t.Context(), text)
		if err == nil && (id.UserID != 7 || id.Role != "admin" || id.Version != 3) {
			t.Errorf("%+v", id)
		}
		return err
	}
	text, err := NewIssuer(ring, "lavka", "shop", time.Minute, time.Now).AccessToken(auth.LoggedIn{User: auth.User{ID: 7, Role: auth.RoleAdmin, TokenVersion: 3}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := Add(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Promote(path, second.ID); err != nil {
		t.Fatal(err)
	}
	ring.poll(t.Context())
	if err := verify(text); err != nil {
		t.Errorf("after another key was promoted: %v", err)
	}
	if err := Remove(path, first); err != nil {
		t.Fatal(err)
	}
	ring.poll(t.Context())
	if err := verify(text); err == nil {
		t.Error("the token is valid after its key was removed")
	}
	late := NewIssuer(ring, "lavka", "shop", time.Minute, func() time.Time { return time.Now().Add(-time.Hour) })
	text, err = late.AccessToken(auth.LoggedIn{User: auth.User{ID: 7, Role: auth.RoleAdmin, TokenVersion: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(text); err == nil || !strings.Contains(err.Error(), jwt.ErrTokenExpired.Error()) {
		t.Errorf("an expired token: %v", err)
	}
}

func TestAKeyHasItsTimeOfCreation(t *testing.T) {
	t.Parallel()
	path, _ := newFile(t)
	set, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(time.Unix(set[0].MadeAt, 0)).Abs(); age > time.Minute {
		t.Errorf("a new key says it was created %v ago", age)
	}
	// A key of an older release has no creation time, and adding a key does not give it one.
	set[0].MadeAt = 0
	if err := rewrite(path, set); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "iat") {
		t.Errorf("%s, %v", text, err)
	}
	second, err := Add(path)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if at := ring.MadeAt(); at != 0 {
		t.Errorf("made at %d", at)
	}
	if err := Promote(path, second.ID); err != nil {
		t.Fatal(err)
	}
	ring.poll(t.Context())
	if at := ring.MadeAt(); at == 0 || at != second.MadeAt {
		t.Errorf("made at %d, want %d", at, second.MadeAt)
	}
}
