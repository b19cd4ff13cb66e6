package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
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

// firstTook is the expected duration of a turn until turns have been measured. It is
// short, so that a crowd that arrives first is not refused without need: a single
// hash during a busy start takes several times as long.
const firstTook = 30 * time.Millisecond

// Hasher hashes passwords with argon2id (RFC 9106), a limited number at a time.
// During a storm of logins, requests wait here for up to five seconds, shared out
// fairly between addresses and logins. Requests that hash nothing are not affected.
//
// A hash computes for many milliseconds without a pause, so beside it, short requests
// on the same machine would wait for a processor. If a hash takes longer than the fastest one
// so far, other requests compete with it: the next hash begins later by the
// difference, up to twice the duration of the fastest.
type Hasher struct {
	turns   *turns
	compare func(phc, password string) (bool, error)
	dummy   string

	mu      sync.Mutex
	fastest time.Duration // 0 until there was a hash
}

// NewHasher returns a Hasher that computes atOnce hashes at a time.
func NewHasher(atOnce int) *Hasher {
	return &Hasher{turns: newTurns(atOnce, patience, firstTook, time.Now), compare: verifyPassword, dummy: hashPassword(rand.Text())}
}

// Waiting returns the number of requests that wait for their turn.
func (h *Hasher) Waiting() int { return h.turns.waiting() }

// inTurn calls f when it is the request's turn, which takes at most five seconds.
// What f does costs about as much as a hash. If inTurn returns an error other than
// that of f, f was not called: ErrOverloaded, the error of ctx or the error of may.
// Once may has returned true, f is called.
func (h *Hasher) inTurn(ctx context.Context, c claim, may begin, f func() error) error {
	end, err := h.turns.enter(ctx, c, may)
	if err != nil {
		return err
	}
	defer end()
	return f()
}

// verify reports whether a password matches a PHC string. An empty PHC string
// matches no password and takes the same time. A password that is not in its normal
// form takes twice as long: releases up to v0.6.0 hashed it as it was sent.
func (h *Hasher) verify(phc, password string) (bool, error) {
	known := phc != ""
	if !known {
		phc = h.dummy
	}
	normal := Normalize(password)
	same, err := h.compared(phc, normal)
	if err == nil && !same && normal != password {
		same, err = h.compared(phc, password)
	}
	return same && known, err
}

func (h *Hasher) compared(phc, password string) (bool, error) {
	start := time.Now()
	same, err := h.compare(phc, password)
	if err == nil { // else nothing was hashed
		h.turns.yield(h.late(time.Since(start)))
	}
	return same, err
}

// hash returns the hash of a new password as a PHC string.
func (h *Hasher) hash(password string) string {
	start := time.Now()
	phc := hashPassword(password)
	h.turns.yield(h.late(time.Since(start)))
	return phc
}

// late returns by how much a hash took longer than the fastest one, up to twice the
// duration of that one.
func (h *Hasher) late(took time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fastest == 0 || took < h.fastest {
		h.fastest = took
	}
	return min(took-h.fastest, 2*h.fastest)
}

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
