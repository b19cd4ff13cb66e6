package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lavka/libs/service/pgconfig"
	"lavka/tests/faults/history"
)

// stalled is how long a commit of the check's own takes when the machine can't keep up:
// its disk does not flush, or its processors are busy. A healthy one takes milliseconds.
const stalled = time.Second

// stall is a time in which a commit of the check's own did not end.
type stall struct{ start, end time.Duration }

// stalls is the times in which the machine, rather than the shop, kept a request
// waiting.
type stalls []stall

// watch commits to Postgres, one commit after another, until ctx ends, and returns the
// times in which a commit took longer than [stalled]. It takes no lock and no row of
// the shop: nothing that the shop does can make it wait, except for using the machine.
func watch(ctx context.Context, admin string, now func() time.Duration) (stalls, error) {
	conn, err := pgconfig.Connect(ctx, admin)
	if err != nil {
		return nil, fmt.Errorf("watch for stalls: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var found stalls
	for last(ctx, 50*time.Millisecond) == nil {
		begin := now()
		// A message in the write-ahead log: its commit waits for the disk, like that of a purchase.
		_, err := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_logical_emit_message(true, 'lavka-check', '')`)
		if err != nil {
			return nil, fmt.Errorf("watch for stalls: %w", err)
		}
		if end := now(); end-begin > stalled {
			found = append(found, stall{begin, end})
		}
	}
	return found, nil
}

// excuse reports whether a failed call is the machine's fault: the shop answered it
// with 503, and it was in progress during a stall. A broken connection, or another
// status, has no excuse.
func (s stalls) excuse(call history.Call) bool {
	return call.Status == 503 && call.Failure == "" && slices.ContainsFunc(s, func(one stall) bool { return call.Start < one.end && one.start < call.End })
}

// total returns the sum of all stalls.
func (s stalls) total() (sum time.Duration) {
	for _, one := range s {
		sum += one.end - one.start
	}
	return sum
}
