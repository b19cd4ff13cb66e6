package pg

import "time"

// Newest returns at most limit rows of a list in descending order of id that are not
// before a time, from; nil selects all. read returns the next rows after one, or the
// first ones after nil, and no more than it is asked for.
//
// Ids and times rise together but for a margin. It is for lists of one owner, whose
// statement can't end at that time by itself: a condition on the id that would end it
// also fits the primary key, in which the server would look for the owner's rows among
// all others (docs/adr/0077). What is read beyond that time is what is within the margin.
func Newest[T any](limit int, from *time.Time, margin time.Duration, at func(T) time.Time, read func(after *T, rows int) ([]T, error)) ([]T, error) {
	var found []T
	var last *T
	for rows := limit; ; rows = min(10*rows, PartMax) {
		part, err := read(last, rows)
		if err != nil {
			return nil, err
		}
		over := len(part) < rows
		for i := range part {
			last = &part[i]
			switch t := at(part[i]); {
			case from == nil || !t.Before(*from):
				found = append(found, part[i])
			case t.Before(from.Add(-margin)):
				over = true
			}
		}
		if over || len(found) >= limit {
			return found[:min(limit, len(found))], nil
		}
	}
}
