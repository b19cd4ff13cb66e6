package keys

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lavka/libs/service/token"
)

// pollEvery is how often the file is checked for changes. A mounted secret gives no
// other notification of a change.
const pollEvery = time.Second

// Ring is the key set in a file, reloaded when the file changes.
type Ring struct {
	path string
	log  *slog.Logger
	set  atomic.Pointer[Set]

	// Only for Run:
	seen    fs.FileInfo // the file that was read last
	trouble string      // the error that was logged last
}

var _ token.Keys = (*Ring)(nil)

// Open reads the file; Run reloads it when it changes.
func Open(path string, log *slog.Logger) (*Ring, error) {
	r := &Ring{path: path, log: log}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("AUTH_SIGNING_KEYS: %w (create it with `auth keys new %s`)", err, path)
	}
	if err := r.read(info); err != nil {
		return nil, fmt.Errorf("AUTH_SIGNING_KEYS: %w", err)
	}
	return r, nil
}

// Run reloads the file when it changes, until ctx ends. If the file can't be read,
// the ring keeps its keys.
func (r *Ring) Run(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.poll(ctx)
		}
	}
}

// poll reloads the file if it has changed. It logs a failure once, however often it
// repeats.
func (r *Ring) poll(ctx context.Context) {
	err := r.reload()
	if err == nil {
		r.trouble = ""
		return
	}
	if err.Error() != r.trouble {
		r.trouble = err.Error()
		r.log.ErrorContext(ctx, "can't read the signing keys; keeping the current ones", "error", err)
	}
}

func (r *Ring) reload() error {
	info, err := os.Stat(r.path)
	if err != nil {
		return err
	}
	if os.SameFile(info, r.seen) && info.ModTime().Equal(r.seen.ModTime()) && info.Size() == r.seen.Size() {
		return nil
	}
	return r.read(info)
}

func (r *Ring) read(info fs.FileInfo) error {
	set, err := Read(r.path)
	if err != nil {
		return err
	}
	r.seen = info
	// Only a warning: Kubernetes mounts secrets as 0644 by default, in a container
	// that has no other users.
	if info.Mode().Perm()&0o004 != 0 {
		r.log.Warn("every user on this machine can read the signing keys", "file", r.path, "mode", info.Mode().Perm().String())
	}
	r.set.Store(&set)
	r.log.Info("signing keys read", "keys", len(set), "signing", set[0].ID)
	return nil
}

// Public returns the public keys, with which tokens are verified.
func (r *Ring) Public() []PublicKey {
	set := *r.set.Load()
	public := make([]PublicKey, len(set))
	for i, k := range set {
		public[i] = k.Public()
	}
	return public
}

// Ready returns true: a Ring always has keys.
func (r *Ring) Ready() bool { return true }

// Keyfunc returns a function that finds the key of a token by its "kid".
func (r *Ring) Keyfunc(context.Context) jwt.Keyfunc {
	set := *r.set.Load()
	return func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		i := set.find(id)
		if i < 0 {
			return nil, fmt.Errorf("%w: no key has this kid", jwt.ErrTokenUnverifiable)
		}
		return set[i].public(), nil
	}
}

// MadeAt returns when the signing key was created, as Unix time; 0 if the file does
// not say.
func (r *Ring) MadeAt() int64 { return (*r.set.Load())[0].MadeAt }

func (r *Ring) signing() (id string, key ed25519.PrivateKey) {
	k := (*r.set.Load())[0]
	return k.ID, k.private
}
