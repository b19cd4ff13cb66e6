package stack

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestAdjust(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := Config{BinDir: fakeBin(t, dir), DataDir: filepath.Join(dir, "data"), Catalog: Service{Replicas: 2}}
	broken := errors.New("no way through")
	cfg.Adjust = func(service string, replica int, _ map[string]string) error {
		if service == Catalog && replica == 1 {
			return broken
		}
		return nil
	}
	cfg.Volatile = true
	if _, err := Start(t.Context(), cfg); !errors.Is(err, broken) || !strings.Contains(err.Error(), "catalog-2") {
		t.Errorf("a replica that can't be adjusted: %v", err)
	}

	cfg.Env = map[string]string{"NATS_URL": "nats://from.env"}
	cfg.Adjust = func(service string, replica int, env map[string]string) error {
		env["NATS_URL"] += fmt.Sprint("/", service, replica)
		return nil
	}
	s, _ := open(t, cfg)
	seen := map[string]bool{}
	for range 8 {
		seen[told(t, s, "/products")["NATS_URL"]] = true
	}
	if !seen["nats://from.env/catalog0"] || !seen["nats://from.env/catalog1"] || len(seen) != 2 {
		t.Errorf("catalog's replicas got %v", seen)
	}
	if got := told(t, s, "/bills")["NATS_URL"]; got != "nats://from.env/billing0" {
		t.Errorf("billing got %s", got)
	}
}
