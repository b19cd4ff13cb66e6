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
)

// The cost of a hash: the first choice of OWASP's Password Storage Cheat Sheet
// for argon2id.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	saltBytes    = 16
	hashBytes    = 32
)

const (
	// patience is how long a caller waits for a turn among more than a few: those
	// who are turned away know it within a second. A few wait as long as it takes.
	patience = 500 * time.Millisecond
	few      = 4 // for each turn at a time
)

// Hasher hashes passwords with argon2id (RFC 9106), a few at a time: a storm of
// logins waits here, for half a second, and then is turned away but for a few,
// while everything else goes on.
type Hasher struct {
	everybody *line
	newcomers *line
	dummy     string
}

// caller is who wants a password hashed.
type caller int

const (
	member   caller = iota // has an account, or says so
	newcomer               // registers, or asks for a new link
)

// NewHasher makes a Hasher of so many hashes at once, and so many callers that
// wait for their turn. Newcomers first wait in a line of their own, and get half
// of the turns at most: a storm of registrations, which anybody can start, takes
// next to nothing from those who log in. Their line is half as long too, so that
// nobody waits longer in it.
func NewHasher(atOnce, queue int) *Hasher {
	share := max(1, atOnce/2)
	return &Hasher{
		everybody: newLine(atOnce, queue, patience),
		newcomers: newLine(share, queue*share/atOnce, patience),
		dummy:     hashPassword(rand.Text()),
	}
}

// Waiting is the number of callers who wait for their turn.
func (h *Hasher) Waiting() int { return int(h.everybody.waiting.Load() + h.newcomers.waiting.Load()) }

// Hash gives the PHC string of a password that passes check, which is run in
// the same turn since it costs as much. ErrOverloaded means that too many
// wait, or for too long; the error of ctx, that it ended first.
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

// Verify says whether a password is the one of a PHC string. An empty string
// is nobody's: that takes the same time and is never true.
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
	if err := h.everybody.enter(ctx); err != nil {
		return err
	}
	defer h.everybody.leave()
	return f()
}

// line lets a few in at once. A bounded number waits, first come, first served,
// and not long while it is many.
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

// hashPassword writes the PHC string format, so that the cost can be raised
// later while older hashes stay good.
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
