// Package bus exchanges messages with billing over NATS. Any message may be lost
// or delivered twice.
package bus

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
)

// Limits on published messages that the stream has not acknowledged.
const (
	maxPending = 8192
	stallWait  = 100 * time.Millisecond
	ackWait    = 2 * time.Second
)

// Billing sends this replica's requests to billing, and receives its answers.
type Billing struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	reply string // the subject on which billing answers this replica
	reads reads
}

// NewBilling returns a Billing for the replica with the given id, which must be
// unique.
func NewBilling(nc *nats.Conn, replicaID string) (*Billing, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(ackWait))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &Billing{nc: nc, js: js, reply: wire.SubjectAnswered + "." + replicaID}, nil
}

// Connected reports whether the connection to NATS is up.
func (b *Billing) Connected() bool { return b.nc.IsConnected() }

// olderFor is how long billing is assumed to have replicas of an older release
// after the last answer from one.
const olderFor = 30 * time.Second

// reads tracks which message formats billing can read, judging by its answers so
// far. During an upgrade, any of its replicas may take the next message: one of
// an older release stores a group as unreadable, and the buyers in it wait for
// the sweeper.
type reads struct {
	groups atomic.Bool
	older  atomic.Int64 // Unix time in nanoseconds of the last answer that did not announce groups
}

// note updates r from the header of an answer.
func (r *reads) note(header nats.Header) {
	if header.Get(wire.HeaderReads) == wire.ReadsGroups {
		r.groups.Store(true)
	} else {
		r.older.Store(time.Now().UnixNano())
	}
}

// group returns the largest number of purchases that one message may request.
func (r *reads) group() int {
	if r.groups.Load() && time.Since(time.Unix(0, r.older.Load())) > olderFor {
		return wire.MaxGroup
	}
	return 1
}
