package bus

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/streams"
	"lavka/libs/contract/wire"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/natstrace"
	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/billing/internal/billing"
)

// Customers keeps what auth says of users.
type Customers interface {
	SaveCustomer(ctx context.Context, c billing.Customer) error
}

// Users hears of users and keeps billing's own view of them.
type Users struct {
	js        jetstream.JetStream
	customers Customers
	log       *slog.Logger
}

// NewUsers makes Users; Run starts the listening.
func NewUsers(js jetstream.JetStream, customers Customers, log *slog.Logger) *Users {
	return &Users{js: js, customers: customers, log: log}
}

// Run takes users in until ctx ends. A durable consumer remembers where it was;
// when the stream was made anew, auth publishes everybody again.
func (u *Users) Run(ctx context.Context) {
	natsconn.Listener{Name: "users", Log: u.log, Ahead: 256, Open: u.open, Handle: u.handle}.Run(ctx)
}

func (u *Users) open(ctx context.Context) (jetstream.Consumer, error) {
	consumer, err := u.js.CreateOrUpdateConsumer(ctx, wire.StreamUsers, streams.UsersConsumer())
	if err != nil {
		return nil, fmt.Errorf("make consumer of %s: %w", wire.StreamUsers, err)
	}
	return consumer, nil
}

func (u *Users) handle(ctx context.Context, msg jetstream.Msg) error {
	ctx, processing := natstrace.Process(ctx, wire.SubjectChanged, msg.Headers(), msg.Data(), deliveries(msg))
	defer processing.End(ctx, u.log, slog.LevelInfo)
	m, err := wire.DecodeUserChanged(msg.Data())
	if err != nil {
		processing.Fail("a user can't be understood; the message is left out", err)
		return msg.TermWithReason("can't be understood")
	}
	telemetry.Note(ctx, slog.Int64("user_id", m.ID), slog.Int64("version", m.Version))
	limited, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	err = u.customers.SaveCustomer(limited, billing.Customer{
		UserID: m.ID, Login: m.Login, Role: m.Role, Status: m.Status, Version: m.Version,
	})
	if pg.BadData(err) {
		processing.Fail("a user can't be saved; the message is left out", err)
		return msg.TermWithReason("can't be saved")
	}
	if err != nil {
		processing.Fail("a user could not be saved; the message comes again", err)
		return msg.NakWithDelay(time.Second)
	}
	return msg.Ack()
}
