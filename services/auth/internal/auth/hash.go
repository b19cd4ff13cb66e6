package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"lavka/libs/domain/problem"
)

// The cost of a hash: the first recommendation for argon2id in OWASP's Password
// Storage Cheat Sheet.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	saltBytes    = 16
	hashBytes    = 32
)

const (
	// patience is how long a caller waits for a turn while more than a few are
	// waiting, so that a refusal takes less than a second. The last few wait until
	// it is their turn.
	patience = 500 * time.Millisecond
	few      = 4 // for each concurrent hash
)

// ErrOverloaded guarantees that the request changed nothing.
var ErrOverloaded = problem.New(problem.Unavailable, "overloaded", "too many passwords are being checked right now; the request was not processed; retry").Retry(time.Second)

// Hasher hashes passwords with argon2id (RFC 9106), a limited number at a time.
// During a storm of logins, callers wait here for half a second, and then all but
// a few are refused. Requests that hash nothing are not affected.
type Hasher struct {
	all       *line
	newcomers *line
	dummy     string
}

// caller is the kind of request that needs a hash.
type caller int

const (
	member   caller = iota // claims to have an account
	newcomer               // registers, or requests a new link
)

// NewHasher returns a Hasher that computes atOnce hashes at a time and lets queue
// callers wait for their turn. Newcomers first wait in a line of their own, and get
// at most half of the turns: a storm of registrations, which anyone can start,
// hardly delays logins. Their line is half as long too, so that the wait in it is
// no longer.
func NewHasher(atOnce, queue int) *Hasher {
	share := max(1, atOnce/2)
	return &Hasher{
		all:       newLine(atOnce, queue, patience),
		newcomers: newLine(share, queue*share/atOnce, patience),
		dummy:     hashPassword(rand.Text()),
	}
}

// Waiting returns the number of callers that wait for their turn.
func (h *Hasher) Waiting() int { return int(h.all.waiting.Load() + h.newcomers.waiting.Load()) }

// Hash returns the PHC string of a password if check returns nil. It runs check in
// the same turn, because check costs as much as the hash. It returns ErrOverloaded
// if too many callers wait, or this one waited too long, and the error of ctx if
// ctx ends first.
func (h *Hasher) Hash(ctx context.Context, as caller, password string, check func() error) (string, error) {
	var hash string
	err := h.inTurn(ctx, as, func() error {
		if err := check(); err != nil {
			return err
		}
		hash = hashPassword(password)
		return nil
	})
	return hash, err
}

// Verify reports whether a password matches a PHC string. An empty PHC string
// matches no password and takes the same time. Its errors are those of
// [Hasher.Hash], and one for a string that can't be parsed.
func (h *Hasher) Verify(ctx context.Context, as caller, phc, password string) (bool, error) {
	known := phc != ""
	if !known {
		phc = h.dummy
	}
	var same bool
	err := h.inTurn(ctx, as, func() (err error) {
		same, err = verifyPassword(phc, password)
		return err
	})
	return same && known, err
}

func (h *Hasher) inTurn(ctx context.Context, as caller, f func() error) error {
	if as == newcomer {
		if err := h.newcomers.enter(ctx); err != nil {
			return err
		}
		defer h.newcomers.leave()
	}
	if err := h.all.enter(ctx); err != nil {
		return err
	}
	defer h.all.leave()
	return f()
}

// line admits cap(places) callers at once. At most queue callers wait, first come,
// first served. One that has waited for patience is refused, unless no more than
// few are waiting.
type line struct {
	places   chan struct{}
	waiting  atomic.Int64
	queue    int64
	few      int64
	patience time.Duration
}

func newLine(atOnce, queue int, patience time.Duration) *line {
	return &line{places: make(chan struct{}, atOnce), queue: int64(queue), few: int64(few * atOnce), patience: patience}
}

func (l *line) enter(ctx context.Context) error {
	select {
	case l.places <- struct{}{}:
		return nil
	default:
	}
	if l.waiting.Add(1) > l.queue {
		l.waiting.Add(-1)
		return ErrOverloaded
	}
	patience := time.NewTicker(l.patience)
	defer patience.Stop()
	for {
		select {
		case l.places <- struct{}{}:
			l.waiting.Add(-1)
			return nil
		case <-ctx.Done():
			l.waiting.Add(-1)
			return ctx.Err()
		case <-patience.C:
			if l.waiting.Add(-1) >= l.few {
				return ErrOverloaded
			}
			l.waiting.Add(1)
		}
	}
}

func (l *line) leave() { <-l.places }

var b64 = base64.RawStdEncoding

// hashPassword returns the hash in the PHC string format, which includes the cost
// parameters: the cost can be raised later while older hashes stay valid.
func hashPassword(password string) string {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails
	hash := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, hashBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, b64.EncodeToString(salt), b64.EncodeToString(hash))
}

func verifyPassword(phc, password string) (bool, error) {
	p, err := parsePHC(phc)
	if err != nil {
		return false, err
	}
	hash := argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, uint32(len(p.hash)))
	return subtle.ConstantTimeCompare(hash, p.hash) == 1, nil
}
