package auth

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newHasher returns a Hasher whose requests wait for as long as it takes, however
// slow the machine is.
func newHasher(atOnce int) *Hasher {
	h := NewHasher(atOnce)
	h.turns.patience = time.Hour
	return h
}

// hold takes a turn until the returned function is called.
func (h *Hasher) hold(t *testing.T) (end func()) {
	t.Helper()
	end, err := h.turns.enter(t.Context(), newClaim(member, "holder", "198.51.100.1"), always)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	h := NewHasher(2)
	first, second := hashPassword("violet tram"), hashPassword("violet tram")
	if first == second || !strings.HasPrefix(first, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%s, %s", first, second)
	}
	for password, want := range map[string]bool{"violet tram": true, "violet tran": false, "": false, "violet tram ": false} {
		if got, err := h.verify(first, password); err != nil || got != want {
			t.Errorf("%q: %v %v, want %v", password, got, err, want)
		}
	}
	if _, err := h.verify("$2a$10$x", "violet tram"); err == nil {
		t.Error("a hash of an unknown kind is accepted")
	}
}

// An unknown login takes as long as a wrong password, because a hash of the same
// cost is computed, in a turn.
func TestAnUnknownLoginCostsTheSame(t *testing.T) {
	t.Parallel()
	h := newHasher(1)
	ours, err := parsePHC(hashPassword("violet tram"))
	if err != nil {
		t.Fatal(err)
	}
	dummy, err := parsePHC(h.dummy)
	if err != nil {
		t.Fatal(err)
	}
	if ours.memory != dummy.memory || ours.time != dummy.time || ours.threads != dummy.threads || len(ours.hash) != len(dummy.hash) {
		t.Errorf("the cost of %+v differs from that of %+v", dummy, ours)
	}
	compared := ""
	h.compare = func(phc, _ string) (bool, error) {
		compared = phc
		return true, nil
	}
	if same, err := h.verify("", "violet tram"); same || err != nil || compared != h.dummy {
		t.Errorf("compared with %q: %v %v", compared, same, err)
	}
	throttle, _ := newThrottle(t)
	c := NewCredentials(credentialStore{}, h, throttle, DefaultStrength)
	end := h.hold(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Check(ctx, "nobody", "violet tram", "192.0.2.1"); !errors.Is(err, context.Canceled) {
		t.Errorf("the dummy hash was not computed in turn: %v", err)
	}
	end()
}

func TestParsePHC(t *testing.T) {
	t.Parallel()
	good := hashPassword("x")
	for _, text := range []string{
		"", "x", strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1), strings.Replace(good, "t=2", "t=0", 1),
		strings.Replace(good, "p=1", "p=0", 1), strings.Replace(good, "m=19456", "m=99999999", 1), good + "$", good[:strings.LastIndex(good, "$")] + "$AAAA", good[:len(good)-1] + "!",
	} {
		if _, err := parsePHC(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// A password matches however its characters are composed, and those that earlier
// releases hashed as they were sent match as before.
func TestVerifyNormalizes(t *testing.T) {
	t.Parallel()
	h := newHasher(1)
	const composed, decomposed, wide = "caf\u00e9 violet tram", "cafe\u0301 violet tram", "ｃａｆé violet tram"
	for name, c := range map[string]struct {
		hashed, sent string
		want         bool
	}{
		"composed":              {Normalize(composed), composed, true},
		"decomposed":            {Normalize(decomposed), composed, true},
		"sent decomposed":       {Normalize(composed), decomposed, true},
		"sent wide":             {Normalize(composed), wide, true},
		"by an earlier release": {decomposed, decomposed, true},
		"of an earlier release": {decomposed, composed, false},
		"without the accent":    {Normalize(composed), "cafe violet tram", false},
	} {
		if same, err := h.verify(hashPassword(c.hashed), c.sent); err != nil || same != c.want {
			t.Errorf("%s: %v %v", name, same, err)
		}
	}
	if same, err := h.verify("", decomposed); err != nil || same {
		t.Errorf("an unknown login: %v %v", same, err)
	}
}

// The next hash begins later by as much as a hash took longer than the fastest one.
func TestASlowHashYields(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(1)
		took, begun := time.Duration(0), make(chan time.Time, 2)
		h.compare = func(string, string) (bool, error) {
			begun <- time.Now()
			time.Sleep(took) // of the bubble's clock
			if took == time.Millisecond {
				return false, errors.New("nothing was hashed")
			}
			return true, nil
		}
		login := func() {
			err := h.inTurn(t.Context(), newClaim(member, "anna", "198.51.100.1"), always, func() error {
				_, err := h.verify("phc", "violet tram")
				return err
			})
			if err != nil && took != time.Millisecond {
				t.Error(err)
			}
		}
		for _, c := range []struct{ took, pause time.Duration }{
			{20 * time.Millisecond, 0},
			{50 * time.Millisecond, 30 * time.Millisecond},
			{time.Second, 40 * time.Millisecond},
			{time.Millisecond, 0},
			{10 * time.Millisecond, 0},
			{time.Second, 20 * time.Millisecond},
		} {
			took = c.took
			end := h.hold(t)
			var logins sync.WaitGroup
			for range 2 {
				logins.Go(login)
				synctest.Wait()
			}
			end()
			logins.Wait()
			first, second := <-begun, <-begun
			if got := second.Sub(first) - c.took; got != c.pause {
				t.Errorf("after a hash of %v, a pause of %v, want %v", c.took, got, c.pause)
			}
		}
	})
}
