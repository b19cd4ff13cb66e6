package stack

import (
	"context"
	"errors"
)

// MakeTemplate creates a database with the schemas of the services in binDir, as the first start of a shop does, in a directory that should be
// empty. A shop whose Config.Template is that directory starts without initdb and has no migration to apply.
func MakeTemplate(ctx context.Context, binDir, dir string) (err error) {
	s, err := reserve(ctx, Config{BinDir: binDir, DataDir: dir, Volatile: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := s.prepareSecrets(ctx); err != nil {
		return err
	}
	if err := s.startDatabase(ctx); err != nil {
		return err
	}
	return s.prepareSchemas(ctx)
}
