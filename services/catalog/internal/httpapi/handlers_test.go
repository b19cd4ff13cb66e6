package httpapi

import (
	"testing"

	"lavka/libs/domain/problem"
	"lavka/services/catalog/internal/catalog"
)

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
		// What compressing proxies make of it.
		{`"p1-2-gzip"`, true, true}, {`"p1-2--gzip"`, true, true}, {`W/"p1-2;gzip"`, true, false}, {`"p1-2-br"`, true, true},
		{`"p1-22-gzip"`, false, false}, {`"p1-2-gzip-gzip"`, false, false}, {`"p1-2-3"`, false, false}, {`"p1-2gzip"`, false, false},
	} {
		if got := matchesAny(&c.header, tag); got != c.weak {
			t.Errorf("If-None-Match: %s: %v", c.header, got)
		}
		if matches, err := ifMatch(&c.header); err != nil || matches(catalog.Product{ID: 1, Version: 2}) != c.strong {
			t.Errorf("If-Match: %s: %v", c.header, err)
		}
	}
	for header, weak := range map[string]bool{`W/"p1-2"`: true, `W/"p1-1", W/"p1-2"`: true, `W/"p1-2", "p1-1"`: false, `"p1-1"`: false} {
		if err := orWeak(&header, catalog.ErrPreconditionFailed); (problem.From(err).Detail == errWeakTag.Detail) != weak || problem.From(err).Code != "precondition_failed" {
			t.Errorf("If-Match: %s: %v", header, err)
		}
	}
	if err := orWeak(new(`W/"p1-2"`), catalog.ErrProductNotFound); err != catalog.ErrProductNotFound {
		t.Errorf("a product that does not exist: %v", err)
	}
	// Not a list of tags: a read ignores the header, a change is refused.
	for _, header := range []string{`p1-2`, ``, ` `, `"`, `W/p1-2`, `p1-2, p1-3`, `"p1-1", p1-3`, `"p1-1",`, `"p1-1" "p1-3"`} {
		if matchesAny(&header, tag) {
			t.Errorf("If-None-Match: %s matches", header)
		}
		if _, err := ifMatch(&header); problem.From(err).Code != "malformed" {
			t.Errorf("If-Match: %s: %v", header, err)
		}
	}
	if matchesAny(nil, tag) {
		t.Error("a missing If-None-Match matches")
	}
	if matches, err := ifMatch(nil); err != nil || !matches(catalog.Product{}) {
		t.Error("a missing If-Match is a condition")
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
			t.Errorf("two pages have the tag %s", tag)
		}
		seen[tag] = true
	}
}
