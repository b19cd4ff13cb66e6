package httpserver

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpproblem"
)

// Refusal answers every request with the same problem, in a fraction of the time
// that an echo takes: for a service that is asked for so much that refusing is
// most of its work.
type Refusal struct {
	status      int
	header      http.Header // shared by all answers
	head, after string      // of the body; between them goes the trace id
}

// NewRefusal makes the answer once.
func NewRefusal(p *problem.Error) *Refusal {
	const mark = "TRACE"
	head, after, _ := strings.Cut(string(httpproblem.Body(p, mark)), mark)
	f := &Refusal{httpproblem.Status(p.Kind), maps.Clone(seals), head, after}
	httpproblem.SetHeader(f.header, p)
	return f
}

// ServeHTTP answers. The trace id is a new one: nothing was traced.
func (f *Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	maps.Copy(w.Header(), f.header)
	w.WriteHeader(f.status)
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	body := append(make([]byte, 0, 512), f.head...)
	body = hex.AppendEncode(body, id[:])
	// A client that has gone can't be told anything more.
	_, _ = w.Write(append(body, f.after...))
}
