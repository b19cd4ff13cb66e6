package bus

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"lavka/libs/contract/wire"
	"lavka/services/auth/internal/auth"
)

const (
	// revocationsPage is how many users are told at once: 68 bytes each at most,
	// in a message of 64 KiB.
	revocationsPage = 900
	// answerLimit bounds the work for a page. Who asked waits no longer.
	answerLimit = 2 * time.Second
)

// RevocationSource is what Revocations need of the database.
type RevocationSource interface {
	TokenVersions(ctx context.Context, within time.Duration, after int64, limit int) ([]auth.TokenVersion, error)
}

// Revocations tell which tokens have been taken back, from the database: what a
// replica has to know before it lets anybody in.
type Revocations struct {
	source RevocationSource
	window time.Duration // how long a revocation matters
	log    *slog.Logger
}

// NewRevocations makes Revocations.
func NewRevocations(source RevocationSource, window time.Duration, log *slog.Logger) *Revocations {
	return &Revocations{source: source, window: window, log: log}
}

// Tell tells all of them; it is how auth's own replicas learn of them.
func (r *Revocations) Tell(ctx context.Context, tell func(userID, tokenVersion int64)) error {
	for after := int64(0); ; {
		page, err := r.source.TokenVersions(ctx, r.window, after, revocationsPage)
		if err != nil {
			return err
		}
		for _, one := range page {
			tell(one.UserID, one.Version)
			after = one.UserID
		}
		if len(page) < revocationsPage {
			return nil
		}
	}
}

// Answer answers the other services' replicas until the connection is drained.
// One who gets no answer asks again.
func (r *Revocations) Answer(nc *nats.Conn) error {
	_, err := nc.QueueSubscribe(wire.SubjectRevocations, "auth", func(msg *nats.Msg) {
		ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
		defer cancel()
		answer, err := r.answer(ctx, msg.Data)
		if err == nil {
			err = msg.Respond(answer)
		}
		if err != nil {
			r.log.WarnContext(ctx, "a replica that starts could not be told which tokens are revoked; it asks again", "error", err)
		}
	})
	if err != nil {
		return fmt.Errorf("listen for replicas that start: %w", err)
	}
	return nil
}

func (r *Revocations) answer(ctx context.Context, question []byte) ([]byte, error) {
	asked, err := wire.DecodeRevocationsAsked(question)
	if err != nil {
		return nil, err
	}
	page, err := r.source.TokenVersions(ctx, r.window, asked.After, revocationsPage)
	if err != nil {
		return nil, err
	}
	told := wire.RevocationsTold{V: wire.Version, Versions: make([]wire.TokenVersion, len(page)), More: len(page) == revocationsPage}
	for i, one := range page {
		told.Versions[i] = wire.TokenVersion{UserID: one.UserID, TokenVersion: one.Version}
	}
	return wire.Encode(told)
}
