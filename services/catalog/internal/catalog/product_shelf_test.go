package catalog

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

func TestSKUs(t *testing.T) {
	t.Parallel()
	for sku, valid := range map[string]bool{
		"TEA-250": true, "x": true, "a b": true, "50%": true, "a?b#c": true, "...": true, `"*"`: true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "чай": false, "a\tb": false, "a\x7f": false, "a/b": false, `a\b`: false, ".": false, "..": false, " a": false, "a ": false, " ": false,
	} {
		if why := CheckSKU(sku); (why == "") != valid {
			t.Errorf("%q: %q", sku, why)
		}
	}
}

func TestShelfLimits(t *testing.T) {
	t.Parallel()
	image := func(n int) string { return "https://p.example/" + strings.Repeat("x", n-len("https://p.example/")) }
	images := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint("https://p.example/", i))
		}
		return all
	}
	attributes := func(n int) map[string]string {
		all := map[string]string{}
		for i := range n {
			all[fmt.Sprint("a", i)] = "x"
		}
		return all
	}
	for name, c := range map[string]struct {
		patch Patch
		field string // that is refused; "" for none
	}{
		"the most":              {Patch{SKU: new("x"), Images: new(append(images(9), image(500))), Attributes: new(attributes(32))}, ""},
		"the longest attribute": {Patch{Attributes: &map[string]string{strings.Repeat("ё", 40): strings.Repeat("ё", 200)}}, ""},
		"an empty value":        {Patch{Attributes: &map[string]string{"color": ""}}, ""},
		"a query and a port":    {Patch{Images: &[]string{"https://p.example:8443/a%20b.jpg?w=1&h=2#x"}}, ""},
		"no such status":        {Patch{Status: new(ProductStatus("sold"))}, "status"},
		"no status":             {Patch{Status: new(ProductStatus(""))}, "status"},
		"an empty sku":          {Patch{SKU: new("")}, "sku"},
		"a sku with a slash":    {Patch{SKU: new("a/b")}, "sku"},
		"many images":           {Patch{Images: new(images(11))}, "images"},
		"a long image":          {Patch{Images: &[]string{image(501)}}, "images"},
		"http":                  {Patch{Images: &[]string{"http://p.example/x"}}, "images"},
		"a script":              {Patch{Images: &[]string{"javascript:alert(1)"}}, "images"},
		"a quote":               {Patch{Images: &[]string{`https://p.example/"onerror=x`}}, "images"},
		"a letter of ours":      {Patch{Images: &[]string{"https://p.example/самовар.jpg"}}, "images"},
		"a password":            {Patch{Images: &[]string{"https://me:secret@p.example/x"}}, "images"},
		"no host":               {Patch{Images: &[]string{"https:///x"}}, "images"},
		"only a port":           {Patch{Images: &[]string{"https://:80/x"}}, "images"},
		"half an escape":        {Patch{Images: &[]string{"https://p.example/%2"}}, "images"},
		"an empty image":        {Patch{Images: &[]string{""}}, "images"},
		"many attributes":       {Patch{Attributes: new(attributes(33))}, "attributes"},
		"a long name":           {Patch{Attributes: &map[string]string{strings.Repeat("ё", 41): "x"}}, "attributes"},
		"no name":               {Patch{Attributes: &map[string]string{"": "x"}}, "attributes"},
		"an invisible name":     {Patch{Attributes: &map[string]string{"\u200b": "x"}}, "attributes"},
		"a long value":          {Patch{Attributes: &map[string]string{"a": strings.Repeat("ё", 201)}}, "attributes"},
		"a value of two lines":  {Patch{Attributes: &map[string]string{"a": "x\ny"}}, "attributes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.patch.Title, c.patch.Description, c.patch.Price = new("tea"), new(""), new(money.Amount(1))
			_, err := NewProduct(c.patch, nil)
			if c.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if p := problem.From(err); p.Code != "validation_failed" || len(p.Fields) != 1 || p.Fields[0].Field != c.field {
				t.Errorf("%v %+v", err, p.Fields)
			}
		})
	}
}

// A change is one of any member, and an existing product may lose its SKU.
func TestPatchesOfTheShelf(t *testing.T) {
	t.Parallel()
	tea := Product{ID: 1, SKU: "TEA", Status: Active, Title: "tea", Price: 1, Images: []string{"https://p.example/1"}, Attributes: map[string]string{"a": "b"}}
	for name, c := range map[string]struct {
		patch   Patch
		changed bool
	}{
		"all the same":    {Patch{SKU: new("TEA"), Status: new(Active), Images: &[]string{"https://p.example/1"}, Attributes: &map[string]string{"a": "b"}}, false},
		"no sku":          {Patch{SKU: new("")}, true},
		"archived":        {Patch{Status: new(Archived)}, true},
		"no images":       {Patch{Images: &[]string{}}, true},
		"other images":    {Patch{Images: &[]string{"https://p.example/2"}}, true},
		"other attribute": {Patch{Attributes: &map[string]string{"a": "c"}}, true},
		"no attributes":   {Patch{Attributes: &map[string]string{}}, true},
	} {
		if _, changed, err := tea.With(c.patch); err != nil || changed != c.changed {
			t.Errorf("%s: changed %v, %v", name, changed, err)
		}
	}
}

// Until the gate is open no product gets another status than active; one that has it can
// still be changed.
func TestStatusesWaitForTheGate(t *testing.T) {
	t.Parallel()
	closed := errors.New("closed")
	s := NewProducts(nil, func() error { return closed })
	always := func(Product) bool { return true }
	for name, c := range map[string]struct {
		before ProductStatus
		patch  Patch
		want   error
	}{
		"archive":          {Active, Patch{Status: new(Archived)}, closed},
		"a title":          {Active, Patch{Title: new("x")}, nil},
		"the same":         {Active, Patch{Status: new(Active)}, nil},
		"back":             {Archived, Patch{Status: new(Active)}, nil},
		"a draft's title":  {Draft, Patch{Title: new("x")}, nil},
		"from draft to it": {Draft, Patch{Status: new(Archived)}, closed},
	} {
		if _, _, err := s.change(c.patch, always)(Product{ID: 1, Status: c.before, Title: "tea"}); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := s.Create(t.Context(), 1, "", Product{Status: Draft}); !errors.Is(err, closed) {
		t.Error(err)
	}
}
