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

// Customers stores billing's own copies of users.
type Customers interface {
	// SaveCustomer stores c unless a newer version is already stored.
	SaveCustomer(ctx context.Context, c billing.Customer) error
}

// Users receives auth's messages about users and stores billing's own copies.
type Users struct {
	js        jetstream.JetStream
	customers Customers
	log       *slog.Logger
}

// NewUsers returns Users; Run starts receiving.
func NewUsers(js jetstream.JetStream, customers Customers, log *slog.Logger) *Users {
	return &Users{js: js, customers: customers, log: log}
}

// Run receives users until ctx is cancelled. A durable consumer remembers its
// position. If the stream is re-created, auth republishes all users.
func (u *Users) Run(ctx context.Context) {
	natsconn.Listener{Name: "users", Log: u.log, Ahead: 256, Open: u.open, Handle: u.handle}.Run(ctx)
}

func (u *Users) open(ctx context.Context) (jetstream.Consumer, error) {
	consumer, err := u.js.CreateOrUpdateConsumer(ctx, wire.StreamUsers, streams.UsersConsumer())
	if err != nil {
		return nil, fmt.Errorf("create consumer of %s: %w", wire.StreamUsers, err)
	}
	return consumer, nil
}

func (u *Users) handle(ctx context.Context, msg jetstream.Msg) error {
	ctx, processing := natstrace.Process(ctx, wire.SubjectChanged, msg.Headers(), msg.Data(), deliveries(msg))
	defer processing.End(ctx, u.log, slog.LevelInfo)
	m, err := wire.DecodeUserChanged(msg.Data())
	if err != nil {
		processing.Fail("the message about a user can't be parsed; skipping it", err)
		return msg.TermWithReason("can't be parsed")
	}
	telemetry.Note(ctx, slog.Int64("user_id", m.ID), slog.Int64("version", m.Version))
	limited, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	err = u.customers.SaveCustomer(limited, billing.Customer{
		UserID: m.ID, Login: m.Login, Role: m.Role, Status: m.Status, Version: m.Version,
	})
	if pg.BadData(err) {
		processing.Fail("the database refuses the user; skipping the message", err)
		return msg.TermWithReason("refused by the database")
	}
	if err != nil {
		processing.Fail("the user could not be saved; the message will be redelivered", err)
		return msg.NakWithDelay(time.Second)
	}
	return msg.Ack()
}
