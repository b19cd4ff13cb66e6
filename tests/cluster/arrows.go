package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// arrow is who may speak to whom, and by which port.
type arrow struct {
	from, to string
	port     int
}

func (a arrow) String() string { return fmt.Sprintf("%s → %s:%d", a.from, a.to, a.port) }

var row = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([0-9, ]+) \|`)

// arrowsOf reads the table of docs/architecture.md: from, to, ports; each may be a list.
func arrowsOf(file string) (map[arrow]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	all := map[arrow]bool{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		for from := range strings.SplitSeq(m[1], ", ") {
			for to := range strings.SplitSeq(m[2], ", ") {
				for port := range strings.SplitSeq(m[3], ", ") {
					n, err := strconv.Atoi(port)
					if err != nil {
						return nil, fmt.Errorf("%s has a row with the port %q", file, port)
					}
					all[arrow{from, to, n}] = true
				}
			}
		}
	}
	return all, nil
}

// arrows tries every connection between what runs, and what may run, and what should reach nothing. Those of docs/architecture.md must work, and no others.
func (d *day) arrows(ctx context.Context) error {
	table, err := arrowsOf(filepath.Join(d.root, "docs/architecture.md"))
	if err != nil {
		return err
	}
	probes, err := d.probes(ctx)
	if err != nil {
		return err
	}
	targets, err := d.targets(ctx)
	if err != nil {
		return err
	}
	if err := d.startProbes(ctx, probes); err != nil {
		return err
	}
	open, closed := 0, 0
	for _, p := range probes {
		// A firewall learns of a new Pod a moment later, so what it lets through is looked at until it is right.
		var o, c int
		if err := d.Until(ctx, func() (missing, err error) {
			o, c, missing, err = d.try(ctx, p, targets, table)
			return missing, err
		}); err != nil {
			return err
		}
		open, closed = open+o, closed+c
	}
	fmt.Printf("    from %d Pods to %d addresses: %d connections work and %d are refused, as they should\n", len(probes), len(targets), open, closed)
	if err := d.noticed(ctx, probes, targets, table); err != nil {
		return err
	}
	return d.ofProbes(ctx, probes, "delete")
}

// hole lets a stranger reach Postgres.
const hole = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: hole, namespace: lavka }
spec:
  podSelector: { matchExpressions: [{ key: app.kubernetes.io/name, operator: In, values: [stranger, postgres] }] }
  ingress: [{ from: [{ podSelector: { matchLabels: { app.kubernetes.io/name: stranger } } }] }]
  egress: [{ to: [{ podSelector: { matchLabels: { app.kubernetes.io/name: postgres } } }] }]
`

// noticed makes a deliberate mistake, which the stranger must notice.
func (d *day) noticed(ctx context.Context, probes []probe, targets []target, table map[arrow]bool) error {
	if err := d.ApplyText(ctx, []byte(hole)); err != nil {
		return err
	}
	stranger := probes[slices.IndexFunc(probes, func(p probe) bool { return p.name == aStranger })]
	if err := d.Until(ctx, func() (missing, err error) {
		_, _, told, err := d.try(ctx, stranger, targets, table)
		if told == nil {
			missing = errors.New("a policy that opens Postgres to a stranger is not noticed")
		}
		return missing, err
	}); err != nil {
		return err
	}
	_, err := d.Kubectl(ctx, "-n", "lavka", "delete", "networkpolicy", "hole")
	return err
}

// closed closes an arrow, and returns when the firewall has closed it.
func (d *day) closed(ctx context.Context, a arrow, do func() error) error {
	probes, err := d.probes(ctx)
	if err != nil {
		return err
	}
	targets, err := d.targets(ctx)
	if err != nil {
		return err
	}
	from := slices.DeleteFunc(probes, func(p probe) bool { return p.name != a.from })
	to := slices.DeleteFunc(targets, func(t target) bool { return t.name != a.to || t.port != a.port })
	if err := d.startProbes(ctx, from); err != nil {
		return err
	}
	is := func(open bool) error {
		return d.Until(ctx, func() (missing, err error) {
			_, _, missing, err = d.try(ctx, from[0], to, map[arrow]bool{a: open})
			return missing, err
		})
	}
	if err := is(true); err != nil { // it is not for a moment, because the firewall does not know the probe yet
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if err := is(false); err != nil {
		return err
	}
	return d.ofProbes(ctx, from, "delete")
}

// try connects a probe to all targets at once.
func (d *day) try(ctx context.Context, p probe, targets []target, table map[arrow]bool) (open, closed int, missing, err error) {
	args := []string{"-n", p.namespace, "exec", p.pod(), "--", "/pause", "connect"}
	for _, t := range targets {
		args = append(args, t.String())
	}
	out, err := d.Kubectl(ctx, args...)
	if err != nil {
		return 0, 0, nil, err
	}
	told := map[string]string{}
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		return 0, 0, nil, fmt.Errorf("%s printed %s: %w", p.pod(), out, err)
	}
	for _, t := range targets {
		a := arrow{p.name, t.name, t.port}
		if a.from == a.to || p.outside && t.outside {
			continue // of most there is one, which has no other to speak to
		}
		why, tried := told[t.String()]
		switch {
		case !tried:
			return 0, 0, nil, fmt.Errorf("%s did not try %v", p.pod(), t)
		case why == "" && !table[a]:
			missing = errors.Join(missing, fmt.Errorf("%v works, and is not in docs/architecture.md", a))
		case why != "" && table[a]:
			missing = errors.Join(missing, fmt.Errorf("%v is in docs/architecture.md, and does not work: %s", a, why))
		case why == "":
			open++
		default:
			closed++
		}
	}
	return open, closed, missing, nil
}
