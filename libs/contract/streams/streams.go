// Package streams holds the NATS stream and consumer configurations for the messages that the
// services exchange (libs/contract/wire). Stream owners, and tests that stand in for them, create
// the streams from it.
package streams

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
)

// Users is the configuration of auth's stream, with the given number of replicas, each on its own
// server. It has no limit in bytes: it holds one message of less than 1 KiB for each user, and one
// that is missing could be a revocation. NATS's own limit of storage is in nats.conf.
func Users(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              wire.StreamUsers,
		Description:       "The public state of each user: the last message of a subject is the newest.",
		Subjects:          []string{wire.SubjectChanged + ".*"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		AllowDirect:       true, // NATS enables it for such a stream anyway
		Replicas:          replicas,
	}
}

// UsersConsumer is the configuration of billing's consumer of users. It is durable: it keeps its
// position across restarts.
func UsersConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       wire.ConsumerUsers,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       10 * time.Second,
		MaxAckPending: 1000,
		MaxDeliver:    -1,
	}
}

// Purchases is the configuration of billing's stream, with the given number of replicas, each on
// its own server. Memory storage is enough: every request can be republished from catalog's row.
// Publishers must not set Nats-Msg-Id, or NATS would drop a retried request as a duplicate.
func Purchases(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        wire.StreamPurchases,
		Description: "purchase requests, from catalog to billing",
		Subjects:    []string{wire.SubjectRequested},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.MemoryStorage,
		MaxAge:      time.Minute,
		MaxBytes:    256 << 20,
		Discard:     jetstream.DiscardNew,
		Replicas:    replicas,
	}
}

// PurchasesConsumer is the configuration of billing's consumer of purchase requests.
func PurchasesConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       wire.ConsumerPurchases,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       5 * time.Second,
		MaxAckPending: 20_000,
		MaxDeliver:    -1,
	}
}
