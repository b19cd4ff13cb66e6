package catalog

import (
	"reflect"
	"strings"
	"testing"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

func TestProductLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, title, description string
		price                    money.Amount
		code                     string
	}{
		{"plain", "tea", "", 1, ""},
		{"the longest, in characters", strings.Repeat("ё", 200), strings.Repeat("ё", 10_000), money.Max, ""},
		{"no title", "", "", 1, "validation_failed"},
		{"too long a title", strings.Repeat("a", 201), "", 1, "validation_failed"},
		{"too long a description", "tea", strings.Repeat("a", 10_001), 1, "validation_failed"},
		{"an invisible title", "\u200b\u00ad", "", 1, "validation_failed"},
		{"a title of two lines", "tea\ngreen", "", 1, "validation_failed"},
		{"a title that reorders text", "tea \u202egnp", "", 1, "validation_failed"},
		{"a description of two lines", "tea", "green\r\n\tblack", 1, ""},
		{"a description for a terminal", "tea", "\x1b[2J", 1, "validation_failed"},
		{"free", "tea", "", 0, "invalid_amount"},
		{"negative", "tea", "", -1, "invalid_amount"},
		{"too expensive", "tea", "", money.Max + 1, "invalid_amount"},
	} {
		if _, err := NewProduct(Patch{Title: &c.title, Description: &c.description, Price: &c.price}, nil); code(err) != c.code {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	tea := Product{ID: 1, Title: "tea", Description: "green", Price: 350, Version: 4}
	for _, c := range []struct {
		name    string
		patch   Patch
		want    Product
		changed bool
		code    string
	}{
		{"nothing", Patch{}, tea, false, ""},
		{"the same", Patch{Title: new("tea")}, tea, false, ""},
		{"title", Patch{Title: new("Tea")}, Product{ID: 1, Title: "Tea", Description: "green", Price: 350, Version: 4}, true, ""},
		{"all", Patch{Title: new("a"), Description: new(""), Price: new(money.Amount(1))}, Product{ID: 1, Title: "a", Price: 1, Version: 4}, true, ""},
		{"no title", Patch{Title: new("")}, Product{}, true, "validation_failed"},
		{"free", Patch{Price: new(money.Amount(0))}, Product{}, true, "invalid_amount"},
	} {
		got, changed, err := tea.With(c.patch)
		if code(err) != c.code {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
		if err == nil && (!reflect.DeepEqual(got, c.want) || changed != c.changed) {
			t.Errorf("%s: %+v, changed %v", c.name, got, changed)
		}
	}
}

// A refusal names what is wrong, and nothing else.
func TestPatchNamesTheFields(t *testing.T) {
	t.Parallel()
	tea := Product{ID: 1, Title: "tea", Description: "green", Price: 350, Version: 4}
	for price, want := range map[money.Amount]int{1: 1, 0: 2} {
		_, _, err := tea.With(Patch{Title: new(""), Price: new(price)})
		if fields := problem.From(err).Fields; len(fields) != want || fields[0].Field != "title" {
			t.Errorf("no title and the price %d: %+v", price, fields)
		}
	}
}

// A title from before a rule of titles does not keep the price from being changed.
func TestTitlesFromBeforeARule(t *testing.T) {
	t.Parallel()
	old := Product{ID: 1, Title: "two\nlines", Description: "\a", Price: 350, Version: 4}
	if got, changed, err := old.With(Patch{Price: new(money.Amount(400))}); err != nil || !changed || got.Price != 400 || got.Title != old.Title {
		t.Errorf("%+v %v %v", got, changed, err)
	}
	if _, _, err := old.With(Patch{Title: &old.Title}); code(err) != "validation_failed" {
		t.Errorf("the same title: %v", err)
	}
}
