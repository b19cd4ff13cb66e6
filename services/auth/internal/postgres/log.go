package postgres

import (
	"context"

	"lavka/libs/service/adminlog"
)

// Log returns at most limit entries of the admins' log, newest first.
func (s *Store) Log(ctx context.Context, q adminlog.Query, limit int) ([]adminlog.Entry, error) {
	return adminlog.List(ctx, s.reads, Schema, q, limit)
}
