package check

import (
	"fmt"
	"time"

	"lavka/tests/faults/history"
)

// sessions checks invariant (q). Of the uses of a link to reset a password at most one
// succeeds, and then the passwords before it no longer log in. An ended session is
// not refreshed, and its access token gets nothing from Options.RevocationLimit after
// the end. A session that nothing has ended can be refreshed.
func (j *judge) sessions() {
	j.linksOnce()
	started := map[int]history.Login{}
	for _, l := range j.history.Logins {
		started[l.Session] = l
		j.passwordCurrent(l)
	}
	for _, u := range j.history.Uses {
		j.sessionOpen(u, started[u.Session])
	}
}

func (j *judge) linksOnce() {
	worked := map[int]history.Reset{}
	for _, r := range j.history.Resets {
		if !effective(r.Call) {
			continue
		}
		if first, twice := worked[r.Link]; twice {
			j.report("q", fmt.Sprintf("link %d", r.Link), "link %d reset the password of user %d twice, %s and %s", r.Link, r.UserID, when(first.Call), when(r.Call))
		}
		worked[r.Link] = r
	}
}

// latest returns when a call has taken effect at the latest.
func latest(c history.Call) time.Duration {
	if c.Answered() {
		return c.End
	}
	return c.End + lingers
}

// passwordCurrent checks that no reset had replaced the password of a login.
func (j *judge) passwordCurrent(l history.Login) {
	if !effective(l.Call) {
		return
	}
	var set time.Duration // no later than this; a password of an earlier run was set before all resets
	for _, r := range j.history.Resets {
		if r.Password == l.Password && !ineffective(r.Call) {
			set = latest(r.Call)
		}
	}
	for _, r := range j.history.Resets {
		if r.Password != l.Password && effective(r.Call) && set < r.Start && r.End < l.Start {
			j.report("q", fmt.Sprintf("session %d", l.Session), "user %d logged in with a password (%d), %s, which a reset had replaced, %s", l.UserID, l.Password, when(l.Call), when(r.Call))
		}
	}
}

func (j *judge) sessionOpen(u history.Use, login history.Login) {
	ended, by := forever, "" // at the latest
	may := false             // something may have ended the session before the use was answered
	end := func(c history.Call, what string) {
		if ineffective(c) || latest(c) < login.Start {
			return
		}
		may = may || c.Start < u.End
		if effective(c) && login.End < c.Start && c.End < ended {
			ended, by = c.End, fmt.Sprintf("%s, %s", what, when(c))
		}
	}
	for _, e := range j.history.Endings {
		if e.UserID == u.UserID && e.Session != u.Session {
			end(e.Call, fmt.Sprintf("session %d", e.Session))
		}
	}
	for _, r := range j.history.Resets {
		if r.UserID == u.UserID {
			end(r.Call, fmt.Sprintf("link %d", r.Link))
		}
	}
	subject := fmt.Sprintf("session %d", u.Session)
	switch {
	case u.Refresh && effective(u.Call) && u.Start > ended:
		j.report("q", subject, "session %d of user %d was refreshed, %s, after it was ended by %s", u.Session, u.UserID, when(u.Call), by)
	case u.Refresh && u.Status == 401 && !may:
		j.report("q", subject, "session %d of user %d could not be refreshed, %s, and nothing had ended it", u.Session, u.UserID, when(u.Call))
	case !u.Refresh && effective(u.Call) && j.RevocationLimit > 0 && ended < forever && u.Start > ended+j.RevocationLimit:
		j.report("q", subject, "session %d of user %d was ended by %s, but was answered %d by %s, %s", u.Session, u.UserID, by, u.Status, u.Replica, when(u.Call))
	}
}
