// Package streams is how NATS keeps what the services say to each other (libs/contract/wire).
// Their owners make the streams of it, and tests that play an owner.
package streams

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
)

// Users is auth's stream, with so many copies, each on a server of its own.
func Users(copies int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              wire.StreamUsers,
		Description:       "The public state of each user: the last message of a subject is the newest.",
		Subjects:          []string{wire.SubjectChanged + ".*"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		AllowDirect:       true, // NATS turns it on by itself for such a stream
		Replicas:          copies,
	}
}

// UsersConsumer is billing's consumer of users. It is durable: it remembers where it
// was.
func UsersConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       wire.ConsumerUsers,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       10 * time.Second,
		MaxAckPending: 1000,
		MaxDeliver:    -1,
	}
}

// Purchases is billing's stream, with so many copies, each on a server of its own.
// Memory is enough: every request can be sent again from catalog's row. Nobody gives
// a Nats-Msg-Id, or a request sent again would be taken for a double.
func Purchases(copies int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        wire.StreamPurchases,
		Description: "purchase requests, from catalog to billing",
		Subjects:    []string{wire.SubjectRequested},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.MemoryStorage,
		MaxAge:      time.Minute,
		MaxBytes:    256 << 20,
		Discard:     jetstream.DiscardNew,
		Replicas:    copies,
	}
}

// PurchasesConsumer is billing's consumer of purchase requests.
func PurchasesConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       wire.ConsumerPurchases,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       5 * time.Second,
		MaxAckPending: 20_000,
		MaxDeliver:    -1,
	}
}
