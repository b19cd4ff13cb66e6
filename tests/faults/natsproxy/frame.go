package natsproxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
)

// Limits on what is read before it is forwarded. The server's own limits are
// 4 KiB for a line and, unless its INFO says otherwise, 1 MiB for a message.
const (
	maxLine    = 64 << 10
	maxPayload = 64 << 20
)

// frame is one operation of the protocol with all its bytes.
// (docs.nats.io/reference/reference-protocols/nats-protocol)
type frame struct {
	raw     []byte
	message *Message // of PUB, HPUB, MSG and HMSG
}

// reader reads frames. From the first input that it can't parse, it returns all
// bytes unparsed: the server or the client must decide what to do with them.
type reader struct {
	r         *bufio.Reader
	direction Direction
	allowed   *atomic.Int64 // bytes of a message to the server, by its INFO
	blind     bool
}

func newReader(r io.Reader, d Direction, allowed *atomic.Int64) *reader {
	return &reader{r: bufio.NewReaderSize(r, maxLine), direction: d, allowed: allowed}
}

// next returns the next frame, or the error that ended the input. The raw bytes
// of all frames together are exactly the input.
func (r *reader) next() (frame, error) {
	if r.blind {
		buf := make([]byte, maxLine)
		n, err := r.r.Read(buf)
		if n > 0 {
			return frame{raw: buf[:n]}, nil
		}
		return frame{}, err
	}
	line, err := r.r.ReadSlice('\n')
	if err != nil && len(line) == 0 {
		return frame{}, err
	}
	f := frame{raw: bytes.Clone(line)}
	if err != nil { // the line does not end, or is too long
		r.blind = true
		return f, nil
	}
	verb, args := words(line)
	shape, carries := r.direction.shapes()[verb]
	if verb == "INFO" && r.direction == ToClient {
		r.heed(line)
	}
	if !carries {
		return f, nil
	}
	m, header, total, ok := shape.read(args)
	if !ok || total > r.limit() {
		r.blind = true
		return f, nil
	}
	return r.payload(f, m, header, total)
}

// payload reads the header and data that follow a message's line, and does not
// interpret them.
func (r *reader) payload(f frame, m *Message, header, total int64) (frame, error) {
	start := int64(len(f.raw))
	whole := bytes.NewBuffer(f.raw) // grows as bytes arrive; the announced size is not allocated up front
	_, err := io.CopyN(whole, r.r, total+2)
	f.raw = whole.Bytes()
	if err != nil || !bytes.HasSuffix(f.raw, []byte("\r\n")) {
		r.blind = true
		return f, nil
	}
	m.Direction = r.direction
	m.Header, m.Data = f.raw[start:start+header], f.raw[start+header:start+total]
	f.message = m
	return f, nil
}

func (r *reader) limit() int64 {
	if allowed := r.allowed.Load(); r.direction == ToServer && allowed > 0 {
		return min(allowed, maxPayload)
	}
	return maxPayload
}

// heed stores the server's message limit from its INFO, if it has one.
func (r *reader) heed(line []byte) {
	var info struct {
		MaxPayload int64 `json:"max_payload"`
	}
	if json.Unmarshal(line[len("INFO"):], &info) == nil {
		r.allowed.Store(info.MaxPayload)
	}
}

func words(line []byte) (verb string, args []string) {
	all := strings.FieldsFunc(string(line), func(c rune) bool { return strings.ContainsRune(" \t\r\n", c) })
	if len(all) == 0 {
		return "", nil
	}
	return strings.ToUpper(all[0]), all[1:]
}

// shape describes the arguments in a message's line: the subject and, from the
// server, the subscription id; then an optional reply subject; then the sizes.
type shape struct{ before, sizes int }

func (d Direction) shapes() map[string]shape {
	if d == ToServer {
		return map[string]shape{"PUB": {1, 1}, "HPUB": {1, 2}}
	}
	return map[string]shape{"MSG": {2, 1}, "HMSG": {2, 2}}
}

func (s shape) read(args []string) (m *Message, header, total int64, ok bool) {
	more := len(args) - s.before - s.sizes
	if more != 0 && more != 1 {
		return nil, 0, 0, false
	}
	m = &Message{Subject: args[0]}
	if more == 1 {
		m.Reply = args[s.before]
	}
	total, err := size(args[len(args)-1])
	if s.sizes == 2 {
		var headerErr error
		header, headerErr = size(args[len(args)-2])
		err = errors.Join(err, headerErr)
	}
	return m, header, total, err == nil && header <= total
}

// size reads a decimal number that fits into 31 bits.
func size(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int64(n), err
}
