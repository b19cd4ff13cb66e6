package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/streams"
)

// ensureStream creates or updates the USERS stream. If it is not the stream to which
// all users have been published, they are all republished, in parts, while changes go
// first.
func (p *Publisher) ensureStream(ctx context.Context) (jetstream.Stream, error) {
	stream, err := p.makeStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("create or update the stream USERS: %w", err)
	}
	created := stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano)
	known, err := p.source.Stream(ctx)
	switch {
	case err != nil:
		return nil, err
	case known == created:
		p.filling = "" // another replica may have finished
	case p.filling != created:
		p.log.InfoContext(ctx, "the stream USERS is new; republishing all users", "created", created)
		p.filling, p.lost = created, true
	}
	return stream, nil
}

func (p *Publisher) makeStream(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	want := streams.Users(p.copies)
	stream, err := p.js.Stream(ctx, want.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		stream, err = p.js.CreateStream(ctx, want)
	case err == nil && !same(stream.CachedInfo().Config, want):
		stream, err = p.js.UpdateStream(ctx, want)
	}
	return stream, err
}

func same(is, want jetstream.StreamConfig) bool {
	return slices.Equal(is.Subjects, want.Subjects) && is.MaxMsgsPerSubject == want.MaxMsgsPerSubject &&
		is.Discard == want.Discard && is.AllowDirect == want.AllowDirect && is.Description == want.Description && is.Replicas == want.Replicas
}
