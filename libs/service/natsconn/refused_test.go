package natsconn_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/service/natsconn"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

const secret = "sesame"

// password returns a change to a server's options that allows one user, with that
// password and those permissions.
func password(password string, allowed *server.Permissions) func(*server.Options) {
	return func(o *server.Options) {
		o.Users = []*server.User{{Username: "shop", Password: password, Permissions: allowed}}
	}
}

func as(password, url string) string {
	return strings.Replace(url, "nats://", "nats://shop:"+password+"@", 1)
}

// A service that lacks a permission logs the violation and keeps working.
func TestForbidden(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, password(secret, &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"mine"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"mine", "_INBOX.shop.>"}},
	}))
	nc, log := connect(t, as(secret, s.URL))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("theirs", nil); err != nil {
		t.Errorf("publish: %v", err)
	}
	if _, err := nc.SubscribeSync("theirs"); err != nil {
		t.Errorf("subscribe: %v", err)
	}
	limited, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := js.Stream(limited, "THEIRS"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("request: %v", err)
	}
	for _, what := range []string{`Publish to \"theirs\"`, `Subscription to \"theirs\"`, `Publish to \"$JS.API.STREAM.INFO.THEIRS\"`} {
		waittest.Eventually(t, what, func() bool { return strings.Count(log.String(), "Permissions Violation for "+what) == 1 })
	}
	mine, err := nc.SubscribeSync("mine")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("mine", nc.NewInbox(), []byte("still here")); err != nil {
		t.Fatal(err)
	}
	msg, err := mine.NextMsg(30 * time.Second)
	if err != nil {
		t.Fatalf("receive on an allowed subject: %v", err)
	}
	if !strings.HasPrefix(msg.Reply, "_INBOX.shop.") {
		t.Errorf("replies go to %s, want _INBOX.shop.*", msg.Reply)
	}
}

// While a password is being changed, NATS may have the new one and a service the
// old one, or the other way round.
func TestRefusedPassword(t *testing.T) {
	t.Parallel()
	var opts *server.Options
	s := natstest.Start(t, password(secret+"old", nil), func(o *server.Options) { opts = o })
	newcomer, newcomerLog := connect(t, as(secret+"new", s.URL))
	keeper, keeperLog := connect(t, as(secret+"old", s.URL))
	waittest.Eventually(t, "the old password", keeper.IsConnected)

	s.Stop()
	password(secret+"new", nil)(opts)
	s.Start()
	waittest.Eventually(t, "the new password", newcomer.IsConnected)
	tries := keeper.Stats().Reconnects
	waittest.Eventually(t, "the keeper keeps retrying", func() bool { return keeper.Stats().Reconnects >= tries+4 })
	for who, log := range map[string]*waittest.Text{"newcomer": newcomerLog, "keeper": keeperLog} {
		if n := strings.Count(log.String(), "uthorization "); n != 1 {
			t.Errorf("%s: %d log lines for a rejected password, want 1", who, n)
		}
		if strings.Contains(log.String(), secret) {
			t.Errorf("%s: a password is in the log", who)
		}
	}

	s.Stop()
	password(secret+"old", nil)(opts)
	s.Start()
	waittest.Eventually(t, "the old password again", keeper.IsConnected)
}

func connect(t *testing.T, url string) (*nats.Conn, *waittest.Text) {
	t.Helper()
	log := &waittest.Text{}
	nc, err := natsconn.Connect(url, "shop", slog.New(slog.NewTextHandler(log, nil)), func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, log
}
