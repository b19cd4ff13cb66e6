package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// withoutKeys has the new replica of catalog not reach auth's keys, for want of a policy.
func (d *day) withoutKeys(ctx context.Context) error {
	return d.spared(ctx, "catalog", func() error {
		return d.closed(ctx, arrow{"catalog", "auth", 8080}, func() error {
			_, err := d.Kubectl(ctx, "-n", "lavka", "delete", "networkpolicy", "keys-ask")
			return err
		})
	}, func() error {
		_, err := d.Apply(ctx, "dev")
		return err
	})
}

// wrongPassword has the new replica of billing not get into NATS.
func (d *day) wrongPassword(ctx context.Context) error {
	file := filepath.Join(d.secrets(), "billing-nats-url")
	right, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	set := func(url []byte) error {
		if err := os.WriteFile(file, url, 0o600); err != nil {
			return err
		}
		secrets, err := d.printSecrets(ctx, d.secrets())
		if err != nil {
			return err
		}
		return d.ApplyText(ctx, secrets)
	}
	return d.spared(ctx, "billing", func() error { return set([]byte("nats://billing:wrong@nats:4222")) }, func() error {
		if err := set(right); err != nil {
			return err
		}
		return d.restart(ctx, "billing")
	})
}

// wrongStream has the new replica of billing want more copies of its stream than there are servers.
func (d *day) wrongStream(ctx context.Context) error {
	file := filepath.Join(d.Deploy, "k8s/base/billing/kustomization.yaml")
	right, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	set := func(text []byte) error {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		_, err := d.Apply(ctx, "dev")
		return err
	}
	const one, three = "NATS_STREAM_REPLICAS=1", "NATS_STREAM_REPLICAS=3"
	if !bytes.Contains(right, []byte(one)) {
		return fmt.Errorf("%s does not have %s", file, one)
	}
	return d.spared(ctx, "billing", func() error { return set(bytes.Replace(right, []byte(one), []byte(three), 1)) }, func() error { return set(right) })
}

// unready is how long a replica that can't do its work must stay unready. It would call this a cold start after a minute in which no other replica served.
const unready = 90 * time.Second

// spared breaks what the next replica of a service needs, restarts the service under load, and wants that replica to stay unready, the one before it to serve
// all the while, and the rollout to end once what was broken is mended.
func (d *day) spared(ctx context.Context, service string, breaks, mends func() error) error {
	return d.underLoad(ctx, func() error {
		if err := breaks(); err != nil {
			return err
		}
		if err := d.restart(ctx, service); err != nil {
			return err
		}
		if err := d.Until(ctx, func() (missing, err error) { return d.unable(ctx, service) }); err != nil {
			return err
		}
		if err := mends(); err != nil {
			return err
		}
		return d.Settled(ctx)
	})
}

// unable wants a new replica to have run for a while without being ready, beside one that is.
func (d *day) unable(ctx context.Context, service string) (missing, err error) {
	out, err := d.Kubectl(ctx, "-n", "lavka", "get", "pod", "-l", "app.kubernetes.io/component=server,app.kubernetes.io/name="+service, "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name, DeletionTimestamp string }
			Status   struct {
				ContainerStatuses []struct {
					Ready        bool
					RestartCount int
					State        struct {
						Running *struct{ StartedAt time.Time }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	ready, waits := 0, false
	for _, p := range list.Items {
		if p.Metadata.DeletionTimestamp != "" {
			continue
		}
		for _, c := range p.Status.ContainerStatuses {
			switch {
			case c.RestartCount > 0:
				return nil, fmt.Errorf("%s was restarted", p.Metadata.Name)
			case c.Ready:
				ready++
			case c.State.Running != nil && time.Since(c.State.Running.StartedAt) > unready:
				waits = true
			}
		}
	}
	switch {
	case ready > 1:
		return nil, errors.New("the new replica became ready, although it can't do its work")
	case ready == 0:
		return nil, errors.New("no replica is ready")
	case !waits:
		return errors.New("the new replica has not been unready for long enough"), nil
	}
	return nil, nil
}
