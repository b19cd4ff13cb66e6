package stack

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lavka/libs/testkit/waittest"
)

// authWith returns an auth whose administrator has a password; without one it responds with 503.
func authWith(t *testing.T, password string) *Replica {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent struct{ Login, Password string }
		switch err := json.NewDecoder(r.Body).Decode(&sent); {
		case err != nil || r.URL.Path != "/auth/login" || sent.Login != "admin":
			w.WriteHeader(http.StatusBadRequest)
		case password == "":
			w.WriteHeader(http.StatusServiceUnavailable)
		case sent.Password != password:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(s.Close)
	return &Replica{Addr: s.Listener.Addr().String()}
}

// A run may be killed after auth has accepted a password and before that is recorded.
func TestSettleAdmin(t *testing.T) {
	t.Parallel()
	const made, given, older = "made up", "given now", "given to a run that was killed"
	for name, c := range map[string]struct {
		kept                  admin
		password              string // the password that this run gave to auth
		taken                 string // the password that auth has
		wantKept              admin
		wantPassword, wantLog string
	}{
		"made up and taken":                   {admin{Password: made}, made, made, admin{made, true}, made, ""},
		"given and taken":                     {admin{}, given, given, admin{"", true}, given, ""},
		"given after one was made up for it":  {admin{Password: made}, given, given, admin{"", true}, given, ""},
		"made up after one was given":         {admin{Password: made}, made, older, admin{"", true}, "", ""},
		"given after the one made up was":     {admin{Password: made}, given, made, admin{made, true}, given, ""},
		"given after all that we know of":     {admin{Password: made}, given, older, admin{"", true}, given, ""},
		"settled long ago":                    {admin{made, true}, given, older, admin{made, true}, given, ""},
		"auth is too busy to say":             {admin{Password: made}, made, "", admin{Password: made}, made, "503"},
		"too busy to say, and given this one": {admin{Password: made}, given, "", admin{Password: made}, given, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, out := t.TempDir(), &waittest.Text{}
			s := &Stack{
				AdminLogin: "admin", AdminPassword: c.password, AdminPasswordMadeUp: c.password == made,
				cfg:      Config{DataDir: dir, Log: slog.New(slog.NewTextHandler(out, nil))},
				secrets:  &keptSecrets{Admins: map[string]admin{"admin": c.kept}},
				replicas: map[string][]*Replica{Auth: {authWith(t, c.taken)}},
			}
			if err := s.settleAdmin(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.AdminPassword != c.wantPassword || s.AdminPasswordMadeUp != (c.wantPassword == made) {
				t.Errorf("the password is %q, made up: %v", s.AdminPassword, s.AdminPasswordMadeUp)
			}
			if got := s.secrets.Admins["admin"]; got != c.wantKept {
				t.Errorf("kept: %+v", got)
			}
			if text := out.String(); !strings.Contains(text, c.wantLog) || (text == "") != (c.wantLog == "") {
				t.Errorf("it logged %q", text)
			}
			if c.wantKept == c.kept {
				return
			}
			written, err := keepSecrets(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := written.Admins["admin"]; got != c.wantKept {
				t.Errorf("saved: %+v", got)
			}
		})
	}
}
