package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/google/uuid"

	"lavka/deploy/local/stack"
	"lavka/deploy/local/traces"
	"lavka/libs/service/directhttp"
	"lavka/libs/service/telemetry"
)

// keepTraces makes the services send their traces here, for lavka trace to
// show, unless the environment sends them elsewhere. Close ends it.
func keepTraces(ctx context.Context, c *stack.Config) (closing func() error, err error) {
	if telemetry.HasDestination() {
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
	if delay := "OTEL_BSP_SCHEDULE_DELAY"; os.Getenv(delay) == "" {
		c.Env[delay] = traces.Delay
	}
	return server.Close, nil
}

// showTrace prints a trace of the running shop as a tree: that of a trace id, of a
// purchase, or of the latest purchase.
func showTrace(ctx context.Context, cfg settings, args []string) error {
	flags := flag.NewFlagSet("trace", flag.ContinueOnError)
	purchase := flags.String("purchase", "", "the `id` of a purchase, to show the trace in which it was made")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	id := flags.Arg(0)
	if flags.NArg() > 1 || id != "" && *purchase != "" {
		return errors.New("trace takes one trace id, or --purchase and the id of a purchase, or neither for the latest purchase")
	}
	if *purchase != "" && uuid.Validate(*purchase) != nil {
		return fmt.Errorf("%q is not the id of a purchase: an id is a UUID such as 01a20a47-504a-7759-b295-5f4d6f836fdc", *purchase)
	}
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	if shop.TracesURL == "" {
		return errors.New("this shop sends its traces elsewhere: it was started with OTEL_TRACES_EXPORTER or an OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	spans, err := fetchTrace(ctx, shop.TracesURL, id, *purchase)
	switch {
	case errors.Is(err, traces.ErrUnknown) && *purchase != "":
		return fmt.Errorf("no trace of the purchase %q is kept here: %s", *purchase, notKept)
	case errors.Is(err, traces.ErrUnknown) && id == "":
		return errors.New("there have been no purchases since the shop started; run make demo to make some")
	case errors.Is(err, traces.ErrUnknown):
		return fmt.Errorf("there is no trace %q: %s", id, notKept)
	case err != nil:
		return err
	}
	return traces.Write(os.Stdout, spans)
}

const notKept = "check the id; the trace may be from before the shop was last started, older than its last 50,000 steps, or less than a second old, " +
	"and one of many traces in a second may not have been recorded"

// fetchTrace fetches the trace of an id, of a purchase, or of the latest purchase when both are empty.
func fetchTrace(ctx context.Context, address, id, purchase string) ([]traces.Span, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	path := "/traces/" + url.PathEscape(cmp.Or(id, "latest"))
	if purchase != "" {
		path = "/traces/purchases/" + url.PathEscape(purchase)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := directhttp.Client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch the trace: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, traces.ErrUnknown
	}
	var spans []traces.Span
	if err := json.NewDecoder(resp.Body).Decode(&spans); err != nil {
		return nil, fmt.Errorf("fetch the trace: %w", err)
	}
	return spans, nil
}
