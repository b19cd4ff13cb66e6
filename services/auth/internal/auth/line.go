package auth

import (
	"slices"
	"time"
)

// line holds the requests of one kind that wait for a turn.
type line struct {
	most      int // turns at a time
	running   int
	took      time.Duration // average duration of a turn
	waiting   int
	addresses []*addressLine // in the order of their next turns
}

// addressLine holds the waiting requests of an address.
type addressLine struct {
	address string
	waiting int
	logins  []*loginLine // in the order of their next turns
}

// loginLine holds the waiting requests for a login from an address, in order of
// arrival.
type loginLine struct {
	login   string
	waiting []*waiter
}

// waiter is a request that waits.
type waiter struct {
	claim
	may   begin
	began chan error // gets nil when the turn begins, or the error of may
}

// push adds a waiter.
func (l *line) push(w *waiter) {
	a := l.find(w.address)
	if a == nil {
		a = &addressLine{address: w.address}
		l.addresses = append(l.addresses, a)
	}
	u := a.find(w.login)
	if u == nil {
		u = &loginLine{login: w.login}
		a.logins = append(a.logins, u)
	}
	u.waiting = append(u.waiting, w)
	a.waiting++
	l.waiting++
}

// remove removes a waiter, and reports whether it was there.
func (l *line) remove(w *waiter) bool {
	a := l.find(w.address)
	if a == nil {
		return false
	}
	u := a.find(w.login)
	if u == nil {
		return false
	}
	i := slices.Index(u.waiting, w)
	if i < 0 {
		return false
	}
	u.waiting = slices.Delete(u.waiting, i, i+1)
	a.waiting--
	l.waiting--
	if len(u.waiting) == 0 {
		a.logins = slices.DeleteFunc(a.logins, func(other *loginLine) bool { return other == u })
	}
	if a.waiting == 0 {
		l.addresses = slices.DeleteFunc(l.addresses, func(other *addressLine) bool { return other == a })
	}
	return true
}

// next begins the turn of the first waiter that may begin, and reports whether
// there was one. Waiters that are refused leave the line.
func (l *line) next() bool {
	if l.running == l.most {
		return false
	}
	for _, a := range slices.Clone(l.addresses) {
		for _, u := range slices.Clone(a.logins) {
			for len(u.waiting) > 0 {
				w := u.waiting[0]
				ok, err := w.may()
				if !ok && err == nil {
					break
				}
				l.remove(w)
				w.began <- err
				if err == nil {
					l.running++
					toEnd(l.addresses, a)
					toEnd(a.logins, u)
					return true
				}
			}
		}
	}
	return false
}

// toEnd moves an element to the end, if it is there.
func toEnd[E comparable](all []E, e E) {
	if i := slices.Index(all, e); i >= 0 {
		copy(all[i:], all[i+1:])
		all[len(all)-1] = e
	}
}

// before returns how many waiters have their turns before another request.
func (l *line) before(c claim) int {
	n := 0 // those of its address
	if a := l.find(c.address); a != nil {
		if u := a.find(c.login); u != nil {
			n = len(u.waiting)
		}
		rounds := n + 1 // each other login has a turn in each
		for _, u := range a.logins {
			if u.login != c.login {
				n += min(len(u.waiting), rounds)
			}
		}
	}
	rounds := n + 1
	for _, a := range l.addresses {
		if a.address != c.address {
			n += min(a.waiting, rounds)
		}
	}
	return n
}

func (l *line) find(address string) *addressLine {
	i := slices.IndexFunc(l.addresses, func(a *addressLine) bool { return a.address == address })
	if i < 0 {
		return nil
	}
	return l.addresses[i]
}

func (a *addressLine) find(login string) *loginLine {
	i := slices.IndexFunc(a.logins, func(u *loginLine) bool { return u.login == login })
	if i < 0 {
		return nil
	}
	return a.logins[i]
}
