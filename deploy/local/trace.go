package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"lavka/deploy/local/stack"
	"lavka/deploy/local/traces"
	"lavka/libs/service/telemetry"
)

// keepTraces has the services send all their traces here, to be looked at with
// lavka trace, unless somebody has named a place for them. Close ends it.
func keepTraces(ctx context.Context, c *stack.Config) (closing func() error, err error) {
	if telemetry.Destined() {
		return func() error { return nil }, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for traces: %w", err)
	}
	server := traces.NewServer(traces.NewStore())
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.Log.Error("traces are no longer kept", "error", err)
		}
	}()
	c.TrustTraceparent = true
	c.TracesURL = "http://" + l.Addr().String()
	c.Env["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.TracesURL
	c.Env["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
	for name, value := range map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_BSP_SCHEDULE_DELAY": "300"} {
		if os.Getenv(name) == "" {
			c.Env[name] = value
		}
	}
	return server.Close, nil
}

// showTrace prints a trace of the running shop as a tree: that of an id, or of the
// latest purchase.
func showTrace(ctx context.Context, cfg settings, args []string) error {
	id := ""
	switch {
	case len(args) > 1:
		return errors.New("trace takes one trace id, or none for the latest purchase")
	case len(args) == 1:
		id = args[0]
	}
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	if shop.TracesURL == "" {
		return errors.New("this shop sends its traces elsewhere: it was started with OTEL_TRACES_EXPORTER or an OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	spans, err := fetchTrace(ctx, shop.TracesURL, id)
	switch {
	case errors.Is(err, traces.ErrUnknown) && id == "":
		return errors.New("nobody has bought anything since the shop was started: make demo does")
	case errors.Is(err, traces.ErrUnknown):
		return fmt.Errorf("there is no trace %q: it may be older than this run of the shop, or than its last 50,000 steps, or a second away still", id)
	case err != nil:
		return err
	}
	return traces.Write(os.Stdout, spans)
}

func fetchTrace(ctx context.Context, url, id string) ([]traces.Span, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if id == "" {
		id = "latest"
	}
	if !plainID(id) {
		return nil, traces.ErrUnknown
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/traces/"+id, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask for the trace: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, traces.ErrUnknown
	}
	var spans []traces.Span
	if err := json.NewDecoder(resp.Body).Decode(&spans); err != nil {
		return nil, fmt.Errorf("ask for the trace: %w", err)
	}
	return spans, nil
}

// plainID says whether an id may stand in a path as it is.
func plainID(id string) bool {
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
