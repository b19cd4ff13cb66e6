package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/service/directhttp"
)

// restartTime limits a restart: the service's migrations, its stop and its start. A
// migration waits up to half an hour for a table, and building an index takes longer.
const restartTime = 6 * time.Hour

// restart makes the launcher restart a service with the binary that is now beside this program. With --check it only checks that a shop runs
// here and has the service, so that nothing is built in vain.
func restart(ctx context.Context, cfg settings, args []string) error {
	flags := flag.NewFlagSet("restart", flag.ContinueOnError)
	check := flags.Bool("check", false, "only report whether the service can be restarted")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	service := flags.Arg(0)
	if flags.NArg() != 1 || !slices.Contains(stack.Services(), service) {
		return fmt.Errorf("unknown service %q; the services are %s: make restart S=billing", strings.Join(flags.Args(), " "), strings.Join(stack.Services(), ", "))
	}
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	bin, err := binDir()
	if err != nil {
		return err
	}
	if shop.BinDir != bin {
		return fmt.Errorf("the shop on %s runs from the binaries in %s, not from those in %s: run make in that checkout", cfg.Data, shop.BinDir, bin)
	}
	if *check {
		return nil
	}
	begin := time.Now()
	if err := askLauncher(ctx, shop.Control, service); err != nil {
		return fmt.Errorf("%s was not restarted: %w", service, err)
	}
	_, err = fmt.Printf("%s now runs the new binary; it was ready after %d ms\n", service, time.Since(begin).Milliseconds())
	return err
}

func askLauncher(ctx context.Context, launcher stack.Control, service string) error {
	ctx, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, launcher.URL+"/restart/"+service, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+launcher.Token)
	resp, err := directhttp.Client.Do(req)
	if err != nil {
		return fmt.Errorf("the launcher does not respond: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("read the launcher's response: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	return nil
}
