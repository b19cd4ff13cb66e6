// Package nightly runs the tasks of a command such as billing verify: once, for a
// scheduler such as a CronJob, or once a day, where nothing else schedules them.
package nightly

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Task is a part of the command.
type Task struct {
	Name string // a verb and its object, for the log
	// Done reports whether the task was completed at or after a time, by this process or
	// by another one.
	Done func(ctx context.Context, since time.Time) (bool, error)
	// Do does the task for a night, and returns a sentence about the result. What it finds
	// wrong is an error, too.
	Do func(ctx context.Context, night time.Time) (string, error)
}

// NotYet marks an error of Do: what the task needs is not there yet. The daily run
// waits for it for up to an hour.
func NotYet(err error) error { return notYet{err} }

type notYet struct{ error }

func (e notYet) Unwrap() error { return e.error }

// Once does each task, even if one before it failed, and writes their sentences to out.
func Once(ctx context.Context, tasks []Task, out io.Writer) error {
	var errs []error
	for _, t := range tasks {
		said, err := t.Do(ctx, time.Now())
		if err == nil {
			_, err = fmt.Fprintln(out, said)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

const (
	pollEvery  = 5 * time.Second
	waitLimit  = time.Hour       // after which a task that waits has failed
	retryAfter = 5 * time.Minute // after a failure
	// lookEvery limits how late a task is if the clock is set, or the machine sleeps.
	lookEvery = time.Minute
)

// Daily does the tasks at a time of each day, in their order, until ctx ends. If they
// were not done since that time, it does them at once: a restart neither misses a night
// nor repeats one. Failures are logged as errors. What has found a fault is completed,
// since its result is recorded; what could not be done is tried again.
func Daily(ctx context.Context, at Time, tasks []Task, log *slog.Logger) {
	log.InfoContext(ctx, "the checks run daily", "at", at.String()+" UTC")
	runs := make([]run, len(tasks))
	for i, t := range tasks {
		runs[i] = run{Task: t, log: log.With("task", t.Name)}
	}
	for ctx.Err() == nil {
		night := at.last(time.Now())
		wake := night.AddDate(0, 0, 1)
		for i := range runs {
			if next := runs[i].attempt(ctx, night); !next.IsZero() && next.Before(wake) {
				wake = next
			}
		}
		sleep(ctx, wake)
	}
}

// run is a task of Daily.
type run struct {
	Task
	log     *slog.Logger
	done    time.Time // the last night for which it was completed
	next    time.Time // when it is tried again
	waiting time.Time // since when it waits; zero if it does not
}

// attempt does the task, unless it is done, or not yet due again. It returns when to
// try again, and zero if the night's task is completed.
func (r *run) attempt(ctx context.Context, night time.Time) time.Time {
	if !r.done.Before(night) {
		return time.Time{}
	}
	if time.Now().Before(r.next) {
		return r.next
	}
	began := time.Now()
	done, err := r.Done(ctx, night)
	said := "its result is there already"
	if err != nil {
		err = fmt.Errorf("find out whether it was done: %w", err)
	} else if !done {
		said, err = r.Do(ctx, night)
	}
	if ctx.Err() != nil {
		return time.Time{}
	}
	if r.waiting.Before(night) {
		r.waiting = time.Time{}
	}
	pause := retryAfter
	switch _, waits := errors.AsType[notYet](err); {
	case err == nil:
		r.log.InfoContext(ctx, said, "night", night, "took", time.Since(began).String())
		r.done = night
		return time.Time{}
	case waits && (r.waiting.IsZero() || time.Since(r.waiting) < waitLimit):
		pause = pollEvery
		if r.waiting.IsZero() {
			r.waiting = began
			r.log.InfoContext(ctx, "waiting", "for", err)
		}
	default:
		r.log.ErrorContext(ctx, "the nightly task failed", "night", night, "error", err)
	}
	r.next = time.Now().Add(pause)
	return r.next
}

// sleep returns at a time, or when ctx ends.
func sleep(ctx context.Context, until time.Time) {
	for {
		left := time.Until(until.Round(0)) // by the wall clock
		if left <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(left, lookEvery)):
		}
	}
}
