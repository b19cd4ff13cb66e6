package auth

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
)

// LinkEvent is why a link is sent to a user.
type LinkEvent string

// The events.
const (
	ActivationLink LinkEvent = "activation"
	ResetLink      LinkEvent = "password_reset"
)

// Links makes links of their tokens. It uses configured URLs, never a request's Host
// header, which the client controls.
type Links struct {
	PublicURL string // of the shop
	ResetPage string // on which a user sets a new password
}

// Activation returns an activation link.
func (l Links) Activation(token string) string {
	return strings.TrimSuffix(l.PublicURL, "/") + "/auth/activate/" + token
}

// Reset returns a link to reset a password. The token is in the fragment, which
// browsers send to no server.
func (l Links) Reset(token string) string { return l.ResetPage + "#token=" + token }

// Of returns the link for an event.
func (l Links) Of(event LinkEvent, token string) string {
	if event == ResetLink {
		return l.Reset(token)
	}
	return l.Activation(token)
}

// Resend is how long after a link was requested the same user can request another of
// the same kind. A request within that time changes nothing. A later one renews a link
// that still waits to be sent.
const Resend = time.Minute

// A user is sent a few links to reset their password at once, and then one in each
// interval: at most five in an hour, however many strangers ask. It is shorter than
// [ResetLifetime], so a user whose request has no effect has a valid link.
const (
	ResetBurst = 3
	ResetEvery = 20 * time.Minute
)

// MaxSentLinks is how many unused activation links a user may have whose links are
// sent. It is above the number of attempts for a request: the links of all of them stay
// valid, since the receiver may have taken one although its response was lost.
const MaxSentLinks = 100

// The times between attempts to send a link.
const (
	firstRetry = 15 * time.Second // longer than an attempt takes
	lastRetry  = time.Hour
)

// Retry returns the time from the n-th attempt to send a link, counted from 1, until
// the next.
func Retry(n int64) time.Duration {
	wait := firstRetry
	for range min(n, 20) - 1 {
		wait = min(2*wait, lastRetry)
	}
	return wait
}

// Expected returns for how long after their request a user expects a link. Then it is
// given up.
func (e LinkEvent) Expected() time.Duration {
	if e == ResetLink {
		return time.Hour
	}
	return 48 * time.Hour
}

// GivenUp reports whether a link that was requested at a time is not sent any more:
// its user does not expect it any longer.
func (e LinkEvent) GivenUp(requested, now time.Time) bool {
	return now.Sub(requested) >= e.Expected()
}

// MaxResetRequests is how many requests to reset a password may wait until it is looked
// up which user has their login. Requests beyond that have no effect. It is far above
// what a replica looks up in a second.
const MaxResetRequests = 10_000

// Delivery is an attempt to send a link.
type Delivery struct {
	ID          uuid.UUID // of the request: it is the same for each attempt
	Event       LinkEvent
	UserID      int64
	RequestedAt time.Time
	Attempt     int64
	Now         time.Time // by the database
}

// MadeLink is a link of a delivery, but for its secret.
type MadeLink struct {
	Login     string
	ExpiresAt time.Time
}

// LinkStore is the part of the database that the sender of links needs. Each method is
// one transaction.
type LinkStore interface {
	// ResolveResets turns at most limit requests for a login into links to be sent,
	// and returns how many requests it took. It drops those that are given up.
	ResolveResets(ctx context.Context, limit int) (int, error)
	// ClaimLink returns a link for an event that is due, if there is one. No replica
	// claims it again before the time that [Retry] gives, unless it is requested again.
	ClaimLink(ctx context.Context, event LinkEvent) (Delivery, bool, error)
	// MakeLink adds a link for a delivery. It returns false if the user has no use for
	// it any more: they are active already, or disabled.
	MakeLink(ctx context.Context, d Delivery, link Link) (MadeLink, bool, error)
	// LinkDone records that a link was sent, or will not be.
	LinkDone(ctx context.Context, d Delivery) error
	// GiveUpLink records that a link was not sent in time. It returns false if the
	// link was requested again since it was claimed: then it is still to be sent.
	GiveUpLink(ctx context.Context, d Delivery) (bool, error)
}
