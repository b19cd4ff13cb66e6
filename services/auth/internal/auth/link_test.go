package auth

import (
	"testing"
	"time"
)

// All attempts for one request leave their links valid: there are no more than a user
// may have.
func TestRetries(t *testing.T) {
	t.Parallel()
	for event, c := range map[LinkEvent]struct {
		within time.Duration // links are valid for
		most   int
	}{ActivationLink: {48 * time.Hour, MaxSentLinks}, ResetLink: {ResetLifetime, MaxResets}} {
		var at, last time.Duration
		var attempts []time.Duration
		for n := int64(1); !event.GivenUp(noon, noon.Add(at)); n++ {
			attempts = append(attempts, at)
			wait := Retry(n)
			if wait < last || wait < 15*time.Second || wait > time.Hour {
				t.Errorf("attempt %d is followed by %v", n, wait)
			}
			last = wait
			at += wait
		}
		for i, begin := range attempts {
			valid := 0
			for _, later := range attempts[i:] {
				if later-begin < c.within {
					valid++
				}
			}
			if valid > c.most {
				t.Errorf("%s: %d links are valid at a time, want at most %d", event, valid, c.most)
			}
		}
		if n := len(attempts); n < 5 || n > 100 {
			t.Errorf("%s: %d attempts", event, n)
		}
	}
	if Retry(1<<62) != time.Hour {
		t.Error("the wait grows without end")
	}
}

// However often a link to reset the password is requested, those that were made within
// the lifetime of one are no more than a user may have: it is valid until it expires.
func TestResetsOutliveRequests(t *testing.T) {
	t.Parallel()
	for every := Resend; every <= time.Hour; every += time.Second { // between requests
		perRequest := 0
		for at, n := time.Duration(0), int64(1); at < every && !ResetLink.GivenUp(noon, noon.Add(at)); n++ {
			perRequest++
			at += Retry(n)
		}
		// One request may begin just before, and one just within, the lifetime.
		if made := (int(ResetLifetime/every) + 2) * perRequest; made > MaxResets {
			t.Errorf("with a request every %v, %d links are made, want at most %d", every, made, MaxResets)
		}
	}
	if most := ResetBurst + int((time.Hour-1)/ResetEvery); most > 5 || ResetEvery >= ResetLifetime {
		t.Errorf("%d links in an hour, one in %v", most, ResetEvery)
	}
}
