package telemetry_test

import (
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"lavka/libs/service/telemetry"
	"lavka/libs/testkit/waittest"
)

// A collector that is down, or accepts connections and never responds, delays nothing
// and costs a bounded amount of memory.
func TestCollectorsThatDoNotWork(t *testing.T) {
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	go func() {
		for {
			conn, err := hanging.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for name, addr := range map[string]string{"hanging": hanging.Addr().String(), "dead": dead.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+addr)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
			t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
			var log waittest.Text
			stop := telemetry.Start(t.Context(), "test", slog.New(slog.NewTextHandler(&log, nil)))
			tracer, before := otel.Tracer("test"), inUse()
			const spans = 300_000
			for range spans {
				_, span := tracer.Start(t.Context(), "x")
				span.End()
			}
			if grown := inUse() - before; grown > 64<<20 {
				t.Errorf("%d spans that can't be exported hold %d MiB", spans, grown>>20)
			}
			began := time.Now()
			stop()
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("stop took %v, want at most 30s", took)
			}
			if n := strings.Count(log.String(), "can't be exported"); n > 1 {
				t.Errorf("the failure was logged %d times, want at most once:\n%s", n, &log)
			}
		})
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// All new traces are recorded while they are few, and one in a hundred of many, unless
// OTEL_TRACES_SAMPLER is set.
func TestNewTracesAreRecorded(t *testing.T) {
	recorded := func(all int) (n int) {
		stop := telemetry.Start(t.Context(), "test", slog.New(slog.DiscardHandler))
		defer stop()
		tracer := otel.GetTracerProvider().(*sdktrace.TracerProvider).Tracer("test")
		for range all {
			if _, span := tracer.Start(t.Context(), "x"); span.IsRecording() {
				n++
			}
		}
		return n
	}
	if n := recorded(telemetry.DefaultBurst); n != telemetry.DefaultBurst {
		t.Errorf("%d of %d are recorded, want all of them", n, telemetry.DefaultBurst)
	}
	began := time.Now()
	n := recorded(100_000)
	few := telemetry.DefaultBurst + telemetry.DefaultPerSecond*time.Since(began).Seconds()
	if share := float64(n) - few; share < 700 || share > 1300 {
		t.Errorf("%d of 100,000 are recorded, %.0f of them because they were the first, want about 1,000 more", n, few)
	}
	for sampler, want := range map[string]int{"always_on": 10_000, "always_off": 0} {
		t.Setenv("OTEL_TRACES_SAMPLER", sampler)
		if n := recorded(10_000); n != want {
			t.Errorf("%s: %d of 10,000, want %d", sampler, n, want)
		}
	}
}
