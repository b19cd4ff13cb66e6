package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"lavka/services/catalog/internal/catalog"
)

func TestSearchableForms(t *testing.T) {
	t.Parallel()
	for query, title := range map[string]string{
		"οδος": "ΟΔΟΣ", "ΟΔΟΣ": "οδος", "straße": "STRASSE", "strasse": "Straße", "STRASSE": "Straẞe",
		"caf\u00e9": "CAFE\u0301", "cafe\u0301": "Caf\u00e9", "чай": "ЧАЙ", "и\u0306": "Й", "file": "ﬁle", "x2": "x²", "ａｂｃ": "ABC", "i\u0307": "İ",
		"한글": "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u0345\u0301": "\u0345\u0301", "100%": "100%", `a\b`: `A\B`,
	} {
		if !strings.Contains(catalog.Searchable(title), catalog.Searchable(query)) {
			t.Errorf("%q (%q) is not found in %q (%q)", query, catalog.Searchable(query), title, catalog.Searchable(title))
		}
	}
	for query, title := range map[string]string{"tea": "coffee", "cafe": "caf\u00e9", "е": "ё"} {
		if strings.Contains(catalog.Searchable(title), catalog.Searchable(query)) {
			t.Errorf("%q is found in %q", query, title)
		}
	}
}

// Folding what is folded changes nothing: otherwise a title might not be found by itself, as it is shown.
func FuzzSearchable(f *testing.F) {
	for _, s := range []string{"Straße", "ΟΔΟΣ", "e\u0301", "\u0345", "İ", "\ufdfa", "\u1fb3\u0345", "\xff", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := catalog.Searchable(s)
		if twice := catalog.Searchable(once); twice != once {
			t.Errorf("%q becomes %q, and that %q", s, once, twice)
		}
		all, looked := catalog.Grams(once), catalog.LookedUp(once, unknown)
		if len(looked) > 8 || len(once) > 0 && len(looked) == 0 {
			t.Errorf("%q is looked up by %q", once, looked)
		}
		for _, g := range looked {
			if !slices.Contains(all, g) {
				t.Errorf("%q is looked up by %q, which is not among its grams %q", once, g, all)
			}
		}
	})
}

func TestGrams(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "я": "я", "чай": "а ай й ч ча чай", "aaaa": "a aa aaa", "abcd": "a ab abc b bc bcd c cd d"} {
		if got := strings.Join(catalog.Grams(text), " "); got != want {
			t.Errorf("%q has the grams %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"": "", "я": "я", "ча": "ча", "чай": "чай", "abcd": "abc bcd", "aaaaaaaaaaaaaaaaa": "aaa", "0123456789abcdefghij": "012 345 678 9ab cde fgh 123 456"} {
		if got := strings.Join(catalog.LookedUp(text, unknown), " "); got != want {
			t.Errorf("%q is looked up by %q, want %q", text, got, want)
		}
	}
	const common = "012345678"
	rarest := catalog.LookedUp(common+"9abcdefgh", func(gram string) float32 { return float32(strings.Count(common, gram)) })
	if len(rarest) != 8 || slices.ContainsFunc(rarest, func(gram string) bool { return strings.Contains(common, gram) }) {
		t.Errorf("looked up by %q, which are not the rarest", rarest)
	}
}

func unknown(string) float32 { return 0 }

func TestALongTitleIsSearchedUpToALimit(t *testing.T) {
	t.Parallel()
	const longest = "\ufdfa" // becomes 18 characters
	s := catalog.SearchableTitle(strings.Repeat(longest, catalog.MaxTitle))
	if len(s) > catalog.MaxSearchable || len(s) < catalog.MaxSearchable-3 || !utf8.ValidString(s) {
		t.Errorf("%d bytes: %q", len(s), s)
	}
	if title := strings.Repeat("\U00016800", catalog.MaxTitle); catalog.SearchableTitle(title) != title {
		t.Error("a title of 200 characters is cut")
	}
}
