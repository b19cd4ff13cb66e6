package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

//go:embed nodes/metrics.yaml
var metrics []byte

// autoscaled has users log in until auth's autoscaler adds replicas, and then waits until it has removed them, while a user reads and buys.
func (d *day) autoscaled(ctx context.Context) error {
	if err := d.ApplyText(ctx, metrics); err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, "wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available", "--timeout=3m"); err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, "-n", "lavka", "wait", "hpa/auth", "hpa/catalog", "--for=condition=ScalingActive", "--timeout=5m"); err != nil {
		return err
	}
	return d.underLoad(ctx, func() error {
		few, err := d.replicas(ctx, "auth")
		if err != nil {
			return err
		}
		var most int
		if err := d.whileUsersLogIn(ctx, func() error {
			return d.Until(ctx, func() (missing, err error) {
				if most, err = d.replicas(ctx, "auth"); most <= few {
					missing = fmt.Errorf("auth still has %d replicas", most)
				}
				return missing, err
			})
		}); err != nil {
			return err
		}
		if err := d.Until(ctx, func() (missing, err error) {
			now, err := d.replicas(ctx, "auth")
			if most = max(most, now); now > few {
				missing = fmt.Errorf("auth still has %d replicas", now)
			}
			return missing, err
		}); err != nil {
			return err
		}
		fmt.Printf("    auth had %d replicas, then %d, then %[1]d\n", few, most)
		return d.Settled(ctx)
	})
}

// replicas is the number of a service's replicas that are ready.
func (d *day) replicas(ctx context.Context, service string) (int, error) {
	out, err := d.Kubectl(ctx, "-n", "lavka", "get", "deployment", service, "-o", "jsonpath={.status.readyReplicas}")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// whileUsersLogIn does something while eight users log in, again and again. The shop may ask them to wait.
func (d *day) whileUsersLogIn(ctx context.Context, do func() error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var in, later atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, 8)
	for range cap(failed) {
		c, err := d.newClient()
		if err != nil {
			return err
		}
		all.Go(func() {
			for ctx.Err() == nil {
				a, err := c.do(ctx, http.MethodPost, "/auth/login", nil, []byte(anna), http.StatusOK, http.StatusTooManyRequests, http.StatusServiceUnavailable)
				switch {
				case ctx.Err() != nil:
				case err != nil:
					failed <- err
					return
				case a.status == http.StatusOK:
					in.Add(1)
				default:
					later.Add(1)
				}
			}
		})
	}
	err := do()
	stop()
	all.Wait()
	close(failed)
	for f := range failed {
		err = errors.Join(err, f)
	}
	fmt.Printf("    meanwhile users logged in %d times, and were asked %d times to try again later\n", in.Load(), later.Load())
	return err
}
