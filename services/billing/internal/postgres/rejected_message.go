package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/google/uuid"

	"lavka/libs/service/pg"
)

// maxBody is how much of a rejected message is stored, in bytes.
const maxBody = 4 << 10

// RecordRejected records a rejected message and returns when it was first seen.
// Messages with the same purchase id, or without one the same body, share one
// record, which counts them.
func (s *Store) RecordRejected(ctx context.Context, purchaseID *uuid.UUID, body []byte, reason string) (firstAt time.Time, err error) {
	sum := sha256.Sum256(body)
	key := "sha256:" + hex.EncodeToString(sum[:])
	if purchaseID != nil {
		key = purchaseID.String()
	}
	err = s.background.QueryRow(ctx, `
		INSERT INTO billing.rejected_messages (key, purchase_id, body, reason) VALUES ($1, $2, $3, $4)
		ON CONFLICT (key) DO UPDATE SET times = rejected_messages.times + 1, last_at = now(), reason = EXCLUDED.reason
		RETURNING first_at`, key, purchaseID, body[:min(len(body), maxBody)], reason).Scan(&firstAt)
	return firstAt, pg.Wrap("insert rejected message", err)
}

// RejectedMessage is a purchase request that could not be parsed or stored.
type RejectedMessage struct {
	Key             string
	PurchaseID      *uuid.UUID
	Body            []byte
	Reason          string
	Times           int64
	FirstAt, LastAt time.Time
}

// RejectedMessages calls f with every rejected message, oldest first.
func (s *Store) RejectedMessages(ctx context.Context, f func(RejectedMessage) error) error {
	return forEach(ctx, s.background, "list rejected messages", f, `
		SELECT key, purchase_id, body, reason, times, first_at, last_at FROM billing.rejected_messages ORDER BY id`)
}
