package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// arrow is who may speak to whom, and by which port.
type arrow struct {
	from, to string
	port     int32
}

func (a arrow) String() string { return fmt.Sprintf("%s → %s:%d", a.from, a.to, a.port) }

const document = "docs/architecture.md"

// arrowsOfTheArchitecture compares what NetworkPolicies let through with the table in docs/architecture.md, and that table with the picture above it.
func arrowsOfTheArchitecture(root string, o *objects) (wrong []string) {
	text, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		return []string{err.Error()}
	}
	table, err := tableArrows(string(text))
	if err != nil {
		return []string{err.Error()}
	}
	wrong = append(wrong, againstThePicture(string(text), table)...)
	if n, ok := find(o.network, "deny-all"); !ok || len(n.Spec.PodSelector.MatchLabels)+len(n.Spec.PodSelector.MatchExpressions)+len(n.Spec.Ingress)+len(n.Spec.Egress) > 0 || len(n.Spec.PolicyTypes) != 2 {
		wrong = append(wrong, "whom no NetworkPolicy names may speak to all: have deny-all forbid every Pod both ways (base/network.yaml)")
	}
	open := o.arrows()
	there := map[string]bool{}
	for _, p := range append(o.pods(), o.others()...) {
		there[p.name] = true
	}
	for _, a := range slices.SortedFunc(maps.Keys(open), compare) {
		if !table[a] {
			wrong = append(wrong, fmt.Sprintf("NetworkPolicies let %v through, which is not in %s: narrow them, or add it there with a reason", a, document))
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(table), compare) {
		alone := a.from == a.to && o.overlay == "dev" // one of each, which has no other to speak to
		if there[a.from] && there[a.to] && !open[a] && !alone {
			wrong = append(wrong, fmt.Sprintf("NetworkPolicies do not let %v through, which is in %s: allow its egress there and its ingress here", a, document))
		}
	}
	return wrong
}

func compare(a, b arrow) int { return strings.Compare(a.String(), b.String()) }

// arrows are those that policies leave open. What runs in other namespaces is judged from our side only.
func (o *objects) arrows() map[arrow]bool {
	open := map[arrow]bool{}
	every := append(o.pods(), o.others()...)
	for _, from := range every {
		for _, to := range every {
			if from.space != nil && to.space != nil {
				continue
			}
			for _, port := range to.ports {
				if o.lets(networking.PolicyTypeEgress, from, to, port) && o.lets(networking.PolicyTypeIngress, to, from, port) {
					open[arrow{from.name, to.name, port}] = true
				}
			}
		}
	}
	return open
}

// lets says whether the policies of one Pod let another one through.
func (o *objects) lets(direction networking.PolicyType, of, peer pod, port int32) bool {
	if of.space != nil {
		return true
	}
	isolated := false
	for _, n := range o.network {
		if !selects(&n.Spec.PodSelector, of.labels) || !slices.Contains(n.Spec.PolicyTypes, direction) {
			continue
		}
		isolated = true
		if direction == networking.PolicyTypeEgress {
			for _, r := range n.Spec.Egress {
				if matchesPeer(r.To, peer) && matchesPort(r.Ports, port) {
					return true
				}
			}
			continue
		}
		for _, r := range n.Spec.Ingress {
			if matchesPeer(r.From, peer) && matchesPort(r.Ports, port) {
				return true
			}
		}
	}
	return !isolated
}

func matchesPeer(peers []networking.NetworkPolicyPeer, p pod) bool {
	if len(peers) == 0 {
		return true
	}
	return slices.ContainsFunc(peers, func(peer networking.NetworkPolicyPeer) bool {
		switch {
		case peer.NamespaceSelector == nil:
			return p.space == nil && selects(peer.PodSelector, p.labels)
		case peer.PodSelector != nil && !selects(peer.PodSelector, p.labels):
			return false
		case p.space == nil:
			return selects(peer.NamespaceSelector, labels.Set{"kubernetes.io/metadata.name": "lavka"})
		}
		return selects(peer.NamespaceSelector, p.space)
	})
}

func matchesPort(ports []networking.NetworkPolicyPort, port int32) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networking.NetworkPolicyPort) bool { return p.Port != nil && p.Port.IntVal == port })
}

var row = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([0-9, ]+) \|`)

// tableArrows reads the table: from, to, ports; each may be a list.
func tableArrows(text string) (map[arrow]bool, error) {
	all := map[arrow]bool{}
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		for from := range strings.SplitSeq(m[1], ", ") {
			for to := range strings.SplitSeq(m[2], ", ") {
				for port := range strings.SplitSeq(m[3], ", ") {
					n, err := strconv.Atoi(strings.TrimSpace(port))
					if err != nil {
						return nil, fmt.Errorf("%s has a row with the port %q", document, port)
					}
					all[arrow{from, to, int32(n)}] = true
				}
			}
		}
	}
	if len(all) < 20 {
		return nil, fmt.Errorf("%s has only %d arrows in its table: it is not read", document, len(all))
	}
	return all, nil
}

var edge = regexp.MustCompile(`(?m)^\s+(\w+)(?:\[[^\]]*\]|\(\[[^\]]*\]\))? (-\.->|-->)(?:\|[^|]*\|)? (\w+)`)

// againstThePicture holds the table against the picture: who speaks to whom, whatever the direction of what is said. A service opens the connection to NATS.
func againstThePicture(text string, table map[arrow]bool) (wrong []string) {
	stands := map[string]string{"users": "nats", "purchases": "nats", "sa": "postgres", "sc": "postgres", "sb": "postgres", "provider": "gateway"}
	type pair struct{ from, to string }
	drawn, listed := map[pair]bool{}, map[pair]bool{}
	name := func(node string) string {
		if other, ok := stands[node]; ok {
			return other
		}
		return node
	}
	for _, m := range edge.FindAllStringSubmatch(text, -1) {
		switch from, to := name(m[1]), name(m[3]); {
		case from == "clients":
		case from == "nats":
			drawn[pair{to, from}] = true
		case m[2] == "-.->" && to != "nats": // a message from one service to another
			drawn[pair{from, "nats"}], drawn[pair{to, "nats"}] = true, true
		default:
			drawn[pair{from, to}] = true
		}
	}
	shown := []string{"gateway", "auth", "catalog", "billing", "postgres", "nats"}
	for a := range table {
		if slices.Contains(shown, a.from) && slices.Contains(shown, a.to) && a.from != a.to {
			listed[pair{a.from, a.to}] = true
		}
	}
	if !maps.Equal(drawn, listed) {
		wrong = append(wrong, fmt.Sprintf("the picture in %s has the arrows %v, and its table %v", document, drawn, listed))
	}
	return wrong
}
