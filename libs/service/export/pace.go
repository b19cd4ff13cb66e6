package export

import (
	"context"
	"time"
)

const (
	// restShare is how many times as long as a page took the replica's exports pause
	// after it. An export takes what processor time it can get, and people wait for the
	// requests beside it. While the machine is busy, pages take longer, and so do the
	// pauses.
	restShare = 4
	maxRest   = time.Second
)

// pace is the pace of a replica's exports: they read and encode one page at a time, and
// pause after each.
type pace struct {
	next chan time.Time // when the next page may be read; the export that has taken it has the turn
}

func newPace() pace {
	p := pace{next: make(chan time.Time, 1)}
	p.next <- time.Time{}
	return p
}

// turn waits until a page may be read. The caller calls done when it has the page.
func (p *pace) turn(ctx context.Context) (done func(), err error) {
	var next time.Time
	select {
	case next = <-p.next:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		p.next <- next
		return nil, ctx.Err()
	}
	began := time.Now()
	return func() {
		now := time.Now()
		p.next <- now.Add(min(restShare*now.Sub(began), maxRest))
	}, nil
}
