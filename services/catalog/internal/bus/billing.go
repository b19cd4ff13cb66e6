// Package bus speaks with billing over NATS, which may lose or repeat anything.
package bus

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
)

// Bounds of what is on its way to the stream.
const (
	maxPending = 8192
	stallWait  = 100 * time.Millisecond
	ackWait    = 2 * time.Second
)

// Billing is asked by this replica, and answers it.
type Billing struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	reply string // the subject of its answers
	reads reads
}

// NewBilling makes a Billing that answers to a replica.
func NewBilling(nc *nats.Conn, replicaID string) (*Billing, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(ackWait))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &Billing{nc: nc, js: js, reply: wire.SubjectAnswered + "." + replicaID}, nil
}

// Connected says whether NATS is there.
func (b *Billing) Connected() bool { return b.nc.IsConnected() }

// olderFor is how long billing's replicas are taken to be of several releases,
// from the last sign of an older one on.
const olderFor = 30 * time.Second

// reads is what billing understands, by its answers so far. While it is being
// upgraded, any of its replicas may take the next message: an older one keeps
// groups as unreadable, and their buyers wait for the sweeper.
type reads struct {
	groups atomic.Bool
	older  atomic.Int64 // Unix time in nanoseconds of the last answer that does not say groups
}

func (r *reads) hear(header nats.Header) {
	if header.Get(wire.HeaderReads) == wire.ReadsGroups {
		r.groups.Store(true)
	} else {
		r.older.Store(time.Now().UnixNano())
	}
}

// group is how many purchases a message may ask for.
func (r *reads) group() int {
	if r.groups.Load() && time.Since(time.Unix(0, r.older.Load())) > olderFor {
		return wire.MaxGroup
	}
	return 1
}
