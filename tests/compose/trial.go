package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"lavka/libs/service/pgconfig"
	"lavka/libs/service/standardwebhooks"
	"lavka/tests/faults/books"
	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
	"lavka/tests/faults/load"
)

// patience is how long the shop may take to settle everything, and a container to be healthy again.
const patience = 2 * time.Minute

// trial puts the shop under load and checks the results.
type trial struct {
	*project
	seed     uint64
	rec      *history.Recorder
	accounts *load.Accounts
	target   load.Target
	serial   int64
	unloaded time.Duration // when the last load ended
}

// prepare registers users. All requests go through the gateway.
func (t *trial) prepare(ctx context.Context) error {
	key, err := t.secret("payment-keys")
	if err != nil {
		return err
	}
	password, err := t.secret("admin-password")
	if err != nil {
		return err
	}
	signing, err := t.secret("payment-signing-secrets")
	if err != nil {
		return err
	}
	keys, err := standardwebhooks.ParseKeys(signing)
	if err != nil {
		return fmt.Errorf("payment-signing-secrets: %w", err)
	}
	t.rec = history.NewRecorder()
	t.target = load.Target{Gateway: t.url, Billing: []string{t.url}, Catalog: []string{t.url}, PaymentKey: key, SigningKey: keys[0], AdminLogin: "admin", AdminPassword: password}
	t.accounts, err = load.Register(ctx, t.target, t.rec, 4)
	return err
}

// under calls do while the shop is under load, waits until everything is settled, and checks the results. It returns the calls of that time.
func (t *trial) under(ctx context.Context, o check.Options, do func(context.Context) error) (calls history.History, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	if err := t.accounts.Refresh(ctx); err != nil { // a token lives for ten minutes
		return calls, err
	}
	t.serial++
	world, err := load.New(ctx, load.Config{Target: t.target, Accounts: t.accounts, Recorder: t.rec, Seed: t.seed, Serial: t.serial})
	if err != nil {
		return calls, err
	}
	loaded, unload := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { world.Run(loaded, load.Usual) })
	doErr := errors.Join(last(ctx, time.Second), do(ctx), last(ctx, time.Second))
	t.unloaded = t.rec.Now()
	unload()
	running.Wait()
	if doErr != nil {
		return calls, doErr
	}
	calls = t.rec.History()

	limit, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := world.Finish(limit); err != nil {
		return calls, err
	}
	admin, err := t.adminURL(ctx)
	if err != nil {
		return calls, err
	}
	from, to := world.Range()
	if err := atRest(limit, admin); err != nil {
		return calls, err
	}
	b, err := books.Read(ctx, admin, from, to)
	if err != nil {
		return calls, err
	}
	var wrong []error
	for _, v := range check.Check(t.rec.History().Within(from, to), b, o) {
		wrong = append(wrong, errors.New(v.String()))
	}
	fmt.Printf("%d purchases and %d payments were booked in this part\n", len(b.Purchases), count(b.Transactions, func(t history.Transaction) bool { return t.PaymentID != nil }))
	return calls, errors.Join(append(wrong, t.complaints(ctx), t.verify(ctx))...)
}

// replaced replaces the replicas of one service. No token of a disabled user is accepted for longer than usual meanwhile.
func (t *trial) replaced(ctx context.Context) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	return t.unnoticed(ctx, check.Options{RevocationLimit: time.Second, Expiry: 15 * time.Minute}, func(ctx context.Context) error {
		return t.show(ctx, "deploy/compose/replace", "catalog")
	})
}

// rotated gives every role of Postgres and every user of NATS a new password and replaces every replica, as docs/operations.md describes. While NATS restarts,
// a disabled user's token may stay valid for longer than usual.
func (t *trial) rotated(ctx context.Context) error {
	old, err := t.secret("catalog-database-url")
	if err != nil {
		return err
	}
	before, err := t.replicas(ctx)
	if err != nil {
		return err
	}
	if err := t.unnoticed(ctx, check.Options{Expiry: 15 * time.Minute}, func(ctx context.Context) error {
		for _, name := range []string{"role-passwords.sql", "nats-passwords"} {
			if err := os.Remove(filepath.Join(t.root, "secrets", name)); err != nil {
				return err
			}
		}
		for _, command := range [][]string{
			{"make", "secrets"},
			{compose, "run", "--rm", "-T", "roles"},
			{compose, "up", "-d", "--no-deps", "--force-recreate", "--wait", "nats"},
			{"deploy/compose/replace"},
			{compose, "run", "--rm", "-T", "roles"}, // drops the old passwords, which are no longer used
		} {
			if err := t.show(ctx, command[0], command[1:]...); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return errors.Join(t.allReplaced(ctx, before), t.refused(ctx, old))
}

// allReplaced checks that every replica has another container than before, and that the logs of the third replicas, which are gone, were read.
func (t *trial) allReplaced(ctx context.Context, before map[string]string) error {
	after, err := t.replicas(ctx)
	if err != nil {
		return err
	}
	for name, id := range before {
		if after[name] == "" || after[name] == id {
			return fmt.Errorf("%s was container %.12s and is %.12s: it was not replaced", name, id, after[name])
		}
	}
	for _, service := range services {
		if !strings.Contains(t.logs.String(), service+"-3") {
			return fmt.Errorf("nothing that %s-3 logged was read", service)
		}
	}
	fmt.Printf("%d replicas replaced\n", len(before))
	return nil
}

// refused checks that Postgres accepts a password no longer.
func (t *trial) refused(ctx context.Context, old string) error {
	url, err := t.inside(ctx, old)
	if err != nil {
		return err
	}
	if conn, err := pgconfig.Connect(ctx, url); err == nil {
		return errors.Join(errors.New("catalog's old password is still accepted"), conn.Close(ctx))
	}
	return nil
}

// unnoticed calls do under load and checks that users do not notice: every request is answered, and none with a 5xx, except while the machine stalls.
func (t *trial) unnoticed(ctx context.Context, o check.Options, do func(context.Context) error) error {
	admin, err := t.adminURL(ctx)
	if err != nil {
		return err
	}
	began := t.rec.Now()
	watched, unwatch := context.WithCancel(ctx)
	var found stalls
	var watchErr error
	var watching sync.WaitGroup
	watching.Go(func() { found, watchErr = watch(watched, admin, t.rec.Now) })
	h, err := t.under(ctx, o, do)
	unwatch()
	watching.Wait()
	if err := errors.Join(err, watchErr); err != nil {
		return err
	}
	if took := t.rec.Now() - began; found.total() > took/4 {
		return fmt.Errorf("commits stalled for %v of %v: this machine is too busy, or its disk too slow, to judge the shop", found.total(), took)
	}
	requests, slowest, failed, pending, excused := map[string]int{}, map[string]time.Duration{}, []error{}, 0, 0
	for what, call := range h.Calls() {
		cut := !call.Answered() && call.End >= t.unloaded && (what == "bill" || what == "page") // cut off when the load ended
		if call.Start < began || cut {
			continue
		}
		requests[what]++
		slowest[what] = max(slowest[what], (call.End - call.Start).Round(time.Millisecond))
		if call.Status == 202 {
			pending++
		}
		switch {
		case found.excuse(call):
			excused++
		case !call.Answered() || call.Status >= 500 || call.Failure != "":
			failed = append(failed, fmt.Errorf("a %s, sent %v after the start, was answered %d %s %s after %v", what, call.Start-began, call.Status, call.Code, call.Failure, call.End-call.Start))
		}
	}
	fmt.Printf("%v requests, the slowest took %v, %d failed, %d purchases were pending when answered\n", requests, slowest, len(failed), pending)
	if len(found) > 0 {
		fmt.Printf("the machine stalled for %v: %d requests that were answered 503 meanwhile are not counted as failed\n", found.total(), excused)
	}
	if len(failed) > 5 {
		failed = append(failed[:5], errors.New("and more"))
	}
	return errors.Join(failed...)
}

// replicas returns the container ids of all services' usual replicas, by name.
func (t *trial) replicas(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for _, service := range services {
		for _, n := range []string{"-1", "-2"} {
			id, err := t.container(ctx, service+n)
			if err != nil {
				return nil, err
			}
			all[service+n] = id
		}
	}
	return all, nil
}

// killed kills the processes of containers, which the engine restarts. Requests may fail, but every confirmed result must be kept.
func (t *trial) killed(ctx context.Context) error {
	_, err := t.under(ctx, check.Options{Expiry: 15 * time.Minute, CatalogForgets: true}, func(ctx context.Context) error {
		for _, name := range []string{"billing-1", "catalog-2", "auth-1", "nats", "postgres", "catalog-1", "billing-2"} {
			if err := t.kill(ctx, name); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// kill kills a container's process from outside, because an engine does not restart a container that it was told to kill. It returns when the container is
// healthy again.
func (t *trial) kill(ctx context.Context, name string) error {
	id, err := t.container(ctx, name)
	if err != nil {
		return err
	}
	began, err := t.read(ctx, "docker", "inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", id)
	if err != nil {
		return err
	}
	pid, startedAt, _ := strings.Cut(began, " ")
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 1 {
		return fmt.Errorf("%s has process %q", name, pid)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	killed := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		now, err := t.read(ctx, "docker", "inspect", "-f", "{{.State.Health.Status}} {{.State.StartedAt}}", id)
		if err != nil {
			return fmt.Errorf("%s was killed and is not healthy again: %w", name, err)
		}
		if health, again, _ := strings.Cut(now, " "); health == "healthy" && again != startedAt {
			fmt.Printf("%s: killed, healthy again after %.1f s\n", name, time.Since(killed).Seconds())
			return nil
		}
		if err := last(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%s was killed and is not healthy again: its state is %s", name, now)
		}
	}
}

// downAndUp removes all containers, starts new ones, and checks that they continue with the same data.
func (t *trial) downAndUp(ctx context.Context) error {
	read := func() (history.Books, error) {
		admin, err := t.adminURL(ctx)
		if err != nil {
			return history.Books{}, err
		}
		return books.Read(ctx, admin, 0, 1<<62)
	}
	before, err := read()
	if err != nil {
		return err
	}
	if err := t.down(ctx, "down"); err != nil {
		return err
	}
	if err := t.show(ctx, compose, "up", "--wait"); err != nil {
		return err
	}
	after, err := read()
	if err != nil {
		return err
	}
	was, is := reflect.ValueOf(before), reflect.ValueOf(after)
	for i := range was.NumField() {
		if !reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()) {
			return fmt.Errorf("the books have changed: %s had %d rows and has %d", was.Type().Field(i).Name, was.Field(i).Len(), is.Field(i).Len())
		}
	}
	fmt.Printf("%d users, %d bills, %d purchases and %d transactions are unchanged\n", len(after.Users), len(after.Bills), len(after.Purchases), len(after.Transactions))
	_, err = t.under(ctx, check.Options{Expiry: 15 * time.Minute}, func(ctx context.Context) error { return last(ctx, time.Second) })
	return errors.Join(err, t.demo(ctx))
}

// complaints searches the services' logs for errors that no injected fault excuses: those of the containers that exist, and what was followed of the others.
func (t *trial) complaints(ctx context.Context) error {
	present, err := t.read(ctx, compose, logsOfServices()...)
	if err != nil {
		return err
	}
	text := t.logs.String() + "\n" + present
	for _, name := range names() {
		if !strings.Contains(text, name) && !strings.HasSuffix(name, "-3") {
			return fmt.Errorf("nothing that %s logged was read", name)
		}
	}
	for _, bad := range []string{"panic: ", "fatal error: ", `"status":500`, "Permissions Violation"} {
		if i := strings.Index(text, bad); i >= 0 {
			return fmt.Errorf("a service logged:\n%s", text[max(0, i-200):min(len(text), i+2000)])
		}
	}
	return nil
}

// names are the containers that run a service: its replicas, the third one of an upgrade included, and its nightly checks.
func names() []string {
	var names []string
	for _, service := range services {
		names = append(names, service+"-1", service+"-2", service+"-3", service+"-verify")
	}
	return names
}

// atRest waits until no purchase is pending and billing knows the users as auth does.
func atRest(ctx context.Context, admin string) error {
	conn, err := pgconfig.Connect(ctx, admin)
	if err != nil {
		return fmt.Errorf("check for pending work: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		var pending, late int
		err := conn.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM catalog.purchases WHERE status = 'pending'),
			       (SELECT count(*) FROM auth.users u LEFT JOIN billing.customers c ON c.user_id = u.id WHERE c.version IS DISTINCT FROM u.version)`).Scan(&pending, &late)
		if err != nil {
			return fmt.Errorf("check for pending work: %w", err)
		}
		if pending+late == 0 {
			return nil
		}
		if last(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("after %v, %d purchases are still pending, and billing's copy of %d users is out of date", patience, pending, late)
		}
	}
}

func count[T any](all []T, what func(T) bool) int {
	return len(slices.DeleteFunc(slices.Clone(all), func(one T) bool { return !what(one) }))
}

// last waits for d, or returns an error when ctx ends.
func last(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
