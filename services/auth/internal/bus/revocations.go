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
	// revocationsPage is the number of users in one response: at most 68 bytes each,
	// in a message of at most 64 KiB.
	revocationsPage = 900
	// answerLimit is the timeout for a response. The replica that asked waits no longer.
	answerLimit = 2 * time.Second
)

// RevocationSource is the part of the database that Revocations needs.
type RevocationSource interface {
	TokenVersions(ctx context.Context, within time.Duration, after int64, limit int) ([]auth.TokenVersion, error)
}

// Revocations answers, from the database, which tokens are revoked. A replica needs
// the answer before it accepts any token.
type Revocations struct {
	source RevocationSource
	window time.Duration // how long a revocation is relevant
	log    *slog.Logger
}

// NewRevocations returns Revocations for the users that changed within window.
func NewRevocations(source RevocationSource, window time.Duration, log *slog.Logger) *Revocations {
	return &Revocations{source: source, window: window, log: log}
}

// Tell calls tell for every user with revoked tokens. auth's own replicas use it
// instead of NATS.
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

// Answer responds to the replicas of other services until the connection is
// drained. A replica that gets no response retries.
func (r *Revocations) Answer(nc *nats.Conn) error {
	_, err := nc.QueueSubscribe(wire.SubjectRevocations, "auth", func(msg *nats.Msg) {
		ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
		defer cancel()
		answer, err := r.answer(ctx, msg.Data)
		if err == nil {
			err = msg.Respond(answer)
		}
		if err != nil {
			r.log.WarnContext(ctx, "can't tell a starting replica which tokens are revoked; it will retry", "error", err)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to requests for revocations: %w", err)
	}
	return nil
}

func (r *Revocations) answer(ctx context.Context, question []byte) ([]byte, error) {
	asked, err := wire.DecodeRevocationsRequest(question)
	if err != nil {
		return nil, err
	}
	page, err := r.source.TokenVersions(ctx, r.window, asked.After, revocationsPage)
	if err != nil {
		return nil, err
	}
	told := wire.RevocationsPage{V: wire.Version, Versions: make([]wire.TokenVersion, len(page)), More: len(page) == revocationsPage}
	for i, one := range page {
		told.Versions[i] = wire.TokenVersion{UserID: one.UserID, TokenVersion: one.Version}
	}
	return wire.Encode(told)
}
