package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"

	"lavka/libs/service/telemetry"
)

func TestLinesCarryTheTrace(t *testing.T) {
	t.Parallel()
	stop := telemetry.Start(t.Context(), "test", slog.New(slog.DiscardHandler))
	t.Cleanup(stop)
	// A trace that is not recorded has an id too.
	ctx, span := otel.Tracer("test").Start(t.Context(), "x")
	defer span.End()
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "shop", "json", "warn")
	if err != nil {
		t.Fatal(err)
	}
	log = log.With("replica", 1).WithGroup("g")
	log.InfoContext(ctx, "too quiet")
	log.WarnContext(ctx, "loud enough", "x", 1)
	if strings.Contains(out.String(), "too quiet") || !strings.Contains(out.String(), span.SpanContext().TraceID().String()) || !strings.Contains(out.String(), span.SpanContext().SpanID().String()) {
		t.Errorf("%s", &out)
	}
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["service"] != "shop" || line["replica"] != 1.0 || line["msg"] != "loud enough" {
		t.Errorf("%v %v", line, err)
	}
	out.Reset()
	log.Error("without a trace")
	if strings.Contains(out.String(), "trace_id") {
		t.Errorf("%s", &out)
	}
}

// A logged value must not be able to forge a line of its own.
func TestALoggedValueCannotForgeALine(t *testing.T) {
	t.Parallel()
	colors := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for _, format := range []string{"json", "text", "color"} {
		var out bytes.Buffer
		log, err := telemetry.NewLogger(&out, "shop", format, "info")
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{"a\nlevel=ERROR msg=forged", "a\r\n{\"msg\":\"forged\"}", "\x1b[2K\x00", "a\u2028b", `"} {"msg":"forged"`} {
			out.Reset()
			log.Info("request", "path", value, value, "as a name")
			text := out.String()
			if format == "color" {
				text = colors.ReplaceAllString(text, "")
			}
			if strings.Count(text, "\n") != 1 || strings.ContainsAny(text, "\r\x1b\x00\u2028") || strings.Contains(text, "\nlevel=ERROR") {
				t.Errorf("%s, %q: %q", format, value, text)
			}
		}
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for want, c := range map[string][2]string{"LOG_LEVEL": {"json", "loud"}, "LAVKA_LOG_FORMAT": {"xml", "info"}} {
		if _, err := telemetry.NewLogger(&bytes.Buffer{}, "shop", c[0], c[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := telemetry.NewLogger(&bytes.Buffer{}, "shop", "text", "debug"); err != nil {
		t.Error(err)
	}
}
