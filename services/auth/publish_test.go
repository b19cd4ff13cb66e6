package main

import (
	"context"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

// published waits until the last message about a user on the stream satisfies as,
// and returns it.
func (w *world) published(id int64, as func(wire.UserChanged) bool) (last wire.UserChanged) {
	w.t.Helper()
	waittest.Eventually(w.t, "published", func() bool {
		user, ok := w.onStream(id)
		last = user
		return ok && as(user)
	})
	return last
}

func (w *world) onStream(id int64) (user wire.UserChanged, ok bool) {
	w.t.Helper()
	nc, err := natstest.Connect(w.nats.URL)
	if err != nil {
		return user, false
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), timeout)
	defer cancel()
	stream, err := js.Stream(ctx, wire.StreamUsers)
	if err != nil {
		return user, false
	}
	msg, err := stream.GetLastMsgForSubject(ctx, wire.SubjectChanged+"."+strconv.FormatInt(id, 10))
	if err != nil {
		return user, false
	}
	user, err = wire.DecodeUserChanged(msg.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	return user, true
}

func (w *world) deleteStream() {
	w.t.Helper()
	nc, err := natstest.Connect(w.nats.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := js.DeleteStream(w.t.Context(), wire.StreamUsers); err != nil {
		w.t.Fatal(err)
	}
}

func TestStreamLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	access, _, id := r.user("anna")
	_, other := r.register("bert")
	isThere := func(wire.UserChanged) bool { return true }
	w.published(id, func(u wire.UserChanged) bool { return u.Version == 2 })
	w.published(other, isThere)
	// bert changed too long ago for anything but a republish of all users.
	w.exec(`UPDATE auth.users SET changed_at = now() - interval '2 hours' WHERE id = $1`, other)

	w.deleteStream()
	w.published(id, isThere)
	w.published(other, isThere)

	// The same when NATS loses its whole store while a replica tries to publish.
	w.nats.Stop()
	r.do("PATCH", "/users/2", r.admin(), object{"enabled": false}).want(t, 200, "")
	r.do("GET", "/users/me", access, nil).want(t, 401, "token_invalid") // NATS is down: auth decides by the row
	w.nats.Wipe()
	w.nats.Start()
	w.published(id, func(u wire.UserChanged) bool { return u.Status == "disabled" && u.TokenVersion == 2 })
	w.published(other, isThere)
	waittest.Eventually(t, "revoked", func() bool { return r.do("GET", "/users/me", access, nil).status == 401 })
	r.do("PATCH", "/users/2", r.admin(), object{"enabled": true}).want(t, 200, "")
	w.published(id, func(u wire.UserChanged) bool { return u.Status == "active" })
}

func TestStartWithoutNATS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.nats.Stop()
	r := w.launch()
	// It becomes ready after a wait, and serves routes that need no token.
	r.waitReady()
	access, refresh, id := r.user("anna")
	a := r.do("GET", "/users/me", access, nil).want(t, 503, "starting")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.do("POST", "/auth/refresh", "", object{"refresh_token": refresh}).want(t, 200, "")
	w.nats.Start()
	w.published(id, func(u wire.UserChanged) bool { return u.Status == "active" })
	waittest.Eventually(t, "tokens are checked", func() bool { return r.do("GET", "/users/me", access, nil).status == 200 })
}

// A change that one replica could not publish is published by another.
func TestAnotherReplicaPublishes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start()
	_, _, id := first.user("anna")
	w.published(id, func(u wire.UserChanged) bool { return u.Version == 2 })
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	w.exec(`UPDATE auth.users SET disabled_at = now(), version = version + 1, token_version = 2, changed_at = now(), publish_at = now() WHERE id = $1`, id)
	w.start()
	w.published(id, func(u wire.UserChanged) bool { return u.Version == 3 && u.TokenVersion == 2 })
	waittest.Eventually(t, "due again in five minutes", func() bool {
		return w.count(`auth.users WHERE id = $1 AND published_version = 3 AND publish_at BETWEEN now() + interval '4 minutes' AND now() + interval '6 minutes'`, id) == 1
	})
	w.exec(`UPDATE auth.users SET publish_at = now() WHERE id = $1`, id)
	waittest.Eventually(t, "due again in a day", func() bool {
		return w.count(`auth.users WHERE id = $1 AND publish_at > now() + interval '23 hours'`, id) == 1
	})
}
