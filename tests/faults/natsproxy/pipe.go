package natsproxy

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lavka/libs/testkit/tcprelay"
)

// Limits on what is held back in one direction of a connection. Beyond them,
// messages are forwarded at once.
const (
	maxHeld      = 4096
	maxHeldBytes = 16 << 20
)

// pipe is one direction of a connection.
type pipe struct {
	proxy     *Proxy
	pair      *tcprelay.Pair
	direction Direction
	from, to  *net.TCPConn
	random    *rand.Rand

	mu        sync.Mutex // its holder writes whole frames
	out       *bufio.Writer
	held      []*heldFrame // in order of arrival
	heldBytes int
}

type heldFrame struct {
	raw []byte
	due *time.Timer
}

func newPipe(p *Proxy, pair *tcprelay.Pair, d Direction, from, to *net.TCPConn) *pipe {
	return &pipe{proxy: p, pair: pair, direction: d, from: from, to: to, random: p.random(pair, d), out: bufio.NewWriterSize(to, maxLine)}
}

func (p *pipe) run(allowed *atomic.Int64) {
	frames := newReader(p, p.direction, allowed)
	for {
		f, err := frames.next()
		if frames.blind { // f may be part of a frame, and no held frame may be sent within it
			p.releaseAll()
		}
		if err == nil {
			err = p.pass(f)
		}
		if err != nil {
			p.end(err)
			return
		}
	}
}

// Read reads from the sender. It first flushes what was forwarded before, which
// must not wait for input that may never arrive.
func (p *pipe) Read(buf []byte) (int, error) {
	p.mu.Lock()
	err := p.out.Flush()
	p.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return p.from.Read(buf)
}

// pass applies the rules to a frame.
func (p *pipe) pass(f frame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.message == nil {
		return p.send(f.raw)
	}
	for _, rule := range *p.proxy.rules.Load() {
		if rule.matches(*f.message) {
			return p.deal(f.raw, rule.roll(p.random))
		}
	}
	p.proxy.count(Counts{Passed: 1})
	return p.send(f.raw)
}

// deal sends a message, once after each of the delays.
func (p *pipe) deal(raw []byte, delays []time.Duration) error {
	var c Counts
	switch len(delays) {
	case 0:
		c.Dropped++
	case 2:
		c.Duplicated++
	}
	for _, delay := range delays {
		if delay > 0 && len(p.held) < maxHeld && p.heldBytes+len(raw) <= maxHeldBytes {
			c.Delayed++
			p.hold(raw, delay)
		} else if err := p.send(raw); err != nil {
			return err
		}
	}
	if c == (Counts{}) {
		c.Passed++
	}
	p.proxy.count(c)
	return nil
}

// send writes a frame. The caller must hold the lock, also for hold.
func (p *pipe) send(raw []byte) error {
	_, err := p.out.Write(raw)
	return err
}

func (p *pipe) hold(raw []byte, delay time.Duration) {
	h := &heldFrame{raw: raw}
	h.due = time.AfterFunc(delay, func() { p.release(h) })
	p.held = append(p.held, h)
	p.heldBytes += len(raw)
}

// release sends a frame if it is still held back.
func (p *pipe) release(h *heldFrame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.held, h); i >= 0 {
		p.held = slices.Delete(p.held, i, i+1)
		p.sendHeld(h)
	}
}

// releaseAll sends all frames that are held back.
func (p *pipe) releaseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.held
	p.held = nil
	for _, h := range held {
		h.due.Stop()
	}
	p.sendHeld(held...)
}

func (p *pipe) sendHeld(held ...*heldFrame) {
	var err error
	for _, h := range held {
		p.heldBytes -= len(h.raw)
		err = errors.Join(err, p.send(h.raw))
	}
	if err := errors.Join(err, p.out.Flush()); err != nil {
		p.pair.Reset()
	}
}

// end closes or breaks the connection to the receiver, as the sender did. Frames
// that are held back are sent first, because the sender did send them.
func (p *pipe) end(err error) {
	p.releaseAll()
	if !errors.Is(err, io.EOF) {
		p.pair.Reset()
		return
	}
	// An error means that the receiver has disconnected already.
	_ = p.to.CloseWrite()
}
