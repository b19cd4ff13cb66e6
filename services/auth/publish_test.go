package main

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/wire"
)

// published waits until the stream says of a user what it should.
func (w *world) published(id int64, as func(wire.UserChanged) bool) (last wire.UserChanged) {
	w.t.Helper()
	eventually(w.t, "published", func() bool {
		user, ok := w.onStream(id)
		last = user
		return ok && as(user)
	})
	return last
}

func (w *world) onStream(id int64) (user wire.UserChanged, ok bool) {
	w.t.Helper()
	nc, err := nats.Connect(w.nats.URL)
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
