package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed production
var production embed.FS

// standIns is the name of that overlay in the copy of deploy/.
const standIns = "stand-ins"

func (d *day) production() []part {
	return []part{
		{"nodes", d.allNodes},
		{definitions, d.define},
		{"an implementation of the Gateway API", d.installTraefik},
		{"production: installed on stand-ins, all Pods are ready", d.installedOnStandIns},
		{"production: a standby confirms commits, and streams have three replicas", d.redundant},
		{"production: routes, limits and timeouts of the gateway", d.routed},
		{"production: lavka demo", d.demo},
		{"production: connections are those of docs/architecture.md", d.arrows},
		{"production: restarted under load", d.restarted},
		{"production: upgraded to the next release and back, under load", d.upgraded},
		{"production: each server of NATS is restarted, under load", d.restartedNATS},
		{"production: the standby is lost, under load", d.lostStandby},
		{"production: auth is scaled by its load and back, under load", d.autoscaled},
		{"production: the nightly checks", d.verified},
	}
}

func (d *day) allNodes(ctx context.Context) error {
	if err := d.firstNode(ctx); err != nil {
		return err
	}
	for n := 2; n <= len(d.Nodes); n++ {
		if err := d.startNode(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// installedOnStandIns does what docs/operations.md says under "Kubernetes", and what operators of Postgres, NATS and secrets would do.
func (d *day) installedOnStandIns(ctx context.Context) error {
	if err := d.fresh(); err != nil {
		return err
	}
	files, err := fs.Sub(production, "production")
	if err != nil {
		return err
	}
	if err := os.CopyFS(d.trial.Overlay(standIns), files); err != nil {
		return err
	}
	if err := d.applyProductionSecrets(ctx); err != nil {
		return err
	}
	out, err := d.Apply(ctx, standIns)
	if err != nil {
		return err
	}
	fmt.Printf("    %d objects, no warning\n", strings.Count(out, " serverside-applied\n"))
	// The autoscalers have no metrics yet, and only keep to their minimum.
	for _, s := range services {
		if _, err := d.Kubectl(ctx, "-n", "lavka", "wait", "deployment/"+s, "--for=jsonpath={.spec.replicas}=3", "--timeout=2m"); err != nil {
			return err
		}
	}
	return d.Settled(ctx)
}

// applyProductionSecrets applies the secrets of the overlay dev, with the address of Postgres as docs/operations.md gives it, and those of Postgres' certificate.
func (d *day) applyProductionSecrets(ctx context.Context) error {
	if err := d.makeSecrets(ctx); err != nil {
		return err
	}
	dir := filepath.Join(d.Home, "production-secrets")
	if err := os.CopyFS(dir, os.DirFS(d.secrets())); err != nil {
		return err
	}
	urls, err := filepath.Glob(filepath.Join(dir, "*-database-url"))
	if err != nil {
		return err
	}
	for _, file := range urls {
		url, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		user, _, found := strings.Cut(string(url), "@postgres:5432/lavka")
		if !found {
			return fmt.Errorf("%s does not lead to the database lavka on the host postgres", filepath.Base(file))
		}
		verified := user + "@postgres-rw:5432/lavka?sslmode=verify-full&sslrootcert=/run/postgres-authority/ca.crt\n"
		if err := os.WriteFile(file, []byte(verified), 0o600); err != nil {
			return err
		}
	}
	secrets, err := d.printSecrets(ctx, dir)
	if err != nil {
		return err
	}
	if err := d.ApplyText(ctx, secrets); err != nil {
		return err
	}
	cert, key, authority, err := d.plane.Server("postgres", "postgres-rw")
	if err != nil {
		return err
	}
	ca, create := "--from-file=ca.crt="+authority, []string{"-n", "lavka", "create", "secret", "generic"}
	_, forClients := d.Kubectl(ctx, append(create, "postgres-ca", ca)...)
	_, forServers := d.Kubectl(ctx, append(create, "stand-in-postgres", ca, "--from-file=tls.crt="+cert, "--from-file=tls.key="+key)...)
	return errors.Join(forClients, forServers, d.certified(ctx, "shop-tls", shopHost), d.certified(ctx, "payments-tls", paymentHost))
}

// certified makes the Secret with a certificate of the gateway.
func (d *day) certified(ctx context.Context, secret, host string) error {
	cert, key, _, err := d.plane.Server(secret, host)
	if err != nil {
		return err
	}
	_, err = d.Kubectl(ctx, "-n", "lavka", "create", "secret", "tls", secret, "--cert="+cert, "--key="+key)
	return err
}

// redundant wants each commit on two servers, and each message on three.
func (d *day) redundant(ctx context.Context) error {
	if err := d.Until(ctx, func() (missing, err error) {
		state, err := d.Kubectl(ctx, inPostgres("psql", "-U", "postgres", "-At", "-c", "SELECT application_name, sync_state FROM pg_stat_replication")...)
		if strings.TrimSpace(state) != "standby|quorum" {
			missing = fmt.Errorf("the primary replicates to %q", state)
		}
		return missing, err
	}); err != nil {
		return err
	}
	accounts, err := d.jetStream(ctx)
	if err != nil {
		return err
	}
	streams := 0
	for _, a := range accounts {
		for _, s := range a.Streams {
			if streams++; s.Config.Replicas != 3 {
				return fmt.Errorf("the stream %s has %d replicas", s.Name, s.Config.Replicas)
			}
		}
	}
	if streams != 2 {
		return fmt.Errorf("these are not both streams: %+v", accounts)
	}
	return d.backlog(ctx, accounts)
}

// account is one of NATS, with what it has in JetStream.
type account struct {
	Name    string
	Streams []struct {
		Name   string
		Config struct {
			Replicas int `json:"num_replicas"`
		}
		Consumers []struct{ Name string } `json:"consumer_detail"`
	} `json:"stream_detail"`
}

// jetStream is what NATS's port for monitoring says, which KEDA reads, too.
func (d *day) jetStream(ctx context.Context) ([]account, error) {
	out, err := d.Kubectl(ctx, "-n", "lavka", "exec", "nats-0", "--", "wget", "-q", "-O", "-", "http://127.0.0.1:8222/jsz?accounts=true&streams=true&consumers=true&config=true")
	if err != nil {
		return nil, err
	}
	var server struct {
		Accounts []account `json:"account_details"`
	}
	return server.Accounts, json.Unmarshal([]byte(out), &server)
}

// backlog wants the consumer to exist by whose backlog KEDA would scale billing.
func (d *day) backlog(ctx context.Context, accounts []account) error {
	out, err := d.Kubectl(ctx, "-n", "lavka", "get", "scaledobject", "billing", "-o", `jsonpath={range .spec.triggers[?(@.type=="nats-jetstream")].metadata}{.account} {.stream} {.consumer}{end}`)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		for _, s := range a.Streams {
			for _, c := range s.Consumers {
				if out == a.Name+" "+s.Name+" "+c.Name {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("KEDA would look for the account, stream and consumer %q, and NATS has %+v", out, accounts)
}

func (d *day) restartedNATS(ctx context.Context) error {
	return d.underLoad(ctx, func() error { return d.restartNATS(ctx) })
}

// lostStandby has the standby lose its data. No commit is acknowledged until it has copied everything again.
func (d *day) lostStandby(ctx context.Context) error {
	if err := d.underFaults(ctx, func() error {
		if _, err := d.Kubectl(ctx, "-n", "lavka", "delete", "pod", "postgres-1", "--grace-period=1"); err != nil {
			return err
		}
		return d.Settled(ctx)
	}); err != nil {
		return err
	}
	return d.redundant(ctx)
}
