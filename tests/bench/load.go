package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// ask fills in a request, the n-th of its worker, and says how its answer is to
// be counted: "ok" for what is expected.
type ask struct {
	fill func(r *rand.Rand, req *fasthttp.Request)
	kind func(resp *fasthttp.Response) string
}

// sample is one measurement.
type sample struct {
	kinds     map[string]int  // answers by kind; "ok" is what was hoped for
	unasked   int             // for want of a connection
	took      []time.Duration // of those that were ok, sorted
	others    []time.Duration // of the others, sorted
	span      time.Duration
	generator float64                  // part of all processors that this program took
	cpu       map[string]time.Duration // what each part of the shop, and this program, had
	memory    map[string]float64       // the most that each service took, in MiB
	flushes   flushes
}

func (s sample) rate() float64 { return float64(s.kinds["ok"]) / s.span.Seconds() }

func (s sample) percentile(p float64) time.Duration { return percentile(s.took, p) }

func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p/100*float64(len(sorted))))]
}

// together is one sample of several that were taken at the same time.
func together(samples []sample) sample {
	all := sample{kinds: map[string]int{}}
	for _, s := range samples {
		for kind, n := range s.kinds {
			all.kinds[kind] += n
		}
		all.unasked += s.unasked
		all.took, all.others = append(all.took, s.took...), append(all.others, s.others...)
		all.span, all.generator = max(all.span, s.span), max(all.generator, s.generator)
	}
	slices.Sort(all.took)
	slices.Sort(all.others)
	return all
}

// honest are answers of a shop that has no time: they are counted, and nothing is wrong with them.
var honest = []string{"202 with Retry-After", "429 with Retry-After", "503 with Retry-After"}

// unexpected says what was answered that must not be.
func (s sample) unexpected() error {
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
		if kind != "ok" && !slices.Contains(honest, kind) {
			return fmt.Errorf("%d of %d answers were: %s", s.kinds[kind], len(s.took)+len(s.others), kind)
		}
	}
	if s.kinds["ok"] == 0 {
		return errors.New("nothing was done")
	}
	return nil
}

// otherwise says how many answers were honest and no more.
func (s sample) otherwise() string {
	text := ""
	for _, kind := range honest {
		if n := s.kinds[kind]; n > 0 {
			text += fmt.Sprintf("; %d × %s", n, kind)
		}
	}
	return text
}

// giveUp is how long the generator waits for an answer.
const giveUp = 15 * time.Second

// worker asks over one connection.
type worker struct {
	client *fasthttp.HostClient
	r      *rand.Rand
	req    *fasthttp.Request
	resp   *fasthttp.Response

	kinds        map[string]int
	took, others []time.Duration
}

func newWorker(client *fasthttp.HostClient, seed uint64) *worker {
	return &worker{
		client: client, r: rand.New(rand.NewPCG(seed, 1)), kinds: map[string]int{},
		req: fasthttp.AcquireRequest(), resp: fasthttp.AcquireResponse(),
	}
}

func newClient(addr string, connections int) *fasthttp.HostClient {
	return &fasthttp.HostClient{
		Addr: addr, MaxConns: connections, ReadTimeout: giveUp, WriteTimeout: giveUp, NoDefaultUserAgentHeader: true,
		// What was asked once may have been done.
		RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
	}
}

// one asks once. Its time counts from when it was due.
func (w *worker) one(a ask, due time.Time) {
	w.req.Reset()
	a.fill(w.r, w.req)
	kind := ""
	if err := w.client.Do(w.req, w.resp); err != nil {
		kind = err.Error()
	} else {
		kind = a.kind(w.resp)
	}
	took := time.Since(due)
	w.kinds[kind]++
	if kind == "ok" {
		w.took = append(w.took, took)
	} else {
		w.others = append(w.others, took)
	}
}

// closed runs a closed loop for a while: each of a number of clients sends its next
// request when it gets a response.
func closed(ctx context.Context, addr string, clients int, span time.Duration, a ask) sample {
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	return measure(addr, clients, func(w *worker) {
		for ctx.Err() == nil {
			w.one(a, time.Now())
		}
	})
}

// open asks at a rate, in numbers a second, whether what was asked before is
// answered or not; as long as there is one of the connections for it.
func open(ctx context.Context, addr string, connections int, rate float64, span time.Duration, a ask) sample {
	due := make(chan time.Time, connections)
	late := 0
	begin := time.Now()
	go func() {
		defer close(due)
		for n := 0; ctx.Err() == nil; n++ {
			at := begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			if at.Sub(begin) > span {
				return
			}
			time.Sleep(time.Until(at))
			select {
			case due <- at:
			default:
				late++
			}
		}
	}()
	s := measure(addr, connections, func(w *worker) {
		for at := range due {
			w.one(a, at)
		}
	})
	s.unasked = late
	return s
}

func measure(addr string, workers int, run func(*worker)) sample {
	client := newClient(addr, workers)
	all := make([]*worker, workers)
	for i := range all {
		all[i] = newWorker(client, rand.Uint64())
	}
	begin, before := time.Now(), cpu()
	var running sync.WaitGroup
	for _, w := range all {
		running.Go(func() { run(w) })
	}
	running.Wait()
	s := sample{kinds: map[string]int{}, span: time.Since(begin)}
	s.generator = (cpu() - before).Seconds() / s.span.Seconds() / float64(processors)
	for _, w := range all {
		for kind, n := range w.kinds {
			s.kinds[kind] += n
		}
		s.took, s.others = append(s.took, w.took...), append(s.others, w.others...)
	}
	slices.Sort(s.took)
	slices.Sort(s.others)
	client.CloseIdleConnections()
	return s
}

// cpu is the time that this process has had.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it can't fail for oneself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
