package bytelimit_test

import (
	"math"
	"strings"
	"sync"
	"testing"

	"lavka/libs/domain/problem"
	"lavka/libs/service/bytelimit"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

func wantHeld(t *testing.T, l *bytelimit.Limit, want int64) {
	t.Helper()
	if got := l.Held(); got != want {
		t.Errorf("%d bytes are held, want %d", got, want)
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	l := bytelimit.New(8 * mib)
	var claims []*bytelimit.Claim
	full := func(caller string) int {
		for n := 0; ; n++ {
			c := l.Claim(caller)
			claims = append(claims, c)
			if err := c.Grow(bytelimit.Free + 100*kib); err != nil {
				if p := problem.From(err); p.Code != "overloaded" || p.RetryAfter <= 0 {
					t.Errorf("%v", err)
				}
				return n
			}
		}
	}
	const share = mib / (100 * kib)
	if n := full("mira"); n != share {
		t.Errorf("one caller has %d claims, want %d", n, share)
	}
	// The others don't notice, until all together have used up the limit.
	got := 0
	for caller := range 10 {
		got += full(strings.Repeat("x", caller+1))
	}
	if want := 8*mib/(100*kib) - share; got != want {
		t.Errorf("the others have %d claims, want %d", got, want)
	}
	small := l.Claim("mira")
	if err := small.Grow(bytelimit.Free); err != nil {
		t.Errorf("a small request: %v", err)
	}
	if err := small.Grow(100 * kib); err == nil {
		t.Error("it grew beyond what is free")
	}
	for _, c := range claims {
		c.Close()
		c.Close()
	}
	wantHeld(t, l, 0)
	if n := full("mira"); n != share {
		t.Errorf("afterwards one caller has %d claims, want %d", n, share)
	}
}

// A read may still be under way when its request has ended.
func TestAClosedClaimDoesNotGrow(t *testing.T) {
	t.Parallel()
	l := bytelimit.New(mib)
	c := l.Claim("mira")
	c.Close()
	if err := c.Grow(math.MaxInt32); err != nil {
		t.Error(err)
	}
	wantHeld(t, l, 0)
}

func TestClaimsOfManyAtOnce(t *testing.T) {
	t.Parallel()
	l := bytelimit.New(mib)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 50 {
				c := l.Claim("mira")
				_ = c.Grow(bytelimit.Free + kib) // full, at times
				if held := l.Held(); held > mib/8 {
					t.Errorf("%d bytes are held", held)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	wantHeld(t, l, 0)
}

func TestRequestsWithoutAClaimAreNotLimited(t *testing.T) {
	t.Parallel()
	if err := bytelimit.From(t.Context()).Grow(math.MaxInt32); err != nil {
		t.Error(err)
	}
	if err := bytelimit.GrowJSON(t.Context(), make(chan int)); err != nil {
		t.Error(err)
	}
}

func TestGrowJSON(t *testing.T) {
	t.Parallel()
	l := bytelimit.New(mib)
	ctx := bytelimit.With(t.Context(), l.Claim("mira"))
	if err := bytelimit.GrowJSON(ctx, strings.Repeat("<", 10_000)); err != nil {
		t.Error(err)
	}
	wantHeld(t, l, 60_002-bytelimit.Free)
	if err := bytelimit.GrowJSON(ctx, make(chan int)); err == nil {
		t.Error("what can't be encoded has a length")
	}
}

func TestResetGivesBack(t *testing.T) {
	t.Parallel()
	l := bytelimit.New(80 << 10)
	c := l.Claim("a")
	for range 100 { // more in all than anyone may hold at once
		if err := c.Grow(17 << 10); err != nil {
			t.Fatal(err)
		}
		if held := l.Held(); held != 9<<10 {
			t.Errorf("%d bytes are held", held)
		}
		c.Reset()
		if held := l.Held(); held != 0 {
			t.Errorf("%d bytes are held after the reset", held)
		}
	}
	c.Close()
	c.Reset()
	(*bytelimit.Claim)(nil).Reset()
	if held := l.Held(); held != 0 {
		t.Errorf("%d bytes are held in the end", held)
	}
}
