// Package hook sends links to the receiver that LINK_HOOK_URL names, which passes them
// on to users, by mail for example.
package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"lavka/libs/service/directhttp"
	"lavka/libs/service/standardwebhooks"
	"lavka/services/auth/internal/auth"
)

const (
	// atOnce is how many links a replica sends at a time, each on a connection.
	atOnce = 8
	// perEvent is how many of them are for one event: a user who has forgotten their
	// password does not wait for thousands who have registered.
	perEvent = atOnce / 2
	// attemptLimit is how long an attempt may take, from the connection to the end of
	// the response.
	attemptLimit = 10 * time.Second
	// claimLimit is how long after its claim a link is no longer sent: another replica
	// may claim it after auth.Retry(1), which is longer.
	claimLimit = 13 * time.Second
	// maxResponse is how many bytes of a response are read. None of them matters.
	maxResponse = 64 << 10
	// lookEvery is how often a replica looks for links that are due, besides those that
	// were requested from itself.
	lookEvery = time.Second
	// requestsAtOnce is how many requests to reset a password one transaction takes.
	requestsAtOnce = 100
)

// The outcomes of attempts, for [Config.Count].
const (
	Sent    = "sent"
	Failed  = "failed"  // it is tried again
	Refused = "refused" // by the receiver, for good
	GivenUp = "given_up"
)

// errRefused means that the receiver won't take a link, however often it is tried.
var errRefused = errors.New("the receiver refuses the link")

// Config configures a Sender.
type Config struct {
	URL        string                 // of the receiver
	Keys       []standardwebhooks.Key // each of them signs
	Links      auth.Links
	Activation time.Duration // lifetime of an activation link
	Count      func(event auth.LinkEvent, outcome string)
	Log        *slog.Logger
	Now        func() time.Time
}

// Sender sends links.
type Sender struct {
	cfg    Config
	store  auth.LinkStore
	client *http.Client
	// Each of its loops is woken by itself.
	requests, resets, activations chan struct{}
	// Looking for links uses one session of the background at a time, and so does
	// delivering them, which may wait for a user's row: the publisher, on which
	// revocation depends, always finds another one.
	looking sync.Mutex
	storing chan struct{} // of one
}

// New returns a Sender.
func New(store auth.LinkStore, cfg Config) *Sender {
	transport := directhttp.Transport()
	transport.DialContext = (&net.Dialer{Timeout: attemptLimit / 2}).DialContext
	transport.TLSHandshakeTimeout = attemptLimit / 2
	transport.MaxConnsPerHost = atOnce
	transport.MaxIdleConnsPerHost = atOnce
	transport.MaxResponseHeaderBytes = 16 << 10
	transport.DisableCompression = true
	wake := func() chan struct{} { return make(chan struct{}, 1) }
	return &Sender{cfg: cfg, store: store, requests: wake(), resets: wake(), activations: wake(), storing: make(chan struct{}, 1), client: &http.Client{
		Transport: transport,
		Timeout:   attemptLimit,
		// A redirect could lead the link to someone else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Wake makes Run look for links that are due at once.
func (s *Sender) Wake() {
	wake(s.requests)
	wake(s.resets)
	wake(s.activations)
}

func wake(loop chan struct{}) {
	select {
	case loop <- struct{}{}:
	default:
	}
}

// Run sends links until ctx ends. What it has not sent by then is due again later. No
// loop waits for another one.
func (s *Sender) Run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { s.repeat(ctx, s.requests, s.resolve) })
	loops.Go(func() { s.send(ctx, s.resets, auth.ResetLink) })
	loops.Go(func() { s.send(ctx, s.activations, auth.ActivationLink) })
}

// repeat calls look when it is woken, and every so often, until ctx ends.
func (s *Sender) repeat(ctx context.Context, woken <-chan struct{}, look func(context.Context) error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for failing := false; ; {
		err := look(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "can't look for links to send; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-woken:
		}
	}
}

// resolve makes links of all requests to reset a password.
func (s *Sender) resolve(ctx context.Context) error {
	for {
		n, err := s.resolveSome(ctx)
		if n > 0 {
			wake(s.resets)
		}
		if err != nil || n < requestsAtOnce {
			return err
		}
	}
}

func (s *Sender) resolveSome(ctx context.Context) (int, error) {
	s.looking.Lock()
	defer s.looking.Unlock()
	return s.store.ResolveResets(ctx, requestsAtOnce)
}

// send sends the links for an event until ctx ends.
func (s *Sender) send(ctx context.Context, woken <-chan struct{}, event auth.LinkEvent) {
	var sending sync.WaitGroup
	defer sending.Wait()
	slots := make(chan struct{}, perEvent)
	s.repeat(ctx, woken, func(ctx context.Context) error { return s.sendDue(ctx, event, slots, &sending) })
}

// sendDue sends all links for an event that are due. It claims one only when it can be
// sent at once: a claim is for a time.
func (s *Sender) sendDue(ctx context.Context, event auth.LinkEvent, slots chan struct{}, sending *sync.WaitGroup) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case slots <- struct{}{}:
		}
		until := time.Now().Add(claimLimit)
		d, found, err := s.claim(ctx, event)
		if err != nil || !found {
			<-slots
			return err
		}
		sending.Go(func() {
			defer func() { <-slots }()
			s.deliver(ctx, d, until)
		})
	}
}

func (s *Sender) claim(ctx context.Context, event auth.LinkEvent) (auth.Delivery, bool, error) {
	s.looking.Lock()
	defer s.looking.Unlock()
	return s.store.ClaimLink(ctx, event)
}

// deliver tries to send a link once, and does not send it after a time.
func (s *Sender) deliver(ctx context.Context, d auth.Delivery, until time.Time) {
	outcome, err := s.attempt(ctx, d, until)
	if outcome != "" {
		s.cfg.Count(d.Event, outcome)
	}
	log := s.cfg.Log.With("event", d.Event, "user_id", d.UserID, "attempt", d.Attempt)
	switch {
	case outcome == Refused:
		log.WarnContext(ctx, "a link is not sent", "error", err)
	case outcome == GivenUp:
		log.WarnContext(ctx, "a link could not be sent in time and is given up")
	case err != nil && ctx.Err() == nil:
		log.WarnContext(ctx, "can't send a link; retrying later", "error", err)
	}
}

// attempt returns an outcome, or "" if there is none: the user has no use for the link
// any more, or has requested it again when it was about to be given up. Its error does
// not contain the link.
func (s *Sender) attempt(ctx context.Context, d auth.Delivery, until time.Time) (outcome string, err error) {
	if d.Event.GivenUp(d.RequestedAt, d.Now) {
		return s.giveUp(ctx, d)
	}
	lifetime := s.cfg.Activation
	if d.Event == auth.ResetLink {
		lifetime = auth.ResetLifetime
	}
	claimed, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	secret := auth.NewSecret()
	made, wanted, err := s.make(claimed, d, auth.Link{Hash: secret.Hash(), Lifetime: lifetime})
	switch {
	case err != nil:
		return Failed, err
	case !wanted:
		return "", s.done(ctx, d)
	}
	err = s.post(claimed, d, made, secret)
	switch {
	case errors.Is(err, errRefused):
		return Refused, errors.Join(err, s.done(ctx, d))
	case err != nil:
		return Failed, err
	}
	return Sent, s.done(ctx, d)
}

// alone calls f when nothing else uses the session for deliveries.
func (s *Sender) alone(ctx context.Context, f func() error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case s.storing <- struct{}{}:
	}
	defer func() { <-s.storing }()
	return f()
}

func (s *Sender) make(ctx context.Context, d auth.Delivery, link auth.Link) (made auth.MadeLink, wanted bool, err error) {
	err = s.alone(ctx, func() (err error) {
		made, wanted, err = s.store.MakeLink(ctx, d, link)
		return err
	})
	return made, wanted, err
}

func (s *Sender) giveUp(ctx context.Context, d auth.Delivery) (outcome string, err error) {
	err = s.alone(ctx, func() error {
		done, err := s.store.GiveUpLink(ctx, d)
		if done {
			outcome = GivenUp
		}
		return err
	})
	return outcome, err
}

func (s *Sender) done(ctx context.Context, d auth.Delivery) error {
	return s.alone(ctx, func() error { return s.store.LinkDone(ctx, d) })
}

// message is what the receiver gets.
type message struct {
	Event     auth.LinkEvent `json:"event"`
	Login     string         `json:"login"`
	Link      string         `json:"link"`
	ExpiresAt time.Time      `json:"expires_at"`
}

// post fails unless the receiver answers with a status from 200 to 299, with errRefused if
// it answers 410 or 422. The id in the header is that of the request, so that a receiver
// can tell a repeat.
func (s *Sender) post(ctx context.Context, d auth.Delivery, made auth.MadeLink, secret auth.Secret) error {
	body, err := json.Marshal(message{d.Event, made.Login, s.cfg.Links.Of(d.Event, secret.Text()), made.ExpiresAt.UTC()})
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, key := range s.cfg.Keys {
		key.Sign(r.Header, "link_"+d.ID.String(), s.cfg.Now(), body)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		// The path of the URL may be a secret, as with many receivers of webhooks.
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return fmt.Errorf("post link: %w", err)
	}
	defer resp.Body.Close()
	// Read so that the connection can be used again; the status has said everything.
	_, _ = io.CopyN(io.Discard, resp.Body, maxResponse)
	switch status := resp.StatusCode; {
	case status == http.StatusGone || status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: it answered %d", errRefused, status)
	case status < 200 || status > 299:
		return fmt.Errorf("the receiver answered %d", status)
	}
	return nil
}
