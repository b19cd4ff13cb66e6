package revocation

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"lavka/libs/contract/wire"
)

// askLimit is the timeout of the request for one page.
const askLimit = 2 * time.Second

// Ask returns the Source for services without a database of users: it asks auth
// over NATS, and waits at most 2 s for each page.
func Ask(nc *nats.Conn) Source {
	return func(ctx context.Context, report func(userID, tokenVersion int64)) error {
		for after, more := int64(0), true; more; {
			page, err := ask(ctx, nc, after)
			if err != nil {
				return err
			}
			for _, one := range page.Versions {
				report(one.UserID, one.TokenVersion)
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
