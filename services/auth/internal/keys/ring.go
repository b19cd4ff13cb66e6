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

// pollEvery is how often the file is looked at. A mounted secret has no other
// way to say that it changed.
const pollEvery = time.Second

// Ring is the set in a file, as the file is now.
type Ring struct {
	path string
	log  *slog.Logger
	set  atomic.Pointer[Set]

	// Only for Run:
	seen    fs.FileInfo // the file that was read last
	trouble string      // what was logged last
}

var _ token.Keys = (*Ring)(nil)

// Open reads the file; Run follows its changes.
func Open(path string, log *slog.Logger) (*Ring, error) {
	r := &Ring{path: path, log: log}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("AUTH_SIGNING_KEYS: %w (`auth keys new %s` makes one)", err, path)
	}
	if err := r.read(info); err != nil {
		return nil, fmt.Errorf("AUTH_SIGNING_KEYS: %w", err)
	}
	return r, nil
}

// Run reads the file again when it has changed, until ctx ends. A file that
// can't be read changes nothing.
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

// poll logs a failure once, however often it is met.
func (r *Ring) poll(ctx context.Context) {
	err := r.follow()
	if err == nil {
		r.trouble = ""
		return
	}
	if err.Error() != r.trouble {
		r.trouble = err.Error()
		r.log.ErrorContext(ctx, "the signing keys can't be read; going on with the known ones", "error", err)
	}
}

func (r *Ring) follow() error {
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
	// Only a warning: Kubernetes mounts secrets as 0644 unless told otherwise,
	// in a container where nobody else is.
	if info.Mode().Perm()&0o004 != 0 {
		r.log.Warn("everybody on this machine can read the signing keys", "file", r.path, "mode", info.Mode().Perm().String())
	}
	r.set.Store(&set)
	r.log.Info("signing keys read", "keys", len(set), "signing", set[0].ID)
	return nil
}

// Public gives the public keys, for all to check tokens with.
func (r *Ring) Public() []PublicKey {
	set := *r.set.Load()
	public := make([]PublicKey, len(set))
	for i, k := range set {
		public[i] = k.Public()
	}
	return public
}

// Ready is true: without keys there is no Ring.
func (r *Ring) Ready() bool { return true }

// Keyfunc finds a token's key by its "kid".
func (r *Ring) Keyfunc(context.Context) jwt.Keyfunc {
	set := *r.set.Load()
	return func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		i := set.find(id)
		if i < 0 {
			return nil, fmt.Errorf("%w: no key has its kid", jwt.ErrTokenUnverifiable)
		}
		return set[i].public(), nil
	}
}

// MadeAt is when the signing key was made, as Unix time; 0 when the file does not
// say.
func (r *Ring) MadeAt() int64 { return (*r.set.Load())[0].MadeAt }

func (r *Ring) signing() (id string, key ed25519.PrivateKey) {
	k := (*r.set.Load())[0]
	return k.ID, k.private
}
