package page_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"lavka/libs/domain/problem"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/page"
)

type key struct {
	Price int64 `json:"p"`
	ID    int64 `json:"i"`
}

func TestCursor(t *testing.T) {
	t.Parallel()
	c, err := page.Encode("products", key{999, 7})
	if err != nil {
		t.Fatal(err)
	}
	got, err := page.Decode[key]("products", &c)
	if err != nil || *got != (key{999, 7}) {
		t.Errorf("read back %v, %v", got, err)
	}
	if got, err := page.Decode[key]("products", nil); got != nil || err != nil {
		t.Errorf("no cursor: %v, %v", got, err)
	}
	long := string(make([]byte, 3000))
	for _, text := range []string{c[:len(c)-3], "!!", "bnVsbA", "e30", long} {
		if _, err := page.Decode[key]("products", &text); problem.From(err).Code != "malformed" {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := page.Decode[key]("users", &c); problem.From(err).Code != "malformed" {
		t.Errorf("another list's cursor: %v", err)
	}
}

func TestLongestCursor(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		c, err := page.Encode("l", strings.Repeat("x", n))
		if err != nil {
			t.Fatal(err)
		}
		_, err = page.Decode[string]("l", &c)
		if len(c) <= 2048 && err != nil {
			t.Fatalf("a cursor of %d bytes: %v", len(c), err)
		}
		if len(c) > 2048 {
			if problem.From(err).Code != "malformed" {
				t.Errorf("a cursor of %d bytes: %v", len(c), err)
			}
			return
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	for asked, ok := range map[int]bool{0: false, 1: true, 100: true, 101: false, -1: false} {
		if _, err := page.Limit(&asked); (err == nil) != ok {
			t.Errorf("limit %d: %v", asked, err)
		}
	}
	if n, err := page.Limit(nil); n != 20 || err != nil {
		t.Errorf("default %d, %v", n, err)
	}
}

func same[T any](v T) T { return v }

func TestCut(t *testing.T) {
	t.Parallel()
	itself := func(i int) any { return i }
	cut := func(rows []int, limit int) page.Page {
		t.Helper()
		p, err := page.Cut(t.Context(), "l", rows, limit, itself, same)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := cut([]int{1, 2, 3}, 2)
	if k, err := page.Decode[int]("l", p.Next); err != nil || *k != 2 || p.Len != 2 {
		t.Errorf("%d items, next holds %v, %v", p.Len, k, err)
	}
	for _, c := range []struct {
		page page.Page
		want string
	}{
		{p, `{"items":[1,2],"next_cursor":"` + *p.Next + `"}`},
		{cut([]int{1, 2}, 2), `{"items":[1,2],"next_cursor":null}`},
		{cut(nil, 2), `{"items":[],"next_cursor":null}`},
	} {
		if got, err := json.Marshal(c.page); err != nil || string(got) != c.want {
			t.Errorf("%s, %v, want %s", got, err, c.want)
		}
		w := httptest.NewRecorder()
		if err := c.page.Respond(w); err != nil || w.Body.String() != c.want+"\n" || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%d %v %s, %v", w.Code, w.Header(), w.Body, err)
		}
	}
	with, err := p.With("complete_until", "now & then")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"items":[1,2],"next_cursor":"` + *p.Next + `","complete_until":"now \u0026 then"}`
	if got, err := json.Marshal(with); err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if _, err := p.With("x", make(chan int)); err == nil {
		t.Error("a member that can't be encoded as JSON")
	}
	var none *problem.Error
	noJSON := func(int) any { return make(chan int) }
	if _, err := page.Cut(t.Context(), "l", []int{1, 2}, 1, noJSON, same); err == nil || errors.As(err, &none) {
		t.Errorf("a key that can't be encoded as JSON: %v", err)
	}
	if _, err := page.Cut(t.Context(), "l", []int{1, 2}, 1, itself, noJSON); err == nil || errors.As(err, &none) {
		t.Errorf("an item that can't be encoded as JSON: %v", err)
	}
}

// answer is what clients get.
type answer struct {
	Items      *[]string `json:"items"`
	NextCursor *string   `json:"next_cursor"`
}

// Pages end early, and hold all items nonetheless. What counts is the JSON, in which
// some characters take six bytes.
func TestPagesEndBeforeTheyAreTooLarge(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"ASCII": strings.Repeat("x", 10_000), "Cyrillic": strings.Repeat("ж", 10_000), "escaped": strings.Repeat("<", 10_000),
		"just too large for two": strings.Repeat("x", page.MaxBytes/2), "too large alone": strings.Repeat("x", page.MaxBytes+1),
	} {
		const all = 40
		var rows []string
		for i := range all {
			rows = append(rows, fmt.Sprint(i, text))
		}
		seen, pages := 0, 0
		for next := new(string); next != nil; pages++ {
			p, err := page.Cut(t.Context(), "l", rows[seen:], all, func(s string) any { return len(s) }, same)
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := p.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			var items []string
			if err := json.Unmarshal(encoded, &answer{Items: &items}); err != nil || len(items) != p.Len {
				t.Fatalf("%d items, want %d, %v", len(items), p.Len, err)
			}
			if len(items) == 0 || len(items) > 1 && len(encoded) > page.MaxBytes {
				t.Fatalf("%s: a page of %d items and %d bytes", name, len(items), len(encoded))
			}
			if got := rows[seen]; items[0] != got {
				t.Fatalf("%s: page %d begins with %.10q, want %.10q", name, pages, items[0], got)
			}
			seen += len(items)
			next = p.Next
		}
		if seen != all || pages < 2 {
			t.Errorf("%s: %d items on %d pages", name, seen, pages)
		}
	}
}

// A page may be as large as MaxBytes, of which 2,112 are for a cursor and the members'
// names, and there is a comma between items.
func TestLargestPage(t *testing.T) {
	t.Parallel()
	const rest = page.MaxBytes - 2112 - len(`"x",`) - len(`""`)
	for length, want := range map[int]int{rest: 2, rest + 1: 1} {
		p, err := page.Cut(t.Context(), "l", []string{"x", strings.Repeat("x", length)}, 2, func(string) any { return 1 }, same)
		if err != nil || p.Len != want {
			t.Errorf("an item of %d bytes behind a small one: %d items, %v, want %d", length, p.Len, err, want)
		}
	}
}

// An item that does not fit ends the page: a smaller one behind it would be out of order.
func TestPagesSkipNothing(t *testing.T) {
	t.Parallel()
	rows := []string{"first", strings.Repeat("x", page.MaxBytes), "last"}
	p, err := page.Cut(t.Context(), "l", rows, 3, func(s string) any { return s[:1] }, same)
	if err != nil || p.Len != 1 || p.Next == nil {
		t.Errorf("%d items, %v, %v", p.Len, p.Next, err)
	}
}

func TestPagesAreClaimed(t *testing.T) {
	t.Parallel()
	limit := bytelimit.New(8 << 20)
	rows := []string{strings.Repeat("ж", 10_000)}
	ask := func() error {
		_, err := page.Cut(bytelimit.With(t.Context(), limit.Claim("mira")), "l", rows, 1, func(string) any { return 1 }, same)
		return err
	}
	pages := 0
	for ; ask() == nil; pages++ {
		if pages > 1000 {
			t.Fatal("there is no limit")
		}
	}
	if held := limit.Held(); held < 20_000*int64(pages)-bytelimit.Free*int64(pages) || held > limit.Max()/8 {
		t.Errorf("%d pages of 20,000 bytes hold %d", pages, held)
	}
	if err := ask(); problem.From(err).Code != "overloaded" {
		t.Errorf("%v", err)
	}
	rows[0] = "small"
	if err := ask(); err != nil {
		t.Errorf("a small page: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("eyJsIjoicHJvZHVjdHMiLCJrIjp7InAiOjEsImkiOjJ9fQ")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := page.Decode[key]("products", &text)
		if err != nil && problem.From(err).Code != "malformed" {
			t.Fatalf("%q: %v", text, err)
		}
		if err == nil && k == nil && text != "" {
			t.Fatalf("%q: neither a key nor an error", text)
		}
	})
}
