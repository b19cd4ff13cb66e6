package stack

import (
	"maps"
	"os"
	"slices"
	"strings"

	"lavka/deploy/postgres"
)

// ours are the settings that the stack itself gives, and secrets that no service but the right one may see.
var ours = []string{
	"HTTP_ADDR", "INTERNAL_ADDR", "DATABASE_URL", "MIGRATE_DATABASE_URL", "NATS_URL", "PUBLIC_URL", "JWKS_URL", "TRUSTED_PROXIES",
	"AUTH_SIGNING_KEYS", "ADMIN_LOGIN", "ADMIN_PASSWORD", "PAYMENT_PRIVATE_KEYS",
}

// inherited is our own environment without ours, and without PostgreSQL's client settings, which would go into every connection.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(ours, name) || strings.HasPrefix(name, "PG")
	})
}

// environment is what a service is started with.
func (s *Stack) environment(service, addr, internalAddr string) map[string]string {
	env := map[string]string{
		"HTTP_ADDR":     addr,
		"INTERNAL_ADDR": internalAddr,
		"DATABASE_URL":  s.DatabaseURL(service),
		"NATS_URL":      s.NATSURL(),
		// The gateway, which runs in this process, and nobody else on other machines.
		"TRUSTED_PROXIES": "127.0.0.1/32",
	}
	if os.Getenv("SHUTDOWN_TIMEOUT") == "" {
		env["SHUTDOWN_TIMEOUT"] = (s.cfg.StopTimeout / 2).String() // a service has more to do after it, and we kill in the end
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
		env["JWKS_URL"] = baseURL(s.cfg.Auth.Addr) + "/.well-known/jwks.json"
	}
	maps.Copy(env, s.cfg.Env)
	maps.Copy(env, s.cfg.service(service).Env)
	return env
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
