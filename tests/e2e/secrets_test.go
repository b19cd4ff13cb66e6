package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/deploy/local/stack"
)

// secrets holds the secrets of all shops in these tests. Each may be shown to its
// owner, once, and nowhere else: no later response, no output of a service, no row may
// contain it.
var secrets secretTexts

// secretTexts searches for many texts at once, by their first 8 bytes.
type secretTexts struct {
	mu      sync.RWMutex
	byStart map[[8]byte][]secretText
}

type secretText struct{ what, text string }

// keep adds a secret. It ignores secrets of less than 8 bytes, which could match other text.
func (s *secretTexts) keep(what, text string) {
	if len(text) < 8 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byStart == nil {
		s.byStart = map[[8]byte][]secretText{}
	}
	start := [8]byte([]byte(text))
	for _, known := range s.byStart[start] {
		if known.text == text {
			return
		}
	}
	s.byStart[start] = append(s.byStart[start], secretText{what, text})
}

// in returns an error if a text contains a secret.
func (s *secretTexts) in(where string, text []byte) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range max(0, len(text)-7) {
		for _, known := range s.byStart[[8]byte(text[i:i+8])] {
			if bytes.HasPrefix(text[i:], []byte(known.text)) {
				return fmt.Errorf("%s contains %s: %q", where, known.what, text[max(0, i-200):min(len(text), i+len(known.text)+50)])
			}
		}
	}
	return nil
}

// exchange searches a response for secrets that were known before it, and then keeps
// the new secrets in it.
func (s *secretTexts) exchange(r *http.Request, sent []byte, header http.Header, got []byte) error {
	if _, token, found := strings.Cut(r.Header.Get("Authorization"), " "); found {
		s.keep("an access token", signature(token))
	}
	s.keepMembers(sent, "password", "old_password", "new_password", "refresh_token", "signature")
	where := fmt.Sprintf("the answer to %s %s", r.Method, r.URL.Path)
	for name, values := range header {
		if err := s.in(where+" in "+name, []byte(strings.Join(values, "\n"))); err != nil {
			return err
		}
	}
	if err := s.in(where, repeatable(r.URL.Path, got)); err != nil {
		return err
	}
	s.keepMembers(got, "access_token", "refresh_token", "activation_link", "link")
	return nil
}

// repeatable returns a response without the member that may be shown again: the same
// refresh token within the grace always has the same successor.
func repeatable(path string, got []byte) []byte {
	var members map[string]any
	if path != "/auth/refresh" || json.Unmarshal(got, &members) != nil {
		return got
	}
	delete(members, "refresh_token")
	rest, err := json.Marshal(members)
	if err != nil { // never: it was JSON
		return got
	}
	return rest
}

// keepMembers keeps members of a JSON text as secrets.
func (s *secretTexts) keepMembers(text []byte, names ...string) {
	var members map[string]any
	if json.Unmarshal(text, &members) != nil {
		return // not every body is an object, or JSON
	}
	for _, name := range names {
		value, _ := members[name].(string)
		switch name {
		case "access_token":
			value = signature(value)
		case "activation_link":
			value = value[strings.LastIndex(value, "/")+1:]
		case "link":
			value = value[strings.LastIndex(value, "=")+1:]
		}
		s.keep("a "+name, value)
	}
}

// signature returns the signature of a token, which is unique to it.
func signature(token string) string { return token[strings.LastIndex(token, ".")+1:] }

// keepSecrets keeps the secrets that a shop's services were given.
func (s *shopUnderTest) keepSecrets() error {
	secrets.keep("the admin's password", s.AdminPassword)
	for _, key := range s.PaymentKeys {
		secrets.keep("a webhook key", key)
	}
	for _, secret := range s.PaymentSigningSecrets {
		secrets.keep("a signing secret", secret)
	}
	for _, token := range s.PaymentReadTokens {
		secrets.keep("a token of the provider", token)
	}
	for _, text := range []string{s.AdminDatabaseURL(), s.NATSURL()} {
		u, err := url.Parse(text)
		if err != nil {
			return err
		}
		password, _ := u.User.Password()
		secrets.keep("an operator's password", password)
	}
	for _, file := range []string{"secrets.json", "signing-keys.json"} {
		text, err := os.ReadFile(filepath.Join(s.data, file))
		if err != nil {
			return err
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			return err
		}
		keepLeaves(file, "", v)
	}
	return nil
}

// public members of the signing key file are not secret.
var public = []string{"kid", "x", "kty", "crv", "alg", "use"}

// keepLeaves keeps every string in a JSON value as a secret.
func keepLeaves(file, name string, v any) {
	switch v := v.(type) {
	case string:
		if !slices.Contains(public, name) {
			secrets.keep(name+" of "+file, v)
		}
	case []any:
		for _, one := range v {
			keepLeaves(file, name, one)
		}
	case map[string]any:
		for name, one := range v {
			keepLeaves(file, name, one)
		}
	}
}

// keptToItself searches the other places where a running shop stores or shows data:
// its tables, PostgreSQL's log and the metrics.
func (s *shopUnderTest) keptToItself(ctx context.Context) error {
	log, err := os.ReadFile(filepath.Join(s.data, "postgres", "postgres.log"))
	if err != nil {
		return err
	}
	errs := []error{secrets.in("PostgreSQL's log", log)}
	for _, service := range stack.Services() {
		for _, r := range s.Replicas(service) {
			a, err := (&client{base: r.InternalURL()}).plain(ctx, "/metrics")
			if err != nil {
				return err
			}
			errs = append(errs, secrets.in("/metrics of "+r.Name, a.body))
		}
	}
	conn, err := pgx.Connect(ctx, s.AdminDatabaseURL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('auth', 'catalog', 'billing')`)
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 10 {
		return fmt.Errorf("found the tables %v: %w", tables, err)
	}
	for _, table := range tables {
		rows, err := conn.Query(ctx, `SELECT t::text FROM `+table+` t`)
		if err != nil {
			return err
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		errs = append(errs, secrets.in(table, []byte(strings.Join(texts, "\n"))))
	}
	return errors.Join(errs...)
}

// The search itself works: it finds a planted secret wherever it is.
func TestTheSearchFindsSecrets(t *testing.T) {
	t.Parallel()
	var s secretTexts
	request, err := http.NewRequestWithContext(t.Context(), "POST", "http://shop/auth/login", nil)
	must(t, err)
	request.Header.Set("Authorization", "Bearer eyJhbGciOi.eyJpc3Mi.signature-of-mine")
	login := []byte(`{"access_token":"eyJhbGciOi.eyJpc3Mi.signature-to-come","refresh_token":"refresh-to-come"}`)
	if err := s.exchange(request, []byte(`{"login":"anna-anna","password":"password-of-anna"}`), http.Header{"X": {"anna-anna"}}, login); err != nil {
		t.Errorf("a response that issues tokens: %v", err)
	}
	register := []byte(`{"activation_link":"http://shop/auth/activate/token-of-link","user":{"login":"anna-anna"}}`)
	if err := s.exchange(request, nil, nil, register); err != nil {
		t.Errorf("a response that issues a link: %v", err)
	}
	for _, text := range []string{"password-of-anna", "signature-of-mine", "signature-to-come", "refresh-to-come", "token-of-link"} {
		for _, around := range []string{text, "x" + text, text + "x", `{"a":"` + text + `"}`, "signature-of-" + text} {
			if s.in("here", []byte(around)) == nil {
				t.Errorf("%s was not found in %s", text, around)
			}
			if s.exchange(request, nil, nil, []byte(around)) == nil || s.exchange(request, nil, http.Header{"Location": {around}}, nil) == nil {
				t.Errorf("a response with %s was not detected", around)
			}
		}
		if err := s.in("here", []byte(text[:len(text)-1])); err != nil {
			t.Errorf("a part of a secret was reported: %v", err)
		}
	}
	if err := s.in("here", register[:40]); err != nil {
		t.Errorf("a text without a secret was reported: %v", err)
	}
}
