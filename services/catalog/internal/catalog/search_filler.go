package catalog

import (
	"context"
	"log/slog"
	"time"
)

// SearchStore makes products searchable.
type SearchStore interface {
	// MakeSearchable makes what products are searched by, for at most limit products
	// that lack it, and returns for how many.
	MakeSearchable(ctx context.Context, limit int) (int, error)
	// Unsearchable returns how many products lack it, counted up to most.
	Unsearchable(ctx context.Context, most int) (int, error)
	// LearnGrams reads which grams are frequent.
	LearnGrams(ctx context.Context) error
}

// SearchMetrics shows what a SearchFiller has to do.
type SearchMetrics interface{ Unsearchable(products int) }

// SearchFiller makes products searchable that are not: those that were stored before
// search had an index, and those that the release before has changed since.
type SearchFiller struct {
	Store   SearchStore
	Metrics SearchMetrics
	Log     *slog.Logger
	Every   time.Duration // pause between two looks
	Learn   time.Duration // pause between two readings of the frequencies
	Batch   int           // products in one transaction, whose rows it locks
	Most    int           // up to which it counts
}

// Run fills until ctx ends. It works at most half of the time.
func (f *SearchFiller) Run(ctx context.Context) {
	var learned time.Time
	for failing := false; ; {
		began := time.Now()
		made, err := f.runOnce(ctx, began.Sub(learned) >= f.Learn)
		if err != nil && ctx.Err() == nil && !failing {
			f.Log.WarnContext(ctx, "can't make products searchable; retrying", "error", err)
		}
		failing = err != nil
		if began.Sub(learned) >= f.Learn && !failing {
			learned = began
		}
		wait := f.Every
		if made == f.Batch { // there are more
			wait = min(wait, time.Since(began))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (f *SearchFiller) runOnce(ctx context.Context, learn bool) (made int, err error) {
	if learn {
		if err := f.Store.LearnGrams(ctx); err != nil {
			return 0, err
		}
	}
	if made, err = f.Store.MakeSearchable(ctx, f.Batch); err != nil {
		return 0, err
	}
	left := 0
	if made == f.Batch {
		if left, err = f.Store.Unsearchable(ctx, f.Most); err != nil {
			return made, err
		}
	}
	f.Metrics.Unsearchable(left)
	return made, nil
}
