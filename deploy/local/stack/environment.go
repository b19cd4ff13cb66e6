package stack

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"lavka/deploy/postgres"
)

// ours are the settings that the stack itself gives, and secrets that no service but the right one may see.
var ours = []string{
	"HTTP_ADDR", "INTERNAL_ADDR", "DATABASE_URL", "MIGRATE_DATABASE_URL", "NATS_URL", "PUBLIC_URL", "JWKS_URL", "TRUSTED_PROXIES",
	"AUTH_SIGNING_KEYS", "ADMIN_LOGIN", "ADMIN_PASSWORD", "PAYMENT_PRIVATE_KEYS",
}

// inherited is our own environment without ours, whether given as such or in a file, and without PostgreSQL's client settings, which would go into every connection.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(ours, strings.TrimSuffix(name, "_FILE")) || strings.HasPrefix(name, "PG")
	})
}

// environment is what a service is started with.
func (s *Stack) environment(service, addr, internalAddr string) map[string]string {
	env := map[string]string{
		"HTTP_ADDR":       addr,
		"INTERNAL_ADDR":   internalAddr,
		"DATABASE_URL":    s.DatabaseURL(service),
		"NATS_URL":        s.natsURL(service),
		"TRUSTED_PROXIES": s.trustedProxies,
	}
	drain := s.drainDelay(service)
	if os.Getenv("DRAIN_DELAY") == "" {
		env["DRAIN_DELAY"] = drain.String()
	}
	if os.Getenv("SHUTDOWN_TIMEOUT") == "" {
		env["SHUTDOWN_TIMEOUT"] = ((s.cfg.StopTimeout - drain) / 2).String() // a service has more to do after it, and we kill in the end
	}
	switch service {
	case Auth:
		env["PUBLIC_URL"] = s.GatewayURL()
		env["AUTH_SIGNING_KEYS"] = s.signingKeys
		if s.AdminPassword != "" {
			env["ADMIN_LOGIN"], env["ADMIN_PASSWORD"] = s.AdminLogin, s.AdminPassword
		}
	case Billing:
		env["PAYMENT_PRIVATE_KEYS"] = strings.Join(s.PaymentKeys, ",")
	}
	if service != Auth {
		env["JWKS_URL"] = s.GatewayURL() + "/.well-known/jwks.json"
	}
	maps.Copy(env, s.cfg.Env)
	maps.Copy(env, s.cfg.service(service).Env)
	return env
}

// drainDelay is how long a replica that stops goes on serving: some of the gateway's looks at it. A replica that is the only one has nobody to
// leave its requests to.
func (s *Stack) drainDelay(service string) time.Duration {
	if s.cfg.service(service).Replicas == 1 {
		return 0
	}
	return min(time.Second, s.cfg.StopTimeout/4)
}

// trustedProxies are the addresses that the gateway, which runs in this process, comes from: this machine's loopback address, and, since the
// way to an address of one's own machine begins at that same address, those of the services.
func trustedProxies(ctx context.Context, cfg Config) (string, error) {
	list := []string{"127.0.0.1/32"}
	for _, name := range Services() {
		host, _, err := net.SplitHostPort(dialable(cfg.service(name).Addr))
		if err != nil {
			return "", fmt.Errorf("read the address of %s: %w", name, err)
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return "", fmt.Errorf("find the address of %s: %w", name, err)
		}
		for _, addr := range addrs {
			addr = addr.Unmap().WithZone("")
			if prefix := netip.PrefixFrom(addr, addr.BitLen()).String(); !slices.Contains(list, prefix) {
				list = append(list, prefix)
			}
		}
	}
	return strings.Join(list, ","), nil
}

// migrateEnvironment has the owner's rights.
func (s *Stack) migrateEnvironment(service string) map[string]string {
	cfg := s.cfg.service(service)
	env := s.environment(service, cfg.Addr, cfg.InternalAddr)
	env["MIGRATE_DATABASE_URL"] = s.DatabaseURL(postgres.Owner(service))
	return env
}

// environ is how exec.Cmd wants it.
func environ(env map[string]string) []string {
	list := inherited()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
