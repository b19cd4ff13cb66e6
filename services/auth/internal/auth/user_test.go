package auth

import (
	"errors"
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
	active := User{ActivatedAt: &earlier}
	spent := func(ago time.Duration) *time.Time { at := noon.Add(-ago); return &at }
	for _, c := range []struct {
		name  string
		token StoredToken
		user  User
		want  RefreshDecision
	}{
		{"fresh", StoredToken{ExpiresAt: noon.Add(1)}, active, Rotate},
		{"expired", StoredToken{ExpiresAt: noon}, active, Refuse},
		{"just spent", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(0)}, active, GiveAgain},
		{"spent by a concurrent request that read the clock later", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(-time.Millisecond)}, active, GiveAgain},
		{"at the end of grace", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(Grace)}, active, GiveAgain},
		{"the longest session", StoredToken{SessionStartedAt: noon.Add(1 - MaxSession), ExpiresAt: noon.Add(1)}, active, Rotate},
		{"too long a session", StoredToken{SessionStartedAt: noon.Add(-MaxSession), ExpiresAt: noon.Add(1)}, active, Refuse},
		{"stolen", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(Grace + 1)}, active, EndSession},
		{"ended", StoredToken{ExpiresAt: noon.Add(1), SessionEnded: true}, active, Refuse},
		{"ended, just spent", StoredToken{ExpiresAt: noon.Add(1), SpentAt: spent(0), SessionEnded: true}, active, Refuse},
		{"disabled", StoredToken{ExpiresAt: noon.Add(1)}, User{ActivatedAt: &earlier, DisabledAt: &earlier}, Refuse},
		{"inactive", StoredToken{ExpiresAt: noon.Add(1)}, User{}, Refuse},
	} {
		if c.token.SessionStartedAt.IsZero() {
			c.token.SessionStartedAt = earlier
		}
		if got := DecideRefresh(noon, c.token, c.user); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
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
	for _, login := range []string{"", "ab", strings.Repeat("a", 65), ".abc", "_abc", "-abc", "@abc", "+abc", "a b c", "аннa", "anna\n", "a/b", "a%b", "İstanbul", "a'b", "abc\x00"} {
		if err := CheckLogin(login); fieldOf(err) != "login" {
			t.Errorf("%q is accepted as a login: %v", login, err)
		}
	}
}

func TestPasswordRules(t *testing.T) {
	t.Parallel()
	check := func(login, password string) error {
		if err := checkPasswordLength(password, "password"); err != nil {
			return err
		}
		return checkPasswordStrength(login, password, "password")
	}
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

// zxcvbn alone takes seconds for the first of these, and minutes for all.
func TestStrengthIsBounded(t *testing.T) {
	t.Parallel()
	start := time.Now()
	for range 30 {
		for _, slow := range []string{strings.Repeat("4@8({[3690!1|7$5+%2", 14)[:maxPassword], "5{655597|+$4183[50%%6|(5", strings.Repeat("bdhdhgacefcgbe", 18)} {
			if err := checkPasswordStrength("anna", slow, "password"); err != nil {
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
		_ = checkPasswordStrength(login, password, "password")
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
