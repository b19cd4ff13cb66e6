package check_test

import (
	"slices"
	"testing"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

const ms = time.Millisecond

// at is a call that took 10 ms.
func at(start time.Duration, status int) history.Call {
	return history.Call{Start: start, End: start + 10*ms, Status: status}
}

// devices is what a user with two sessions saw, who ended one, then reset the password
// with one of two links.
func devices() history.History {
	use := func(start time.Duration, session, status int) history.Use {
		return history.Use{Call: at(start, status), UserID: 7, Session: session}
	}
	refresh := func(start time.Duration, session, status int) history.Use {
		u := use(start, session, status)
		u.Refresh = true
		return u
	}
	reset := func(start time.Duration, link, password, status int) history.Reset {
		return history.Reset{Call: at(start, status), UserID: 7, Link: link, Password: password}
	}
	return history.History{
		Logins: []history.Login{
			{Call: at(0, 200), UserID: 7, Session: 1}, {Call: at(100*ms, 200), UserID: 7, Session: 2}, {Call: at(4000*ms, 200), UserID: 7, Session: 3, Password: 2},
			{Call: at(4100*ms, 401), UserID: 7, Session: 4, Password: 1},
		},
		Endings: []history.Ending{{Call: at(1000*ms, 204), UserID: 7, Session: 1}},
		Uses: []history.Use{
			use(200*ms, 1, 200), use(300*ms, 2, 200), use(1010*ms, 2, 200), use(1005*ms+limit+10*ms, 2, 401), refresh(1200*ms, 2, 401), refresh(1300*ms, 1, 200),
			use(5000*ms, 3, 200),
		},
		Resets: []history.Reset{reset(3000*ms, 1, 1, 404), reset(3005*ms, 1, 2, 204), reset(3300*ms, 2, 3, 404)},
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*history.History)
		broken bool
	}{
		{"as promised", func(*history.History) {}, false},
		{"a link works twice", func(h *history.History) { h.Resets[0].Status = 204 }, true},
		{"two links work", func(h *history.History) { h.Resets[2].Status, h.Logins[2].Password = 204, 3 }, false}, // the second may have been made later
		{"an old password logs in", func(h *history.History) { h.Logins[3].Status = 200 }, true},
		{"the password of the registration logs in", func(h *history.History) { h.Logins[3].Status, h.Logins[3].Password = 200, 0 }, true},
		{"a password without a response logs in", func(h *history.History) { h.Resets[0].Status, h.Logins[3].Status = 0, 200 }, false},
		{"a login as the password is reset", func(h *history.History) { h.Logins[3].Call, h.Logins[3].Password = at(3010*ms, 200), 0 }, false},
		{"an ended session is refreshed", func(h *history.History) { h.Uses[4].Status = 200 }, true},
		{"refreshed while it is ended", func(h *history.History) { h.Uses[4].Call = at(1001*ms, 200) }, false},
		{"the session that stays is not refreshed", func(h *history.History) { h.Uses[5].Status = 401 }, true},
		{"the session that stays meets a busy database", func(h *history.History) { h.Uses[5].Status = 503 }, false},
		{"the session that stays is refreshed after an unanswered reset", func(h *history.History) { h.Resets[0].Call, h.Uses[5].Status = at(1250*ms, 0), 401 }, false},
		{"an ended session's token is good for long", func(h *history.History) { h.Uses[3].Status = 200 }, true},
		{"a session's token is good after a reset", func(h *history.History) { h.Uses[6].Session = 1 }, true},
		{"the ending was refused", func(h *history.History) { h.Endings[0].Status, h.Uses[3].Status, h.Uses[4].Status = 503, 200, 200 }, false},
	} {
		h := devices()
		c.change(&h)
		found := check.Check(h, history.Books{}, check.Options{RevocationLimit: limit})
		if broken := slices.ContainsFunc(found, func(v check.Violation) bool { return v.Invariant == "q" }); broken != c.broken || len(found) > 1 {
			t.Errorf("%s: %v", c.name, found)
		}
	}
}
