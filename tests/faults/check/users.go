package check

import (
	"fmt"
	"time"

	"lavka/tests/faults/history"
)

// lingers is how long after its end a call without an answer may still take
// effect: longer than any replica is frozen or waits for its database.
const lingers = 30 * time.Second

// users checks invariant (j). Billing has each of auth's users once, with auth's
// status and version, and no others (Options.SkipUsers). A user has no access from
// Options.RevocationLimit after the end of an answered call that disabled them
// until the start of the next call that may have enabled them: none of their calls
// that began in that period is answered 2xx, no matter when they logged in, and no
// purchase is completed that only such calls can have made.
func (j *judge) users() {
	if !j.SkipUsers {
		j.sameUsers()
	}
	if j.RevocationLimit > 0 {
		j.noEntry()
	}
}

func (j *judge) sameUsers() {
	type pair struct{ auth, billing []history.User }
	users := map[int64]*pair{}
	for _, u := range j.books.Users {
		p := entry(users, u.ID)
		p.auth = append(p.auth, u)
	}
	for _, u := range j.books.Customers {
		p := entry(users, u.ID)
		p.billing = append(p.billing, u)
	}
	for id, p := range sorted(users) {
		if len(p.auth) != 1 || len(p.billing) != 1 || p.auth[0] != p.billing[0] {
			j.report("j", fmt.Sprintf("customer %d", id), "user %d is %+v in auth and %+v in billing", id, p.auth, p.billing)
		}
	}
}

// ban is a period in which a user has no access; it applies to calls that begin
// within it.
type ban struct{ from, to time.Duration }

func (b ban) covers(t time.Duration) bool { return t > b.from && t < b.to }

func (j *judge) bans() map[int64][]ban {
	bans := map[int64][]ban{}
	for i := range j.history.Switches {
		off := &j.history.Switches[i]
		if off.Enabled || !effective(off.Call) {
			continue
		}
		b := ban{off.End + j.RevocationLimit, forever}
		for k := range j.history.Switches {
			on := &j.history.Switches[k]
			if !on.Enabled || on.UserID != off.UserID || ineffective(on.Call) {
				continue
			}
			latest := on.End
			if !effective(on.Call) {
				latest += lingers
			}
			if latest >= off.Start {
				b.to = min(b.to, on.Start)
			}
		}
		bans[off.UserID] = append(bans[off.UserID], b)
	}
	return bans
}

func (j *judge) noEntry() {
	bans := j.bans()
	banned := func(user int64, t time.Duration) bool {
		for _, b := range bans[user] {
			if b.covers(t) {
				return true
			}
		}
		return false
	}
	enter := func(user int64, c history.Call, what string, args ...any) {
		if effective(c) && banned(user, c.Start) {
			j.report("j", fmt.Sprintf("user %d", user), "user %d was disabled, but was answered %d %s: %s", user, c.Status, when(c), fmt.Sprintf(what, args...))
		}
	}
	for _, a := range j.history.Accesses {
		enter(a.UserID, a.Call, "%s, with a token from %s", a.Replica, a.TokenFrom)
	}
	for _, b := range j.history.Buys {
		enter(b.UserID, b.Call, "a purchase, %s", b.PurchaseID)
	}
	for _, r := range j.history.BillReads {
		enter(r.UserID, r.Call, "bill %d", r.BillID)
	}
	for _, p := range j.history.Pages {
		if !p.Admin {
			enter(p.UserID, p.Call, "transactions of bill %d", p.BillID)
		}
	}
	for _, b := range j.history.Balances {
		enter(b.UserID, b.Call, "an earlier balance of bill %d", b.BillID)
	}
	for _, l := range j.history.Looks {
		enter(l.UserID, l.Call, "purchase %s", l.PurchaseID)
	}
	for id, p := range sorted(j.purchases) {
		if len(p.rows) == 0 || p.rows[0].Status != "completed" || len(p.causes) == 0 {
			continue
		}
		all := true
		for _, b := range p.causes {
			all = all && banned(b.UserID, b.Start)
		}
		if all {
			j.report("j", purchaseName(id), "user %d was disabled when they requested %s, %s", p.rows[0].UserID, rowText(p.rows[0]), asked(p.causes[0]))
		}
	}
}
