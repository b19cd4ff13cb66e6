package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lavka/tests/cluster/internal/operator"
)

// restarted replaces every replica under load.
func (d *day) restarted(ctx context.Context) error {
	return d.underLoad(ctx, func() error {
		return d.restartAll(ctx)
	})
}

// restartAll restarts the services, and waits until their new replicas serve.
func (d *day) restartAll(ctx context.Context) error {
	for _, s := range services {
		if err := d.restart(ctx, s); err != nil {
			return err
		}
	}
	return d.Settled(ctx)
}

func (d *day) restart(ctx context.Context, service string) error {
	_, err := d.Kubectl(ctx, "-n", "lavka", "rollout", "restart", "deployment/"+service)
	return err
}

// restartNATS restarts NATS's servers, one after another.
func (d *day) restartNATS(ctx context.Context) error {
	if _, err := d.Kubectl(ctx, "-n", "lavka", "rollout", "restart", "statefulset/nats"); err != nil {
		return err
	}
	return d.Settled(ctx)
}

// upgraded runs the next release, and then the present one again.
func (d *day) upgraded(ctx context.Context) error {
	return d.underLoad(ctx, func() error {
		for _, image := range []func(string) string{next, present} {
			var set []string
			now := release{}
			for _, s := range services {
				now[s] = image(s)
				set = append(set, d.shop.image+s+"="+image(s))
			}
			if err := d.SetImages(ctx, d.shop.overlay, set...); err != nil {
				return err
			}
			if _, err := d.Apply(ctx, d.shop.overlay); err != nil {
				return err
			}
			if err := d.Settled(ctx); err != nil {
				return err
			}
			if _, err := d.Await(ctx, func(s operator.State) error { return runs(s, "server", now) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// scaled has three replicas of each service for a while.
func (d *day) scaled(ctx context.Context) error {
	return d.underLoad(ctx, func() error {
		if err := d.scale(ctx, 3); err != nil {
			return err
		}
		return d.scale(ctx, 1)
	})
}

// scale changes the number of each service's replicas.
func (d *day) scale(ctx context.Context, replicas int) error {
	args := []string{"-n", "lavka", "scale", "--replicas=" + strconv.Itoa(replicas)}
	for _, s := range services {
		args = append(args, "deployment/"+s)
	}
	if _, err := d.Kubectl(ctx, args...); err != nil {
		return err
	}
	return d.Settled(ctx)
}

// rotated gives every role of Postgres and every user of NATS another password, as docs/operations.md does with Compose. Replicas log in as new roles; the old
// ones are dropped when no replica uses them any longer.
func (d *day) rotated(ctx context.Context) error {
	if err := errors.Join(os.Remove(filepath.Join(d.secrets(), "role-passwords.sql")), os.Remove(filepath.Join(d.secrets(), "nats-passwords"))); err != nil {
		return err
	}
	secrets, err := d.devSecrets(ctx)
	if err != nil {
		return err
	}
	return d.underLoad(ctx, func() error {
		if err := d.ApplyText(ctx, secrets); err != nil {
			return err
		}
		if err := d.roles(ctx); err != nil {
			return err
		}
		if err := d.restartNATS(ctx); err != nil {
			return err
		}
		if err := d.restartAll(ctx); err != nil {
			return err
		}
		return d.roles(ctx)
	})
}

// roles runs the Job dev-roles once more.
func (d *day) roles(ctx context.Context) error {
	jobs, err := d.Kubectl(ctx, "-n", "lavka", "get", "job", "-l", "app.kubernetes.io/name=postgres", "-o", "name")
	if err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, append([]string{"-n", "lavka", "delete"}, strings.Fields(jobs)...)...); err != nil {
		return err
	}
	if _, err := d.Apply(ctx, "dev"); err != nil {
		return err
	}
	return d.Settled(ctx)
}

// verified runs the nightly checks, as docs/operations.md does by hand.
func (d *day) verified(ctx context.Context) error {
	for _, check := range []string{"auth-verify", "catalog-verify", "billing-verify", "billing-compare"} {
		if _, err := d.Kubectl(ctx, "-n", "lavka", "create", "job", "--from=cronjob/"+check, check+"-now"); err != nil {
			return err
		}
	}
	return d.Settled(ctx)
}
