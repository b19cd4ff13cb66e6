package access

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"lavka/libs/service/token"
)

// Clients without a token are told apart by their address, of IPv6 by the /64, and from
// all users; a token that is sent is checked.
func TestCallers(t *testing.T) {
	t.Parallel()
	var caller int64
	checked := false
	check := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			checked = true
			c.SetRequest(c.Request().WithContext(With(c.Request().Context(), token.Identity{UserID: 7})))
			return next(c)
		}
	}
	handler := orAnonymous(check)(func(c echo.Context) error {
		caller = Caller(c.Request().Context())
		if _, ok := Lookup(c.Request().Context()); ok != checked {
			t.Errorf("the context has an identity: %v", ok)
		}
		return nil
	})
	of := func(address string, authorization ...string) int64 {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = address
		r.Header["Authorization"] = authorization
		if authorization == nil {
			delete(r.Header, "Authorization")
		}
		checked = false
		if err := handler(echo.New().NewContext(r, httptest.NewRecorder())); err != nil {
			t.Fatal(err)
		}
		if checked != (authorization != nil) {
			t.Errorf("%s: a token was checked: %v", address, checked)
		}
		return caller
	}
	one := of("192.0.2.1:1000")
	if one >= 0 || of("192.0.2.1:2000") != one || of("192.0.2.2:1000") == one {
		t.Errorf("an address is the caller %d", one)
	}
	six := of("[2001:db8::1]:1000")
	if six >= 0 || of("[2001:db8::ffff:2]:1000") != six || of("[2001:db8:0:1::1]:1000") == six {
		t.Errorf("an IPv6 address is the caller %d", six)
	}
	if addressCaller("::ffff:192.0.2.1") == addressCaller("::ffff:192.0.2.2") {
		t.Error("two addresses of IPv4 in the form of IPv6 are one caller")
	}
	for _, header := range []string{"Bearer x", ""} {
		if n := of("192.0.2.1:1000", header); n != 7 {
			t.Errorf("a user is the caller %d", n)
		}
	}
	if n := Caller(context.Background()); n != 0 {
		t.Errorf("a context without a request is the caller %d", n)
	}
}
