package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"sync/atomic"

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

// Hasher hashes passwords with argon2id (RFC 9106), a few at a time: a storm of
// logins waits here, and then is turned away, while everything else goes on.
type Hasher struct {
	slots   chan struct{}
	waiting atomic.Int64
	queue   int64
	dummy   string
}

// NewHasher makes a Hasher of so many hashes at once, and so many callers that
// wait for their turn.
func NewHasher(atOnce, queue int) *Hasher {
	h := &Hasher{slots: make(chan struct{}, atOnce), queue: int64(queue)}
	h.dummy = hashPassword(rand.Text())
	return h
}

// Waiting is the number of callers who wait for their turn.
func (h *Hasher) Waiting() int { return int(h.waiting.Load()) }

// Hash gives the PHC string of a password that passes check, which is run in
// the same turn since it costs as much. ErrOverloaded means that too many
// wait; the error of ctx, that it ended first.
func (h *Hasher) Hash(ctx context.Context, password string, check func() error) (string, error) {
	var hash string
	err := h.inTurn(ctx, func() error {
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
func (h *Hasher) Verify(ctx context.Context, phc, password string) (bool, error) {
	known := phc != ""
	if !known {
		phc = h.dummy
	}
	var same bool
	err := h.inTurn(ctx, func() (err error) {
		same, err = verifyPassword(phc, password)
		return err
	})
	return same && known, err
}

func (h *Hasher) inTurn(ctx context.Context, f func() error) error {
	select {
	case h.slots <- struct{}{}:
	default:
		if err := h.wait(ctx); err != nil {
			return err
		}
	}
	defer func() { <-h.slots }()
	return f()
}

func (h *Hasher) wait(ctx context.Context) error {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > h.queue {
		return ErrOverloaded
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

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
