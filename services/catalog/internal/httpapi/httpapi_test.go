package httpapi

import (
	"strings"
	"testing"

	"lavka/services/catalog/internal/catalog"
)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "~", "two words", `"quoted"`, strings.Repeat("k", 255)} {
		if key, err := idempotencyKey(&good); err != nil || key != good {
			t.Errorf("%q: %q, %v", good, key, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("k", 256), "tab\there", "ключ", "\x7f", "a\x00b", "\xff"} {
		if _, err := idempotencyKey(&bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if key, err := idempotencyKey(nil); err != nil || key != "" {
		t.Errorf("none: %q, %v", key, err)
	}
}

func TestEntityTags(t *testing.T) {
	t.Parallel()
	const tag = `"p1-2"`
	if got := productTag(catalog.Product{ID: 1, Version: 2}); got != tag {
		t.Errorf("tag %s", got)
	}
	for _, c := range []struct {
		header       string
		weak, strong bool
	}{
		{tag, true, true},
		{"W/" + tag, true, false},
		{"*", true, true},
		{` "a", "b,c" , ` + tag, true, true},
		{`"a",W/` + tag, true, false},
		{`"p1-3"`, false, false},
		{`p1-2`, false, false},
		{``, false, false},
	} {
		if got := matchesAny(&c.header, tag); got != c.weak {
			t.Errorf("If-None-Match: %s: %v", c.header, got)
		}
		if got := ifMatch(&c.header)(catalog.Product{ID: 1, Version: 2}); got != c.strong {
			t.Errorf("If-Match: %s: %v", c.header, got)
		}
	}
	if matchesAny(nil, tag) {
		t.Error("If-None-Match that is not there matches")
	}
	if !ifMatch(nil)(catalog.Product{}) {
		t.Error("If-Match that is not there is a condition")
	}
}

func TestPageTagChangesWithThePage(t *testing.T) {
	t.Parallel()
	a, b := catalog.Product{ID: 1, Version: 1}, catalog.Product{ID: 2, Version: 1}
	newer := catalog.Product{ID: 1, Version: 2}
	next := "next"
	seen := map[string]bool{}
	for _, tag := range []string{
		pageTag(nil, nil), pageTag([]catalog.Product{a}, nil), pageTag([]catalog.Product{a}, &next), pageTag([]catalog.Product{newer}, nil),
		pageTag([]catalog.Product{a, b}, nil), pageTag([]catalog.Product{b, a}, nil),
	} {
		if seen[tag] {
			t.Errorf("tag %s stands for two pages", tag)
		}
		seen[tag] = true
	}
}
