package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"time"

	"lavka/libs/host/freeport"
)

// portWait is how long to wait for a port in use: the processes of a shop that was just killed may still hold it.
const portWait = 5 * time.Second

// choosePorts fills in free ports where the configuration leaves them open, and checks that all others are free, before anything is started.
// For ports in use it waits at most wait in total.
func choosePorts(ctx context.Context, cfg *Config, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	natsAddr := net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.NATSPort))
	postgresAddr := net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.PostgresPort))
	all := []struct {
		setting string
		addr    *string
	}{
		{"LAVKA_GATEWAY_ADDR", &cfg.GatewayAddr},
		{"LAVKA_AUTH_ADDR", &cfg.Auth.Addr},
		{"LAVKA_CATALOG_ADDR", &cfg.Catalog.Addr},
		{"LAVKA_BILLING_ADDR", &cfg.Billing.Addr},
		{"LAVKA_AUTH_INTERNAL_ADDR", &cfg.Auth.InternalAddr},
		{"LAVKA_CATALOG_INTERNAL_ADDR", &cfg.Catalog.InternalAddr},
		{"LAVKA_BILLING_INTERNAL_ADDR", &cfg.Billing.InternalAddr},
		{"LAVKA_NATS_PORT", &natsAddr},
		{"LAVKA_POSTGRES_PORT", &postgresAddr},
	}
	taken := map[string]string{} // port → setting
	for _, a := range all {
		if a.setting == "LAVKA_NATS_PORT" && cfg.NATSURL != "" || a.setting == "LAVKA_POSTGRES_PORT" && cfg.DatabaseURL != "" {
			continue
		}
		addr, err := choosePort(ctx, a.setting, *a.addr, cfg.Log)
		if err != nil {
			return err
		}
		*a.addr = addr
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("read %s: %w", a.setting, err)
		}
		if other, ok := taken[port]; ok {
			return fmt.Errorf("%s and %s have the same port %s: set different ones", other, a.setting, port)
		}
		taken[port] = a.setting
	}
	var err error
	if cfg.NATSPort, err = portOf(natsAddr); err != nil {
		return err
	}
	cfg.PostgresPort, err = portOf(postgresAddr)
	return err
}

func choosePort(ctx context.Context, setting, addr string, log *slog.Logger) (string, error) {
	if addr == "" {
		return freeAddr("127.0.0.1")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%s is %q, which is not host:port", setting, addr)
	}
	if port == "0" {
		return freeAddr(host)
	}
	if err := awaitPort(ctx, addr, log); err != nil {
		return "", fmt.Errorf("can't listen on %s: stop what listens there, or set %s to something else (%w)", addr, setting, err)
	}
	if n, err := strconv.Atoi(port); err == nil { // otherwise it is a name, such as http
		freeport.Keep(n)
	}
	return addr, nil
}

// awaitPort returns nil when addr is free to listen on, or an error: when ctx ends if the address is in use, and at once for any other reason.
func awaitPort(ctx context.Context, addr string, log *slog.Logger) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; told = true {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		if !told {
			log.Info("waiting for an address that is in use", "addr", addr)
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func freeAddr(host string) (string, error) {
	port, err := freeport.Take()
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func portOf(addr string) (int, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", addr, err)
	}
	return strconv.Atoi(port)
}
