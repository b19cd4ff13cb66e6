package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"lavka/libs/service/directhttp"
	"lavka/libs/service/serving"
)

// Remote reads auth's public keys (a JWK set, RFC 7517) over HTTP: at startup,
// every five minutes, and when a token names an unknown key, but for that at most
// once in ten seconds.
type Remote struct {
	url   string
	log   *slog.Logger
	keys  atomic.Pointer[keyfunc.Keyfunc]
	ready chan struct{}
	every time.Duration // refreshInterval, but for tests

	failure serving.Failure
}

// refreshInterval is how often keys are read although no token names an unknown one.
const refreshInterval = 5 * time.Minute

// NewRemote returns a Remote for the JWK set at url. Run starts reading.
func NewRemote(url string, log *slog.Logger) *Remote {
	return &Remote{url: url, log: log, ready: make(chan struct{}), every: refreshInterval}
}

// Run retries until it has read the keys once, and then refreshes them until ctx
// ends.
func (r *Remote) Run(ctx context.Context) {
	transport := directhttp.Transport()
	// Keys are rarely read. A connection that was kept, perhaps to a server that is no longer
	// auth's, would be used again for each retry.
	transport.DisableKeepAlives = true
	client := &http.Client{Timeout: 3 * time.Second, CheckRedirect: stay, Transport: bounded{transport}}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		// The library keeps fetching after a failed attempt, until the attempt's
		// own context ends.
		attempt, giveUp := context.WithCancel(ctx)
		keys, err := r.load(attempt, client)
		if err == nil {
			r.keys.Store(&keys)
			close(r.ready)
			<-ctx.Done()
			giveUp()
			return
		}
		giveUp()
		r.failure.Set(err)
		r.log.DebugContext(ctx, "can't read auth's keys yet; retrying", "url", r.url, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// maxKeySet is how many bytes of a JWK set are read. A key takes about 150.
const maxKeySet = 256 << 10

// bounded limits the bodies of responses to maxKeySet. Reading on returns
// [http.MaxBytesError].
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxKeySet)
	return resp, nil
}

// stay follows no redirects: the server that provides the keys controls who is let in.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (r *Remote) load(ctx context.Context, client *http.Client) (keyfunc.Keyfunc, error) {
	storage, err := jwkset.NewStorageFromHTTP(r.url, jwkset.HTTPClientStorageOptions{
		Client:          client,
		Ctx:             ctx,
		RefreshInterval: r.every,
		RefreshErrorHandler: func(ctx context.Context, err error) {
			r.log.WarnContext(ctx, "can't read auth's keys; continuing with the known ones", "url", r.url, "error", err)
		},
	})
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fmt.Errorf("the key set at %s is longer than %d bytes", r.url, maxKeySet)
	}
	if err != nil {
		return nil, err
	}
	set, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{r.url: storage},
		RefreshUnknownKID: rate.NewLimiter(rate.Every(10*time.Second), 1),
		// This also limits the refetch itself. Only one request at a time can
		// wait for the next refetch: for all others it is over ten seconds away.
		RateLimitWaitMax: 3 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: set})
}

// Ready reports whether keys have been read.
func (r *Remote) Ready() bool { return r.keys.Load() != nil }

// Loaded returns a channel that is closed when keys have been read.
func (r *Remote) Loaded() <-chan struct{} { return r.ready }

// Failure returns why the last attempt to read keys for the first time failed, or nil.
func (r *Remote) Failure() error { return r.failure.Last() }

// Keyfunc returns a function that finds a token's key by its "kid".
func (r *Remote) Keyfunc(ctx context.Context) jwt.Keyfunc {
	keys := r.keys.Load()
	if keys == nil {
		return func(*jwt.Token) (any, error) { return nil, jwt.ErrTokenUnverifiable }
	}
	return (*keys).KeyfuncCtx(ctx)
}
