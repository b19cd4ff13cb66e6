package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ours are OpenTelemetry's variables that have an effect here, each with a check of
// its value (docs/operations.md lists them). The libraries would ignore some mistakes,
// record every trace after others, and panic after one.
var ours = map[string]func(string) error{
	"OTEL_SERVICE_NAME":        nil,
	"OTEL_RESOURCE_ATTRIBUTES": nil, // see takeAttributes
	"OTEL_PROPAGATORS":         each(oneOf("tracecontext", "baggage", "b3", "b3multi", "jaeger", "xray", "ottrace", "none")),
	"OTEL_TRACES_EXPORTER":     oneOf("otlp", "console", "none"),
	"OTEL_TRACES_SAMPLER": oneOf("always_on", "always_off", "traceidratio",
		"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
	"OTEL_TRACES_SAMPLER_ARG": ratio,

	"OTEL_BSP_SCHEDULE_DELAY":        positive,
	"OTEL_BSP_EXPORT_TIMEOUT":        positive,
	"OTEL_BSP_MAX_QUEUE_SIZE":        positive,
	"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": positive,
}

// ofExporter are those of the OTLP exporter. Each may be set for all signals,
// OTEL_EXPORTER_OTLP_TIMEOUT for example, or for traces, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT.
var ofExporter = map[string]func(string) error{
	"ENDPOINT":           endpoint,
	"PROTOCOL":           oneOf("grpc", "http/protobuf"),
	"HEADERS":            each(pair),
	"TIMEOUT":            positive,
	"COMPRESSION":        oneOf("gzip", "none"),
	"INSECURE":           oneOf("true", "false"),
	"CERTIFICATE":        file,
	"CLIENT_CERTIFICATE": file,
	"CLIENT_KEY":         file,
}

// takeEnvironment removes from this process's environment each variable of
// OpenTelemetry that has no effect here, and logs a warning for one whose value is not
// valid: traces are not worth a failed start. Values are not logged, since headers hold
// passwords.
func takeEnvironment(ctx context.Context, log *slog.Logger) {
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "OTEL_") || value == "" {
			continue
		}
		known, wrong := examine(name, value)
		if wrong != nil {
			log.WarnContext(ctx, "a setting of traces is not valid; continuing without it", "setting", name, "error", wrong)
		}
		if !known || wrong != nil {
			_ = os.Unsetenv(name) // fails only for a malformed name
		}
	}
	takeAttributes(ctx, log)
}

// takeAttributes leaves only the valid ones in OTEL_RESOURCE_ATTRIBUTES. The SDK would
// take the same ones, but report the others as a failed export, with their values.
func takeAttributes(ctx context.Context, log *slog.Logger) {
	const name = "OTEL_RESOURCE_ATTRIBUTES"
	all := strings.Split(os.Getenv(name), ",")
	valid := slices.DeleteFunc(slices.Clone(all), func(a string) bool { return pair(a) != nil })
	if len(valid) == len(all) || len(all) == 1 && all[0] == "" {
		return
	}
	log.WarnContext(ctx, "some attributes in OTEL_RESOURCE_ATTRIBUTES are not name=value; continuing without them")
	_ = os.Setenv(name, strings.Join(valid, ",")) // fails only for a malformed name
}

// examine reports whether a variable has an effect here, and what is wrong with its value.
func examine(name, value string) (known bool, wrong error) {
	check, known := ours[name]
	if rest, of := strings.CutPrefix(name, "OTEL_EXPORTER_OTLP_"); of {
		check, known = ofExporter[strings.TrimPrefix(rest, "TRACES_")]
	}
	if check != nil {
		wrong = check(strings.TrimSpace(value))
	}
	return known, wrong
}

func oneOf(values ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(values, strings.ToLower(value)) {
			return fmt.Errorf("it must be one of %s", strings.Join(values, ", "))
		}
		return nil
	}
}

// each checks the elements of a comma-separated list.
func each(check func(string) error) func(string) error {
	return func(list string) error {
		for value := range strings.SplitSeq(list, ",") {
			if err := check(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
		return nil
	}
}

func positive(value string) error {
	if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < 1 {
		return errors.New("it must be a whole number greater than zero")
	}
	return nil
}

func ratio(value string) error {
	if r, err := strconv.ParseFloat(value, 64); err != nil || !(r >= 0 && r <= 1) {
		return errors.New("it must be a number from 0 to 1")
	}
	return nil
}

func endpoint(value string) error {
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return errors.New("it must be an http or https URL")
	}
	return nil
}

func pair(value string) error {
	name, text, found := strings.Cut(value, "=")
	_, err := url.PathUnescape(text)
	if !found || strings.TrimSpace(name) == "" || err != nil {
		return errors.New("it must be a list of name=value, separated by commas")
	}
	return nil
}

func file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}
