package pg_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"lavka/libs/service/pg"
)

func TestNewest(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	// Rows 100 to 1, one a second; each third one is five seconds late.
	at := func(row int) time.Time {
		if row%3 == 0 {
			return begin.Add(time.Duration(row+5) * time.Second)
		}
		return begin.Add(time.Duration(row) * time.Second)
	}
	for limit := 1; limit <= 101; limit += 10 {
		for from := -1; from < 110; from++ {
			since := begin.Add(time.Duration(from) * time.Second)
			var want []int
			for row := 100; row > 0; row-- {
				if !at(row).Before(since) && len(want) < limit {
					want = append(want, row)
				}
			}
			read, lowest := 0, 101
			got, err := pg.Newest(limit, &since, 5*time.Second, at, func(after *int, rows int) (part []int, _ error) {
				next := 100
				if after != nil {
					next = *after - 1
				}
				for ; next > 0 && len(part) < rows; next-- {
					part = append(part, next)
				}
				read++
				lowest = next + 1
				return part, nil
			})
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("limit %d from %d: %v, want %v; %v", limit, from, got, want, err)
			}
			if most := from - 5 - 10*limit; lowest < most {
				t.Errorf("limit %d from %d: row %d was read", limit, from, lowest)
			}
			if read > 4 {
				t.Errorf("limit %d from %d: %d reads", limit, from, read)
			}
		}
	}
	all, err := pg.Newest(3, nil, time.Minute, at, func(after *int, rows int) ([]int, error) { return []int{3, 2, 1}[:rows], nil })
	if err != nil || fmt.Sprint(all) != "[3 2 1]" {
		t.Errorf("%v %v", all, err)
	}
	failed := errors.New("failed")
	if _, err := pg.Newest(3, nil, time.Minute, at, func(*int, int) ([]int, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
}
