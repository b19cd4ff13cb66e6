package postgres

import (
	"context"

	"lavka/libs/service/schemacheck"
)

// Verify checks what the schema must have, and returns [schemacheck.ErrFound] with the
// first fault.
func (s *Store) Verify(ctx context.Context) error {
	return schemacheck.Check(ctx, s.background, Expected)
}
