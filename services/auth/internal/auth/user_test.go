package auth

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"lavka/libs/domain/problem"
)

var (
	noon    = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	earlier = noon.Add(-time.Hour)
)

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		user     User
		want     Status
		mayLogIn error
	}{
		{"new", User{}, Inactive, ErrUserInactive},
		{"activated", User{ActivatedAt: &earlier}, Active, nil},
		{"disabled", User{ActivatedAt: &earlier, DisabledAt: &noon}, Disabled, ErrUserDisabled},
		{"disabled before it was active", User{DisabledAt: &noon}, Disabled, ErrUserDisabled},
	} {
		if got := c.user.Status(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if err := c.user.MayLogIn(); !errors.Is(err, c.mayLogIn) {
			t.Errorf("%s: %v, want %v", c.name, err, c.mayLogIn)
		}
	}
}

func TestDecideActivation(t *testing.T) {
	t.Parallel()
	inactive, active := User{}, User{ActivatedAt: &earlier}
	disabled := User{ActivatedAt: &earlier, DisabledAt: &earlier}
	good, expired := StoredLink{ExpiresAt: noon.Add(1)}, StoredLink{ExpiresAt: noon}
	used := StoredLink{ExpiresAt: noon, UsedAt: &earlier}
	for _, c := range []struct {
		name    string
		link    StoredLink
		user    User
		want    bool
		refusal error
	}{
		{"in time", good, inactive, true, nil},
		{"expiring now", expired, inactive, false, ErrActivationExpired},
		{"used and expired", used, active, false, nil},
		{"second link, in time", good, active, true, nil},
		{"second link, expired", expired, active, false, ErrActivationExpired},
		{"disabled", good, disabled, false, ErrUserDisabled},
		{"disabled, used", used, disabled, false, ErrUserDisabled},
		{"disabled, expired", expired, User{DisabledAt: &earlier}, false, ErrUserDisabled},
	} {
		got, err := DecideActivation(noon, c.link, c.user)
		if got != c.want || !errors.Is(err, c.refusal) {
			t.Errorf("%s: %v %v, want %v %v", c.name, got, err, c.want, c.refusal)
		}
	}
}

func TestDecideRefresh(t *testing.T) {
	t.Parallel()
	active := User{ActivatedAt: &earlier, SessionVersion: 2}
	current, salt := int64(2), NewSalt()
	spent := func(ago time.Duration) *time.Time { at := noon.Add(-ago); return &at }
	open := StoredSession{StartedAt: earlier, Version: &current}
	ended := StoredSession{StartedAt: earlier, Version: &current, EndedAt: &earlier}
	lasting := func(so time.Duration) StoredSession {
		return StoredSession{StartedAt: noon.Add(-so), Version: &current}
	}
	for _, c := range []struct {
		name  string
		token StoredToken
		user  User
		want  RefreshDecision
	}{
		{"fresh", StoredToken{ExpiresAt: noon.Add(1), Session: open}, active, Rotate},
		{"expired", StoredToken{ExpiresAt: noon, Session: open}, active, Refuse},
		{"just spent", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(0), Salt: &salt, Session: open}, active, GiveAgain},
		{"spent by a concurrent request that read the clock later", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(-time.Millisecond), Salt: &salt, Session: open}, active, GiveAgain},
		{"at the end of grace", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(Grace), Salt: &salt, Session: open}, active, GiveAgain},
		{"just spent by the release before", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(0), Session: open}, active, Refuse},
		{"spent by the release before, at the end of grace", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(Grace), Session: open}, active, Refuse},
		{"stolen", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(Grace + 1), Salt: &salt, Session: open}, active, EndSession},
		{"stolen, without a salt", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(Grace + 1), Session: open}, active, EndSession},
		{"the longest session", StoredToken{ExpiresAt: noon.Add(1), Session: lasting(MaxSession - 1)}, active, Rotate},
		{"too long a session", StoredToken{ExpiresAt: noon.Add(1), Session: lasting(MaxSession)}, active, Refuse},
		{"ended", StoredToken{ExpiresAt: noon.Add(1), Session: ended}, active, Refuse},
		{"ended, just spent", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(0), Salt: &salt, Session: ended}, active, Refuse},
		{"all ended", StoredToken{ExpiresAt: noon.Add(1), Session: open}, User{ActivatedAt: &earlier, SessionVersion: 3}, Refuse},
		{"disabled", StoredToken{ExpiresAt: noon.Add(1), Session: open}, User{ActivatedAt: &earlier, DisabledAt: &earlier, SessionVersion: 2}, Refuse},
		{"inactive", StoredToken{ExpiresAt: noon.Add(1), Session: open}, User{SessionVersion: 2}, Refuse},
	} {
		if got := DecideRefresh(noon, c.token, c.user); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSessionEnded(t *testing.T) {
	t.Parallel()
	one, two, later := int64(1), int64(2), noon.Add(1)
	for name, c := range map[string]struct {
		session StoredSession
		user    User
		want    bool
	}{
		"current":                             {StoredSession{StartedAt: earlier, Version: &two}, User{SessionVersion: 2, SessionsEndedAt: &noon}, false},
		"of an earlier version":               {StoredSession{StartedAt: later, Version: &one}, User{SessionVersion: 2, SessionsEndedAt: &noon}, true},
		"by itself":                           {StoredSession{StartedAt: later, Version: &two, EndedAt: &later}, User{SessionVersion: 2}, true},
		"without a version":                   {StoredSession{StartedAt: earlier}, User{SessionVersion: 1}, false},
		"without a version, ended since":      {StoredSession{StartedAt: earlier}, User{SessionVersion: 2, SessionsEndedAt: &noon}, true},
		"without a version, at the same time": {StoredSession{StartedAt: noon}, User{SessionVersion: 2, SessionsEndedAt: &noon}, true},
		"without a version, started since":    {StoredSession{StartedAt: later}, User{SessionVersion: 2, SessionsEndedAt: &noon}, false},
	} {
		if got := c.session.Ended(c.user); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSuccessor(t *testing.T) {
	t.Parallel()
	token, salt := NewSecret(), NewSalt()
	next := token.Successor(salt)
	if token.Successor(salt) != next || token.Successor(NewSalt()) == next || NewSecret().Successor(salt) == next || next == token {
		t.Error("a successor does not depend on both the token and the salt, and only on them")
	}
	if again, ok := ParseSecret(next.Text()); !ok || again != next {
		t.Errorf("%q can't be read", next.Text())
	}
	// RFC 2104, as computed by another program: printf '%s' AAAA…A | openssl dgst -sha256 -mac HMAC -macopt hexkey:00…00
	const want = "WKmJlMEAT8cArQAJgF6oCb1TRLWf_odUROPCibeDiIg"
	if got := (Secret{}).Successor(Salt{}).Text(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if text := fmt.Sprint(salt); text != "[redacted]" {
		t.Errorf("a salt prints as %s", text)
	}
}

func TestMayAct(t *testing.T) {
	t.Parallel()
	active := User{ActivatedAt: &earlier, TokenVersion: 2}
	disabled := User{ActivatedAt: &earlier, DisabledAt: &earlier, TokenVersion: 2}
	for name, c := range map[string]struct {
		user    User
		version int64
		want    error
	}{
		"current": {active, 2, nil}, "newer": {active, 3, nil}, "revoked": {active, 1, ErrTokenRevoked},
		"disabled": {disabled, 2, ErrTokenRevoked}, "inactive": {User{TokenVersion: 2}, 2, ErrTokenRevoked},
	} {
		if err := c.user.MayAct(Caller{UserID: 1, TokenVersion: c.version}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestCheckLogin(t *testing.T) {
	t.Parallel()
	for _, login := range []string{"abc", "A.b_c-d@e+f", "0abc", "anna@example.com", strings.Repeat("a", 64)} {
		if err := CheckLogin(login); err != nil {
			t.Errorf("%q: %v", login, err)
		}
	}
	for _, login := range []string{"", "ab", strings.Repeat("a", 65), ".abc", "_abc", "-abc", "@abc", "+abc", "a b c", "аннa", "anna\n", "a/b", "a%b", "İstanbul", "\u212aevin", "a'b", "abc\x00"} {
		if err := CheckLogin(login); fieldOf(err) != "login" {
			t.Errorf("%q is accepted as a login: %v", login, err)
		}
	}
}

func TestPasswordRules(t *testing.T) {
	t.Parallel()
	check := func(login, password string) error { return checkNew(login, password, DefaultStrength) }
	wide := make([]rune, 64) // of four bytes each
	for i := range wide {
		wide[i] = '\U0001F300' + rune(i*i%97)
	}
	for _, password := range []string{"violet tram 77 lamps", string(wide), strings.Repeat("q8fjL2nx", 32), "kettle-orbit-42", "жёлтый трамвай 7", strings.Repeat("q8fjL2nx", 16), "\U0001F600\U0001F680\U0001F431\U0001F308 zebra"} {
		if err := check("anna", password); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
	for name, password := range map[string]string{
		"short": "x7!kQ2z", "common": "password", "common with digits": "password123", "keyboard": "qwertyuiop", "substitutions": "P@$$w0rd1990", "the login, substituted": "@nn@.k4ren1n4", "one letter": strings.Repeat("a", 128),
		"a date": "01.01.1990", "the login": "anna.karenina", "the login and a digit": "anna.karenina1", "the shop": "lavkalavka",
		"too long": strings.Repeat("q8fjL2nx", 32) + "z", "seven characters": "щЖ9\u4e16ы\U0001F600ф", "easy beginning": strings.Repeat("a", 32) + "x7!kQ2z",
	} {
		if err := check("anna.karenina", password); fieldOf(err) != "password" {
			t.Errorf("%s: %q is accepted: %v", name, password, err)
		}
	}
}

// checkNew checks a new password as Credentials do.
func checkNew(login, password string, want Strength) error {
	password = Normalize(password)
	if err := checkPasswordForm(password, "password"); err != nil {
		return err
	}
	return checkPasswordStrength(login, password, "password", want)
}

// A common password is as easy to guess in other languages, and on other keyboards.
func TestPasswordsInOtherLanguages(t *testing.T) {
	t.Parallel()
	for _, password := range []string{
		"пароль123", "йцукен123", "yjdsqgfhjkm", "contraseña1", "contrase\u006e\u0303a1", "Пароль2026", "НАТАША1992", "п@роль123", "пaроль123", "фывапролдж", "parol2026", "lyubov1990", "привет12345",
		"любимаямама", "абвгдежз", "gfhjkm2026", "motdepasse1", "azertyuiop1", "passwort12", "ichliebedich", "qwertzuiop1", "senha12345", "parolachiave", "kochamcie1", "hasło12345", "şifre12345", "seniseviyorum",
		"κωδικός123", "סיסמה12345", "كلمةالسر1", "비밀번호12345", "我爱你我爱你12", "パスワード1234", "woaini1314", "ｐａｓｓｗｏｒｄ１", "пароль\u00a0123", "тфефырф1",
	} {
		if err := checkNew("natasha", password, DefaultStrength); fieldOf(err) != "password" {
			t.Errorf("%q is accepted: %v", password, err)
		}
	}
	for _, password := range []string{"жёлтый трамвай гудит ночью", "verde tejado ocho nubes", "grüne lampe neun wolken", "보라색 기차 일곱 우산 고래", "紫の電車が七本の傘を運ぶ", "ανεμόμυλος τρία καράβια ψωμί"} {
		if err := checkNew("natasha", password, DefaultStrength); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
}

// What the message advises passes at every strength, and at the lowest the length is
// enough.
func TestStrengths(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		password := make([]byte, 16)
		for i := range password {
			password[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[random.IntN(36)]
		}
		if err := checkNew("anna", string(password), MaxStrength); err != nil {
			t.Errorf("%s: %v", password, err)
		}
	}
	for _, password := range []string{"violet tram lamp herring", "correct horse battery staple", "жёлтый чайник окно рыба"} {
		if err := checkNew("anna", password, MaxStrength); err != nil {
			t.Errorf("%s: %v", password, err)
		}
	}
	for _, password := range []string{"password", "12345678", "пароль123", "aaaaaaaa", "anna.karenina"} {
		if err := checkNew("anna.karenina", password, LengthAlone); err != nil {
			t.Errorf("%s, by its length alone: %v", password, err)
		}
	}
	for _, password := range []string{"seven77", "e\u0301e\u0301e\u0301e\u0301", "with\ttab and more", "line break\n", "not UTF-8 \xff", strings.Repeat("x", 257)} {
		if err := checkNew("anna", password, LengthAlone); fieldOf(err) != "password" {
			t.Errorf("%q is accepted: %v", password, err)
		}
	}
}

// zxcvbn alone takes seconds for the first of these, and minutes for all.
func TestStrengthIsBounded(t *testing.T) {
	t.Parallel()
	start := time.Now()
	for range 30 {
		for _, slow := range []string{strings.Repeat("4@8({[3690!1|7$5+%2", 14)[:maxPassword], "5{655597|+$4183[50%%6|(5", strings.Repeat("bdhdhgacefcgbe", 18)} {
			if err := checkPasswordStrength("anna", slow, "password", DefaultStrength); err != nil {
				t.Error(err)
			}
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

func FuzzPasswordStrength(f *testing.F) {
	for _, s := range []string{"password", "\U0001F600", "ﬀ\u0301", "4@8({[3690!1|7$5+%2", "1990-01-01", "\xff\xfe"} {
		f.Add("anna", s)
	}
	f.Fuzz(func(_ *testing.T, login, password string) {
		// The result does not matter, but it must not panic.
		_ = checkPasswordStrength(login, Normalize(password), "password", MaxStrength)
	})
}

func TestSecret(t *testing.T) {
	t.Parallel()
	s := NewSecret()
	again, ok := ParseSecret(s.Text())
	if !ok || again != s || again.Hash() != s.Hash() || len(s.Text()) != 43 {
		t.Errorf("%q does not survive a round trip", s.Text())
	}
	for _, text := range []string{"", "x", s.Text() + "A", s.Text()[1:], strings.Repeat("!", 43), strings.Repeat("A", 42) + "B"} {
		if _, ok := ParseSecret(text); ok {
			t.Errorf("%q is accepted as a secret", text)
		}
	}
}

// fieldOf returns the only field that a validation problem names, otherwise "".
func fieldOf(err error) string {
	var p *problem.Error
	if !errors.As(err, &p) || p.Code != "validation_failed" || len(p.Fields) != 1 {
		return ""
	}
	return p.Fields[0].Field
}

// Fold changes what logins have, and nothing else: another letter must not become one.
func TestFold(t *testing.T) {
	t.Parallel()
	for login, want := range map[string]string{"Anna.K@Example": "anna.k@example", "\u212aevin": "\u212aevin", "İ": "İ"} {
		if got := Fold(login); got != want {
			t.Errorf("%q: %q, want %q", login, got, want)
		}
	}
}
