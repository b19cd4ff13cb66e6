package main

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
)

// dockersOwn are the ranges from which Docker takes the subnets of networks that
// have none of their own. It does so in turn, so a subnet of ours in one of them
// would overlap with another network only now and then.
//
// Source: https://docs.docker.com/engine/network/#automatic-subnet-allocation
var dockersOwn = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")}

func TestAddressesDoNotOverlapWithDockersOwn(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	defaults := regexp.MustCompile(`\$\{(LAVKA_(?:SUBNET|GATEWAY_IP|REPLICA_IPS)):-([^}]+)\}`).FindAllStringSubmatch(string(text), -1)
	shop := map[string]string{}
	for _, match := range defaults {
		name, value := match[1], match[2]
		if shop[name] != "" && shop[name] != value {
			t.Errorf("docker-compose.yml has two defaults of %s: %s and %s", name, shop[name], value)
		}
		shop[name] = value
	}
	check := map[string]string{}
	for _, setting := range addresses {
		name, value, _ := strings.Cut(setting, "=")
		check[name] = value
	}

	var subnets []netip.Prefix
	for _, setting := range []map[string]string{shop, check} {
		subnet, replicas := parsePrefix(t, setting["LAVKA_SUBNET"]), parsePrefix(t, setting["LAVKA_REPLICA_IPS"])
		gateway, err := netip.ParseAddr(setting["LAVKA_GATEWAY_IP"])
		if err != nil {
			t.Fatal(err)
		}
		if !subnet.Contains(gateway) || !subnet.Contains(replicas.Addr()) || replicas.Bits() <= subnet.Bits() || replicas.Contains(gateway) {
			t.Errorf("%v: the gateway's address and the replicas' range must be in the subnet, and the address outside the range", setting)
		}
		for _, other := range append(dockersOwn, subnets...) {
			if subnet.Overlaps(other) {
				t.Errorf("the subnet %s overlaps with %s", subnet, other)
			}
		}
		subnets = append(subnets, subnet)
	}
}

func parsePrefix(t *testing.T, text string) netip.Prefix {
	t.Helper()
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		t.Fatal(err)
	}
	return prefix
}
