package load

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"lavka/libs/service/directhttp"
)

// floodRest is how long a connection of a flood rests after a response, on average. The process of
// the faults passes every packet between services, Postgres and NATS on. Without a rest
// that process has no time for anything but the flood, and everything else is slow
// because of the test, not because of the shop.
const floodRest = 2500 * time.Millisecond

// Flood sends GET requests of a user over a number of connections until ctx ends,
// the first on all of them at once, and each next one a while after the response. It
// returns the number of responses by status; 0 is the status of a request that got
// none within 10 s. The calls are not recorded.
func (w *World) Flood(ctx context.Context, u *Account, connections int, path func(*rand.Rand) string) map[int]int {
	transport := directhttp.Transport()
	transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = connections, connections
	defer transport.CloseIdleConnections()
	hc := &http.Client{Transport: transport}
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for i := range connections {
		c := &client{rec: w.rec, hc: hc}
		r := rand.New(rand.NewPCG(w.seed, uint64(i)))
		all.Go(func() {
			for ctx.Err() == nil {
				call, _ := c.send(ctx, http.MethodGet, w.target.Gateway+path(r), u.Token(), nil)
				if ctx.Err() != nil {
					return // perhaps cut off by its end
				}
				mu.Lock()
				statuses[call.Status]++
				mu.Unlock()
				rest(ctx, floodRest/2+rand.N(floodRest))
			}
		})
	}
	all.Wait()
	return statuses
}
