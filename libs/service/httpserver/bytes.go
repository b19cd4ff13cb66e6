package httpserver

import (
	"io"
	"net/http"
	"strconv"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/access"
	"lavka/libs/service/bytelimit"
)

// The bytes that a replica holds for large responses, with the rows that they are
// made of, and for large request bodies. What is below [bytelimit.Free] for a
// request does not count. Together with the heap that the garbage collector lets
// grow, they fit into a container of 512 MiB.
const (
	maxResponses = 64 << 20
	maxBodies    = 32 << 20
)

// measureHeld registers the bytes held and their limit.
func measureHeld(registry prometheus.Registerer, kind string, limit *bytelimit.Limit) {
	labels := prometheus.Labels{"kind": kind}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "http_server_held_bytes", Help: "Bytes held for large responses (with the rows read for them) and large request bodies.", ConstLabels: labels,
	}, func() float64 { return float64(limit.Held()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "http_server_held_bytes_max", Help: "Maximum of http_server_held_bytes; requests that need more are refused.", ConstLabels: labels,
	}, func() float64 { return float64(limit.Max()) }))
}

// claimReads adds a claim on limit to every protected GET operation of a contract,
// after the check of its token. Reads and pages grow it, and it ends when the client
// has taken the response. Operations with another method have none: when their
// response is made, they have taken effect and must not be refused. Nor have open
// ones, so protected still holds only those that need a token: the responses of open
// ones are small, since an operator decides how many public keys there are.
func claimReads(contract *openapi3.T, protected map[string][]echo.MiddlewareFunc, limit *bytelimit.Limit) {
	for _, item := range contract.Paths.Map() {
		if item.Get == nil {
			continue
		}
		id := item.Get.OperationID
		if guard, ok := protected[id]; ok {
			protected[id] = append(guard, claimed(limit))
		}
	}
}

func claimed(limit *bytelimit.Limit) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			claim := limit.Claim(strconv.FormatInt(access.Caller(r.Context()), 10))
			defer claim.Close()
			c.SetRequest(r.WithContext(bytelimit.With(r.Context(), claim)))
			return next(c)
		}
	}
}

// claimedBody adds the bytes of a request's body to a claim as they are read. A body
// may take as long as the server's ReadTimeout to arrive.
type claimedBody struct {
	io.ReadCloser
	open  func() *bytelimit.Claim // called once, for a body that is larger than bytelimit.Free
	claim *bytelimit.Claim        // nil before
	bytes int
}

func (b *claimedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes += n
	if b.bytes <= bytelimit.Free {
		return n, err
	}
	grown := n
	if b.claim == nil {
		b.claim, grown = b.open(), b.bytes
	}
	if full := b.claim.Grow(grown); full != nil {
		return 0, full
	}
	return n, err
}

func (b *claimedBody) end() {
	if b.claim != nil {
		b.claim.Close()
	}
}

// bounded refuses bodies over a size, which is [MaxBody] except on the routes in larger:
// at once if Content-Length exceeds it, else while the body is read. It also refuses
// large bodies while those of other requests use up held.
func bounded(larger map[string]int64, held *bytelimit.Limit) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			size, ok := larger[r.Method+" "+c.Path()]
			if !ok {
				size = MaxBody
			}
			if r.ContentLength > size {
				return tooLargeProblem
			}
			if r.Body != nil && r.Body != http.NoBody {
				body := &claimedBody{
					ReadCloser: http.MaxBytesReader(c.Response(), r.Body, size),
					open:       func() *bytelimit.Claim { return held.Claim(c.RealIP()) },
				}
				defer body.end()
				r.Body = body
			}
			return next(c)
		}
	}
}
