package nightly

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args  string
		books bool
		daily string // "" for once
		file  string
		says  string // of the error
	}{
		{"", false, "", "", ""},
		{"--daily 03:17", false, "03:17", "", ""},
		{"--daily=00:00", false, "00:00", "", ""},
		{"--daily 23:59 --books /books/catalog", true, "23:59", "/books/catalog", ""},
		{"--books x", true, "", "x", ""},
		{"--books x", false, "", "", "-books; usage: verify [--daily HH:MM]"},
		{"--daily 24:00", false, "", "", `"24:00" is not a time of day in UTC`},
		{"--daily 3:17", false, "", "", `"3:17" is not a time of day in UTC`},
		{"--daily", false, "", "", "needs an argument"},
		{"now", true, "", "", `unknown argument "now"; usage: verify [--daily HH:MM] [--books FILE]`},
	} {
		o, err := ParseOptions(strings.Fields(c.args), c.books)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		daily := ""
		if o.Daily != nil {
			daily = o.Daily.String()
		}
		if daily != c.daily || o.Books != c.file {
			t.Errorf("%q: %q, %q", c.args, daily, o.Books)
		}
	}
}

func TestTheLastNight(t *testing.T) {
	t.Parallel()
	at, err := ParseTime("03:17")
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[string]string{
		"2026-11-29T03:17:00Z":      "2026-11-29T03:17:00Z",
		"2026-11-29T03:16:59Z":      "2026-11-28T03:17:00Z",
		"2026-11-29T23:00:00Z":      "2026-11-29T03:17:00Z",
		"2026-03-01T00:00:00Z":      "2026-02-28T03:17:00Z",
		"2026-11-29T05:00:00+02:00": "2026-11-28T03:17:00Z",
	} {
		n, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := at.last(n).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", now, got, want)
		}
	}
}

// store is what a check leaves behind for the next process.
type store struct {
	recorded time.Time
	runs     []time.Time
	fails    func(n int) error // the nth run
}

func (s *store) task(found error) Task {
	return Task{
		Name: "verify the ledger",
		Done: func(_ context.Context, since time.Time) (bool, error) { return !s.recorded.Before(since), nil },
		Do: func(context.Context, time.Time) (string, error) {
			s.runs = append(s.runs, time.Now().UTC())
			if s.fails != nil {
				if err := s.fails(len(s.runs)); err != nil {
					return "", err
				}
			}
			s.recorded = time.Now()
			return "it adds up", found
		},
	}
}

// night is a process that runs daily for some time, and is then stopped.
func night(t *testing.T, tasks []Task, lasts time.Duration) (log string) {
	t.Helper()
	at, err := ParseTime("03:17")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan time.Time, 1)
	go func() {
		Daily(ctx, at, tasks, slog.New(slog.NewTextHandler(&text, nil)))
		ended <- time.Now()
	}()
	time.Sleep(lasts)
	synctest.Wait()
	stop()
	if at := <-ended; time.Now().After(at) {
		t.Error("it did not stop at once")
	}
	return text.String()
}

// A bubble begins at midnight of 2000-01-01.
func day(n, hour, minute int) time.Time { return time.Date(2000, 1, n, hour, minute, 0, 0, time.UTC) }

const hours = time.Hour

func TestEachNightOnceWhateverIsRestarted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{recorded: day(1, 0, 0).AddDate(0, 0, -1).Add(4 * hours)} // of the night before
		tasks := []Task{s.task(nil)}
		for _, lasts := range []time.Duration{hours, 5 * hours, hours, time.Second, 20 * hours} { // until 3:00:01 of the second day
			if log := night(t, tasks, lasts); strings.Contains(log, "level=ERROR") {
				t.Error(log)
			}
		}
		time.Sleep(6 * hours) // down in the night
		night(t, tasks, hours)
		night(t, tasks, 36*hours)
		want := []time.Time{day(1, 3, 17), day(2, 9, 0).Add(time.Second), day(3, 3, 17)}
		if !slices.Equal(s.runs, want) {
			t.Errorf("it ran at %v, want %v", s.runs, want)
		}
	})
}

func TestTheFirstRunIsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		night(t, []Task{s.task(nil)}, 12*hours)
		if want := []time.Time{day(1, 0, 0), day(1, 3, 17)}; !slices.Equal(s.runs, want) {
			t.Errorf("it ran at %v, want %v", s.runs, want)
		}
	})
}

func TestAFailedRunIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{recorded: day(1, 0, 0), fails: func(n int) error {
			if n < 3 {
				return errors.New("the database is down")
			}
			return nil
		}}
		other := &store{recorded: day(1, 0, 0)}
		log := night(t, []Task{s.task(nil), other.task(nil)}, 24*hours)
		if want := []time.Time{day(1, 3, 17), day(1, 3, 22), day(1, 3, 27)}; !slices.Equal(s.runs, want) {
			t.Errorf("it ran at %v, want %v", s.runs, want)
		}
		if want := []time.Time{day(1, 3, 17)}; !slices.Equal(other.runs, want) {
			t.Errorf("the other one ran at %v, want %v", other.runs, want)
		}
		if strings.Count(log, `level=ERROR msg="the nightly task failed" task="verify the ledger"`) != 2 || !strings.Contains(log, "the database is down") {
			t.Error(log)
		}
	})
}

// A fault is found once a night: the result is recorded.
func TestAFindingIsRecordedAndNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{recorded: day(1, 0, 0)}
		log := night(t, []Task{s.task(errors.New("a cent is missing"))}, 24*hours)
		if want := []time.Time{day(1, 3, 17)}; !slices.Equal(s.runs, want) {
			t.Errorf("it ran at %v, want %v", s.runs, want)
		}
		if strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, `error="a cent is missing"`) {
			t.Error(log)
		}
	})
}

// Whether it was done can't be known either while the database is down.
func TestAnUnknownRunCountsAsNotDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{recorded: day(1, 0, 0)}
		task := s.task(nil)
		known, asked := task.Done, 0
		task.Done = func(ctx context.Context, since time.Time) (bool, error) {
			if asked++; asked > 1 && asked < 4 {
				return false, errors.New("the database is down")
			}
			return known(ctx, since)
		}
		log := night(t, []Task{task}, 24*hours)
		if want := []time.Time{day(1, 3, 27)}; !slices.Equal(s.runs, want) {
			t.Errorf("it ran at %v, want %v", s.runs, want)
		}
		if !strings.Contains(log, "level=ERROR") {
			t.Error(log)
		}
	})
}

func TestARunThatIsNotReadyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inTime, tooLate := day(1, 3, 40), day(2, 5, 0)
		s := &store{recorded: day(1, 0, 0), fails: func(int) error {
			now := time.Now()
			if now.Before(inTime) || now.After(day(2, 0, 0)) && now.Before(tooLate) {
				return NotYet(errors.New("no books"))
			}
			return nil
		}}
		log := night(t, []Task{s.task(nil)}, 48*hours)
		if !slices.Contains(s.runs, inTime) || !slices.Contains(s.runs, day(2, 4, 16)) || s.runs[len(s.runs)-1] != tooLate.Add(2*time.Minute) {
			t.Errorf("it ran at %v", s.runs)
		}
		if n := strings.Count(log, `level=INFO msg=waiting task="verify the ledger" for="no books"`); n != 2 {
			t.Errorf("%d nights waited: %s", n, log)
		}
		if n := strings.Count(log, "level=ERROR"); n != 9 { // from 4:17 to 4:57
			t.Errorf("%d errors: %s", n, log)
		}
	})
}

func TestOnce(t *testing.T) {
	t.Parallel()
	bad := &store{fails: func(int) error { return errors.New("a cent is missing") }}
	good := &store{}
	var out bytes.Buffer
	if err := Once(t.Context(), []Task{bad.task(nil), good.task(nil)}, &out); err == nil || err.Error() != "a cent is missing" {
		t.Error(err)
	}
	if out.String() != "it adds up\n" {
		t.Errorf("%q", out.String())
	}
}
