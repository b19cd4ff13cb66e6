package access

import (
	"context"
	"hash/maphash"
	"net/netip"

	"github.com/labstack/echo/v4"
)

// orAnonymous returns the middleware of a route that needs no token, but checks one that
// is sent: a client whose token has expired must notice.
func orAnonymous(check echo.MiddlewareFunc) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		checked := check(next)
		return func(c echo.Context) error {
			r := c.Request()
			if _, sent := r.Header["Authorization"]; sent {
				return checked(c)
			}
			c.SetRequest(r.WithContext(context.WithValue(r.Context(), addressKey{}, addressCaller(c.RealIP()))))
			return next(c)
		}
	}
}

type addressKey struct{}

var seed = maphash.MakeSeed()

// addressCaller returns a negative number for an address. An IPv6 address counts as its
// /64, all of which one client has.
func addressCaller(address string) int64 {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if prefix, err := ip.WithZone("").Prefix(64); err == nil {
			address = prefix.String()
		}
	}
	return -1 - int64(maphash.String(seed, address)>>1)
}

// Caller returns a number for the client of a request, for limits that clients don't
// share: the user id, or for a client without a token on an open route a negative number
// for its address. It is 0 for a context without either.
func Caller(ctx context.Context) int64 {
	if id, ok := Lookup(ctx); ok {
		return id.UserID
	}
	caller, _ := ctx.Value(addressKey{}).(int64)
	return caller
}
