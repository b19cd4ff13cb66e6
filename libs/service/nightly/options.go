package nightly

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"lavka/libs/service/httpserver"
)

// Time is a time of day in UTC.
type Time struct{ hour, minute int }

// ParseTime reads a time such as 03:17.
func ParseTime(text string) (Time, error) {
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return Time{}, fmt.Errorf("%q is not a time of day in UTC, such as 03:17", text)
	}
	return Time{t.Hour(), t.Minute()}, nil
}

func (t Time) String() string { return fmt.Sprintf("%02d:%02d", t.hour, t.minute) }

// last returns the last moment, not after now, at which it was that time.
func (t Time) last(now time.Time) time.Time {
	now = now.UTC()
	at := time.Date(now.Year(), now.Month(), now.Day(), t.hour, t.minute, 0, 0, time.UTC)
	if at.After(now) {
		at = at.AddDate(0, 0, -1)
	}
	return at
}

// Options are those of the command verify.
type Options struct {
	Daily *Time  // nil: once
	Books string // the file of catalog's books; empty: none
}

// ParseOptions reads the command's arguments: --daily HH:MM, and --books FILE if the
// service has to do with books.
func ParseOptions(args []string, books bool) (Options, error) {
	var o Options
	usage := "verify [--daily HH:MM]"
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Func("daily", "", func(text string) error {
		at, err := ParseTime(text)
		o.Daily = &at
		return err
	})
	if books {
		usage += " [--books FILE]"
		flags.StringVar(&o.Books, "books", "", "")
	}
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if err != nil {
		return Options{}, fmt.Errorf("%w; usage: %s", err, usage)
	}
	return o, nil
}

// Run does the tasks once, or daily until ctx ends. Meanwhile it answers health checks
// at internalAddr: Compose does not wait for containers that have none.
func (o Options) Run(ctx context.Context, tasks []Task, out io.Writer, internalAddr string, log *slog.Logger) error {
	if o.Daily == nil {
		return Once(ctx, tasks, out)
	}
	stop, err := httpserver.Alive(internalAddr, log)
	if err != nil {
		return err
	}
	defer stop()
	Daily(ctx, *o.Daily, tasks, log)
	return nil
}
