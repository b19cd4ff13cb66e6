package telemetry_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"lavka/libs/service/telemetry"
	"lavka/libs/testkit/waittest"
)

// A mistake in any variable is a warning that names it, and the rest has its effect.
func TestMistakesAreWarnings(t *testing.T) {
	wrong := map[string]string{
		"OTEL_TRACES_EXPORTER": "jaeger", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier pigeon", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4317",
		"OTEL_EXPORTER_OTLP_HEADERS": "hunter2", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere.pem", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "10s",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "lzma", "OTEL_EXPORTER_OTLP_INSECURE": "perhaps", "OTEL_PROPAGATORS": "tracecontext,pigeon",
		"OTEL_TRACES_SAMPLER": "most", "OTEL_TRACES_SAMPLER_ARG": "NaN", "OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_BSP_SCHEDULE_DELAY": "0",
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "many", "OTEL_BSP_EXPORT_TIMEOUT": "-5",
	}
	for name, value := range wrong {
		t.Setenv(name, value)
	}
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "zone=east,broken,floor=2")
	t.Setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0") // not one of ours
	var log waittest.Text
	telemetry.Start(t.Context(), "test", slog.New(slog.NewTextHandler(&log, nil)))()
	for name := range wrong {
		if !strings.Contains(log.String(), "setting="+name+" ") {
			t.Errorf("no warning about %s", name)
		}
		if os.Getenv(name) != "" {
			t.Errorf("%s is still there", name)
		}
	}
	if os.Getenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT") != "" {
		t.Error("a variable without a meaning here is still there")
	}
	if !strings.Contains(log.String(), "OTEL_RESOURCE_ATTRIBUTES") || strings.Contains(log.String(), "hunter2") || strings.Contains(log.String(), "be exported") {
		t.Errorf("the log: %s", &log)
	}
	attributes := startedSpan(t).Resource().Set()
	for name, want := range map[attribute.Key]string{"service.name": "test", "zone": "east", "floor": "2"} {
		if got, _ := attributes.Value(name); got.AsString() != want {
			t.Errorf("%s is %q, want %q", name, got.AsString(), want)
		}
	}
}

func startedSpan(t *testing.T) sdktrace.ReadOnlySpan {
	t.Helper()
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	t.Cleanup(telemetry.Start(t.Context(), "test", slog.New(slog.DiscardHandler)))
	_, span := otel.Tracer("test").Start(t.Context(), "x")
	defer span.End()
	return span.(sdktrace.ReadOnlySpan)
}

// Spans go to the collector, and not to a proxy that the environment names. The name of
// the collector can't be resolved: only a proxy could reach it, and net/http uses none
// for addresses of this machine.
func TestNoProxySeesTraces(t *testing.T) {
	asked := make(chan string, 100)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method + " " + r.Host }))
	defer proxy.Close()
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Setenv("HTTP_PROXY", proxy.URL)
		t.Setenv("HTTPS_PROXY", proxy.URL)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.invalid:4318")
		t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
		t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
		stop := telemetry.Start(t.Context(), "test", slog.New(slog.DiscardHandler))
		_, span := otel.Tracer("test").Start(t.Context(), "x")
		span.End()
		stop() // exports it
		select {
		case request := <-asked:
			t.Errorf("%s: the proxy got %s", protocol, request)
		default:
		}
	}
}
