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

// ours are the settings that the stack itself sets, including the secrets that only one service may see.
var ours = []string{
	"HTTP_ADDR", "INTERNAL_ADDR", "DATABASE_URL", "MIGRATE_DATABASE_URL", "NATS_URL", "PUBLIC_URL", "JWKS_URL", "TRUSTED_PROXIES",
	"AUTH_SIGNING_KEYS", "ADMIN_LOGIN", "ADMIN_PASSWORD", "PAYMENT_PRIVATE_KEYS", "PAYMENT_SIGNING_SECRETS", "PAYMENT_READ_TOKENS",
	"LINK_HOOK_URL", "LINK_HOOK_SECRET", "CORS_ORIGINS",
}

// proxyVariables are the variables that lead an HTTP client through a proxy, in capitals or not.
var proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}

// inherited returns our own environment without these settings and their _FILE forms, and without the variables of Postgres's clients and of
// HTTP's proxies. The services ignore those, but the programs of the release before do not.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(ours, strings.TrimSuffix(name, "_FILE")) || strings.HasPrefix(name, "PG") || slices.Contains(proxyVariables, strings.ToUpper(name))
	})
}

// environment returns the settings with which a service is started.
func (s *Stack) environment(service, addr, internalAddr string) map[string]string {
	env := map[string]string{
		"HTTP_ADDR":       addr,
		"INTERNAL_ADDR":   internalAddr,
		"DATABASE_URL":    s.DatabaseURL(service),
		"NATS_URL":        s.natsURL(service),
		"TRUSTED_PROXIES": s.trustedProxies,
		"CORS_ORIGINS":    s.cfg.CORSOrigins.String(),
	}
	drain := s.drainDelay(service)
	if os.Getenv("DRAIN_DELAY") == "" {
		env["DRAIN_DELAY"] = drain.String()
	}
	if os.Getenv("SHUTDOWN_TIMEOUT") == "" {
		env["SHUTDOWN_TIMEOUT"] = ((s.cfg.StopTimeout - drain) / 2).String() // the service has work to do after that, before it is killed
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
		env["PAYMENT_SIGNING_SECRETS"] = strings.Join(s.PaymentSigningSecrets, ",")
		env["PAYMENT_READ_TOKENS"] = strings.Join(s.PaymentReadTokens, ",")
	}
	if service != Auth {
		env["JWKS_URL"] = s.GatewayURL() + "/.well-known/jwks.json"
	}
	maps.Copy(env, s.cfg.Env)
	maps.Copy(env, s.cfg.service(service).Env)
	return env
}

// drainDelay is how long a stopping replica continues to serve: a few of the gateway's probes. A service's only replica does not wait, as no other
// could take its requests.
func (s *Stack) drainDelay(service string) time.Duration {
	if s.cfg.service(service).Replicas == 1 {
		return 0
	}
	return min(time.Second, s.cfg.StopTimeout/4)
}

// trustedProxies returns the addresses from which the gateway, which runs in this process, connects: the loopback address, and those of the
// services, as a connection to one of the machine's own addresses comes from that same address.
func trustedProxies(ctx context.Context, cfg Config) (string, error) {
	list := []string{"127.0.0.1/32"}
	for _, name := range Services() {
		host, _, err := net.SplitHostPort(dialable(cfg.service(name).Addr))
		if err != nil {
			return "", fmt.Errorf("read the address of %s: %w", name, err)
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return "", fmt.Errorf("look up the address of %s: %w", name, err)
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

// migrateEnvironment returns the settings for migrate, with the schema owner's database URL.
func (s *Stack) migrateEnvironment(service string) map[string]string {
	cfg := s.cfg.service(service)
	env := s.environment(service, cfg.Addr, cfg.InternalAddr)
	env["MIGRATE_DATABASE_URL"] = s.DatabaseURL(postgres.Owner(service))
	return env
}

// environ returns settings and the inherited environment in the form of exec.Cmd.Env.
func environ(env map[string]string) []string {
	list := inherited()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
