package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"lavka/libs/contract/wire"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/revocation"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	nc, err := natsconn.Connect(natstest.Start(t).URL, "test", slog.New(slog.DiscardHandler), func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	ask := func() (map[int64]int64, error) {
		got := map[int64]int64{}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err := revocation.Ask(nc)(ctx, func(userID, tokenVersion int64) { got[userID] = tokenVersion })
		return got, err
	}
	waittest.Eventually(t, "connected", nc.IsConnected)
	if _, err := ask(); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("no responder: got %v, want ErrNoResponders", err)
	}

	// A responder that answers page by page, for users 1 to 5, unless given a broken answer.
	broken := make(chan string, 1)
	if _, err := nc.Subscribe(wire.SubjectRevocations, func(msg *nats.Msg) {
		asked, err := wire.DecodeRevocationsRequest(msg.Data)
		if err != nil {
			t.Error(err)
		}
		answer := fmt.Appendf(nil, `{"v":1,"versions":[{"user_id":%d,"token_version":%d}],"more":%v}`, asked.After+1, asked.After+2, asked.After < 4)
		select {
		case text := <-broken:
			answer = []byte(text)
		default:
		}
		if err := msg.Respond(answer); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	got, err := ask()
	if want := map[int64]int64{1: 2, 2: 3, 3: 4, 4: 5, 5: 6}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, text := range []string{``, `{"v":2,"versions":[]}`, `{"v":1,"versions":[],"more":true}`} {
		broken <- text
		if _, err := ask(); err == nil {
			t.Errorf("%q was accepted as an answer", text)
		}
	}
}
