package token_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lavka/libs/service/token"
	"lavka/libs/testkit/waittest"
)

// jwks serves public keys as auth does.
type jwks struct {
	mu     sync.Mutex
	keys   []map[string]string
	broken bool
	reads  atomic.Int64
	at     []time.Time // of the reads
}

func (j *jwks) add(kid string, public ed25519.PublicKey) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keys = append(j.keys, map[string]string{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": base64.RawURLEncoding.EncodeToString(public),
	})
}

func (j *jwks) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reads.Add(1)
	j.at = append(j.at, time.Now())
	if j.broken {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(map[string]any{"keys": j.keys}); err != nil {
		panic(err)
	}
}

func TestRemote(t *testing.T) {
	t.Parallel()
	f, later, stranger := newForger(t), newForger(t), newForger(t)
	set := &jwks{broken: true}
	set.add("main", f.public)
	server := httptest.NewUnstartedServer(set)
	var connections atomic.Int64
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	remote := token.NewRemote(server.URL, slog.New(slog.DiscardHandler))
	v := newVerifier(t, remote, func() time.Time { return noon })
	if v.Ready() {
		t.Error("ready before Run")
	}
	if _, err := v.Verify(t.Context(), f.good()); err == nil {
		t.Error("a token was accepted before keys were read")
	}

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { remote.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	waittest.Eventually(t, "reading from auth, which is still starting, is retried", func() bool {
		select {
		case <-remote.Loaded():
			t.Fatal("loaded from a broken server")
		default:
		}
		return set.reads.Load() >= 4
	})
	set.mu.Lock()
	for i, least := range []time.Duration{100, 200, 400} {
		if pause := set.at[i+1].Sub(set.at[i]); pause < least*time.Millisecond {
			t.Errorf("retry %d came after %v, want %d ms at least", i+1, pause, least)
		}
	}
	set.mu.Unlock()
	if reads, made := set.reads.Load(), connections.Load(); made < reads {
		t.Errorf("%d connections for %d reads: a retry would reach the same wrong server again", made, reads)
	}
	set.mu.Lock()
	set.broken = false
	set.mu.Unlock()
	<-remote.Loaded()
	if !v.Ready() {
		t.Error("loaded but not ready")
	}
	if _, err := v.Verify(t.Context(), f.good()); err != nil {
		t.Error(err)
	}

	// A new key is found at once; further unknown keys then cause no more reads.
	set.add("later", later.public)
	before := set.reads.Load()
	start := time.Now()
	signed := later.sign(jwt.SigningMethodEdDSA, later.private, map[string]any{"kid": "later"}, claims(nil))
	if _, err := v.Verify(t.Context(), signed); err != nil {
		t.Errorf("a new key: %v", err)
	}
	for i := range 50 {
		forged := stranger.sign(jwt.SigningMethodEdDSA, stranger.private, map[string]any{"kid": "stranger"}, claims(jwt.MapClaims{"jti": strconv.Itoa(i)}))
		if _, err := v.Verify(t.Context(), forged); !errors.Is(err, jwt.ErrTokenUnverifiable) {
			t.Fatalf("a token signed by an unknown key: %v, want that there is no such key", err)
		}
	}
	took := time.Since(start)
	if reads, allowed := set.reads.Load()-before, 1+int64(took/(10*time.Second)); reads < 1 || reads > allowed {
		t.Errorf("%d reads for unknown kids in %v, want 1 to %d", reads, took, allowed)
	}
	if took > 30*time.Second { // each by more than half a second
		t.Errorf("requests waited for the next read: %v", took)
	}
}

// A key that is removed is forgotten, although no token names an unknown key.
func TestRemoteReadsAgain(t *testing.T) {
	t.Parallel()
	if token.RefreshInterval != 5*time.Minute {
		t.Errorf("keys are read every %v, want 5m", token.RefreshInterval)
	}
	f, stolen := newForger(t), newForger(t)
	set := &jwks{}
	set.add("stolen", stolen.public)
	set.add("main", f.public)
	server := httptest.NewServer(set)
	t.Cleanup(server.Close)
	remote := token.NewRemote(server.URL, slog.New(slog.DiscardHandler))
	remote.RefreshEvery(20 * time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { remote.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	<-remote.Loaded()
	v := newVerifier(t, remote, func() time.Time { return noon })
	sign := func(id string) string {
		return stolen.sign(jwt.SigningMethodEdDSA, stolen.private, map[string]any{"kid": "stolen"}, claims(jwt.MapClaims{"jti": id}))
	}
	if _, err := v.Verify(t.Context(), sign("before")); err != nil {
		t.Fatal(err)
	}
	set.mu.Lock()
	set.keys = set.keys[1:]
	before := set.reads.Load()
	set.mu.Unlock()
	waittest.Eventually(t, "the keys are read twice more", func() bool { return set.reads.Load() >= before+2 })
	if _, err := v.Verify(t.Context(), sign("after")); err == nil {
		t.Error("a token that was signed with a removed key was accepted")
	}
}

// Keys are read from the configured URL and from nowhere else.
func TestRemoteDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	elsewhere := &jwks{}
	elsewhere.add("main", f.public)
	there := httptest.NewServer(elsewhere)
	t.Cleanup(there.Close)
	var asked atomic.Int64
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, there.URL, http.StatusFound)
	}))
	t.Cleanup(here.Close)
	remote := token.NewRemote(here.URL, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { remote.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	waittest.Eventually(t, "the request is retried", func() bool {
		select {
		case <-remote.Loaded():
			t.Fatal("keys were loaded from the target of a redirect")
		default:
		}
		return asked.Load() >= 3
	})
	if n := elsewhere.reads.Load(); n != 0 {
		t.Errorf("the target of the redirect got %d requests, want none", n)
	}
}

// The server that provides the keys controls who is let in: no proxy of the environment may. The
// server's name can't be resolved: only a proxy could reach it, and net/http uses none
// for addresses of this machine.
func TestNoProxyProvidesKeys(t *testing.T) {
	set := &jwks{}
	set.add("main", newForger(t).public)
	proxy := httptest.NewServer(set)
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	var log waittest.Text
	remote := token.NewRemote("http://auth.invalid/.well-known/jwks.json", slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { remote.Run(ctx) })
	defer running.Wait()
	defer cancel()
	waittest.Eventually(t, "an attempt has ended", func() bool { return remote.Ready() || strings.Contains(log.String(), "can't read auth's keys yet") })
	if remote.Ready() || set.reads.Load() > 0 {
		t.Error("the keys came from a proxy")
	}
}

// A key set of any length must not take the service's memory.
func TestRemoteReadsABoundedKeySet(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	set := &jwks{}
	set.add("main", f.public)
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for space := []byte(strings.Repeat(" ", 64<<10)); sent.Load() < 1<<30; { // JSON may begin with spaces
			n, err := w.Write(space)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
		set.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	remote := token.NewRemote(server.URL, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { remote.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	waittest.Eventually(t, "the key set is refused", func() bool { return remote.Failure() != nil })
	if err := remote.Failure(); !strings.Contains(err.Error(), "is longer than") || sent.Load() > 64<<20 {
		t.Errorf("after %d bytes: %v", sent.Load(), err)
	}
}
