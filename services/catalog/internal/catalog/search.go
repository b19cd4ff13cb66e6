package catalog

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// The sizes of grams, in characters, and how many of its own a search looks up.
const (
	maxGram    = 3
	mostLooked = 8
)

// Searchable returns the form in which titles are searched: two texts have the same
// one if they differ only in case or in how their characters are composed ("ß" and
// "SS", "ς" and "Σ", "é" and "e" with an accent, "ﬁ" and "fi"). It is the
// compatibility caseless match of Unicode, chapter 3.13, D146, composed again. The
// service makes it and not SQL, because Postgres's idea of a letter depends on the
// locale that the database was created with.
func Searchable(text string) string {
	fold := cases.Fold()
	return norm.NFKC.String(fold.String(norm.NFKD.String(fold.String(norm.NFD.String(text)))))
}

// MaxSearchable is how much of a title is searched, in bytes of the form of Searchable.
// It is more than any title has, except where one character becomes many, such as
// U+FDFA, which becomes 18. An index has rows of at most 2.7 kB.
const MaxSearchable = 1600

// SearchableTitle returns Searchable of a title, or the beginning of it.
func SearchableTitle(title string) string {
	s := Searchable(title)
	if len(s) <= MaxSearchable {
		return s
	}
	end := MaxSearchable
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// SearchTerms returns what a title is searched by: SearchableTitle, and its Grams.
func SearchTerms(title string) (searchable string, grams []string) {
	searchable = SearchableTitle(title)
	return searchable, Grams(searchable)
}

// Grams returns all parts of one to three characters of a text in the form of
// Searchable, each once, sorted. They are at most three for each character.
func Grams(searchable string) []string {
	starts := starts(searchable)
	grams := make([]string, 0, maxGram*len(starts))
	for i := range starts[:len(starts)-1] {
		for n := 1; n <= maxGram && i+n < len(starts); n++ {
			grams = append(grams, searchable[starts[i]:starts[i+n]])
		}
	}
	slices.Sort(grams)
	return slices.Compact(grams)
}

// LookedUp returns the grams by which the index finds titles that may contain a text
// in the form of Searchable: the rarest of the longest grams that it has, at most
// eight, spread over the text where they are equally rare. frequency tells the share of
// titles that have a gram, as far as it is known. If the text has at most three
// characters, it is the only gram, and titles that have it contain the text.
func LookedUp(searchable string, frequency func(gram string) float32) []string {
	starts := starts(searchable)
	size := min(maxGram, len(starts)-1)
	if size == 0 {
		return nil
	}
	grams := make([]string, 0, len(starts))
	for _, i := range spread(len(starts) - size) {
		if gram := searchable[starts[i]:starts[i+size]]; !slices.Contains(grams, gram) {
			grams = append(grams, gram)
		}
	}
	slices.SortStableFunc(grams, func(a, b string) int { return cmp.Compare(frequency(a), frequency(b)) })
	return grams[:min(mostLooked, len(grams))]
}

// spread returns the numbers below n, each once: first those of every eighth part.
func spread(n int) []int {
	step := max(1, (n+mostLooked-1)/mostLooked)
	all := make([]int, 0, n)
	for first := range step {
		for i := first; i < n; i += step {
			all = append(all, i)
		}
	}
	return all
}

// starts returns where each character of a text begins, and its length.
func starts(text string) []int {
	starts := make([]int, 0, utf8.RuneCountInString(text)+1)
	for i := range text {
		starts = append(starts, i)
	}
	return append(starts, len(text))
}
