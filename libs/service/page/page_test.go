package page_test

import (
	"errors"
	"testing"

	"lavka/libs/domain/problem"
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

func TestCut(t *testing.T) {
	t.Parallel()
	rows, next, err := page.Cut("l", []int{1, 2, 3}, 2, func(i int) any { return i })
	if err != nil || len(rows) != 2 || next == nil {
		t.Fatalf("%v %v %v", rows, next, err)
	}
	if k, err := page.Decode[int]("l", next); err != nil || *k != 2 {
		t.Errorf("next holds %v, %v", k, err)
	}
	if rows, next, _ := page.Cut("l", []int{1, 2}, 2, func(i int) any { return i }); len(rows) != 2 || next != nil {
		t.Errorf("the last page: %v %v", rows, next)
	}
	var none *problem.Error
	if _, _, err := page.Cut("l", []int{1, 2}, 1, func(int) any { return make(chan int) }); err == nil || errors.As(err, &none) {
		t.Errorf("a key that can't be encoded as JSON: %v", err)
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
