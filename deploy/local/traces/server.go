package traces

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxBody is the largest export in bytes, compressed and uncompressed.
const maxBody = 16 << 20

// Delay is how long the services of a shop on one machine keep spans before they export
// them, in milliseconds, so that a trace can be shown soon.
const Delay = "300"

// Handler receives traces (POST /v1/traces, protobuf) and returns them as JSON:
// GET /traces/{id}, GET /traces/purchases/{id} for that of a purchase, and
// GET /traces/latest for that of the latest purchase. It does not authenticate:
// serve it on the loopback address only.
func Handler(s *Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) { take(s, w, r) })
	mux.HandleFunc("GET /traces/latest", func(w http.ResponseWriter, _ *http.Request) {
		spans, err := s.LatestPurchase()
		give(w, spans, err)
	})
	mux.HandleFunc("GET /traces/purchases/{id}", func(w http.ResponseWriter, r *http.Request) {
		spans, err := s.Purchase(r.PathValue("id"))
		give(w, spans, err)
	})
	mux.HandleFunc("GET /traces/{id}", func(w http.ResponseWriter, r *http.Request) {
		spans, err := s.Trace(r.PathValue("id"))
		give(w, spans, err)
	})
	return mux
}

// NewServer returns a server with limits on sizes and times.
func NewServer(s *Store) *http.Server {
	return &http.Server{
		Handler: Handler(s), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 15 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

func take(s *Store, w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-protobuf" {
		http.Error(w, "only application/x-protobuf is supported (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf)", http.StatusUnsupportedMediaType)
		return
	}
	body := io.Reader(http.MaxBytesReader(w, r.Body, maxBody))
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, "the body is not gzip", http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	data, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) || len(data) > maxBody {
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		return
	}
	var request collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &request)
	}
	if err != nil {
		http.Error(w, "the body can't be read", http.StatusBadRequest)
		return
	}
	s.Add(request.GetResourceSpans())
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(http.StatusOK) // an empty ExportTraceServiceResponse is no bytes
}

func give(w http.ResponseWriter, spans []Span, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
	}
	_ = json.NewEncoder(w).Encode(spans) // a client that has gone needs no response
}
