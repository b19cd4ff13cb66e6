package revocation

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"lavka/libs/contract/wire"
)

// askLimit bounds the wait for a page.
const askLimit = 2 * time.Second

// Ask is the Source of those who have no database of users: it asks auth, over
// NATS.
func Ask(nc *nats.Conn) Source {
	return func(ctx context.Context, tell func(userID, tokenVersion int64)) error {
		for after, more := int64(0), true; more; {
			page, err := ask(ctx, nc, after)
			if err != nil {
				return err
			}
			for _, one := range page.Versions {
				tell(one.UserID, one.TokenVersion)
				after = one.UserID
			}
			more = page.More
		}
		return nil
	}
}

func ask(ctx context.Context, nc *nats.Conn, after int64) (wire.RevocationsTold, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	question, err := wire.Encode(wire.RevocationsAsked{V: wire.Version, After: after})
	if err != nil {
		return wire.RevocationsTold{}, err
	}
	msg, err := nc.RequestWithContext(ctx, wire.SubjectRevocations, question)
	if err != nil {
		return wire.RevocationsTold{}, fmt.Errorf("ask auth: %w", err)
	}
	return wire.DecodeRevocationsTold(msg.Data, after)
}
