package bus

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"lavka/libs/contract/wire"
	"lavka/libs/service/revocation"
	"lavka/libs/testkit/natstest"
	"lavka/services/auth/internal/auth"
)

// versions stands in for the database: its users, in the order of their ids.
type versions struct {
	users []auth.TokenVersion
	err   error
}

func (v *versions) TokenVersions(_ context.Context, within time.Duration, after int64, limit int) ([]auth.TokenVersion, error) {
	if within != 12*time.Minute {
		return nil, errors.New("called with an unexpected window")
	}
	users := v.users[slices.IndexFunc(v.users, func(u auth.TokenVersion) bool { return u.UserID > after }):]
	return users[:min(len(users), limit)], v.err
}

// A request over NATS returns the same as a call by auth's own replicas, in messages
// that NATS accepts.
func TestRevocations(t *testing.T) {
	t.Parallel()
	all := map[int64]int64{}
	source := &versions{}
	for i := range int64(2*revocationsPage + 1) {
		user := auth.TokenVersion{UserID: math.MaxInt64 - 5000 + i, Version: math.MaxInt64 - i}
		source.users = append(source.users, user)
		all[user.UserID] = user.Version
	}
	nc, err := natstest.Connect(natstest.Start(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r := NewRevocations(source, 12*time.Minute, slog.New(slog.DiscardHandler))
	if err := r.Answer(nc); err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]revocation.Source{"itself": r.Tell, "over NATS": revocation.Ask(nc)} {
		told := map[int64]int64{}
		if err := ask(t.Context(), func(userID, version int64) { told[userID] = version }); err != nil || !maps.Equal(told, all) {
			t.Errorf("%s: %d users of %d, %v", name, len(told), len(all), err)
		}
	}
	page, err := nc.Request(wire.SubjectRevocations, []byte(`{"v":1,"after":0}`), 30*time.Second)
	if err != nil || len(page.Data) > 64<<10 {
		t.Errorf("a page of %d bytes: %v", len(page.Data), err)
	}

	// Without the database there is no response at all: a replica that gets none stays
	// not ready, which is better than a wrong answer.
	source.err = errors.New("the database is unreachable")
	for name, ask := range map[string]revocation.Source{"itself": r.Tell, "over NATS": revocation.Ask(nc)} {
		if err := ask(t.Context(), func(int64, int64) {}); err == nil {
			t.Errorf("%s: no error without the database", name)
		}
	}
}
