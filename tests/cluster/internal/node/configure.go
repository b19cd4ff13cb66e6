package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

type object = map[string]any

// configure writes the files that the node's programs read.
func (c Config) configure() error {
	plugins := c.file("cni")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		return err
	}
	network := object{
		"cniVersion": "1.0.0", "name": "lavka",
		"plugins": []object{{
			// Pods keep their addresses on the way to other nodes, because policies are about them.
			"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
			"ipam": object{"type": "host-local", "ranges": [][]object{{{"subnet": podsOf(c.Number)}}}, "routes": []object{{"dst": "0.0.0.0/0"}}},
		}},
	}
	kubelet := object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": AddressOf(c.Number), "containerRuntimeEndpoint": "unix://" + socket,
		"authentication":     object{"anonymous": object{"enabled": false}, "webhook": object{"enabled": true}, "x509": object{"clientCAFile": c.ClientCA}},
		"authorization":      object{"mode": "Webhook"},
		"tlsCertFile":        c.Cert,
		"tlsPrivateKeyFile":  c.Key,
		"clusterDNS":         []string{DNS},
		"clusterDomain":      "cluster.local",
		"resolvConf":         "", // the network ends at the bridge
		"cgroupDriver":       "cgroupfs",
		"cgroupRoot":         c.CgroupRoot,
		"failCgroupV1":       false,
		"failSwapOn":         false,
		"volumePluginDir":    "/var/lib/kubelet/plugins/volume",
		"readOnlyPort":       0,
		"healthzBindAddress": AddressOf(c.Number),
		// An image that is removed can't be pulled, and how full the disk of this machine is says nothing about the shop.
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"evictionHard": object{"memory.available": "100Mi"},
	}
	proxy := object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": object{"kubeconfig": c.Proxy}, "hostnameOverride": c.Name(), "clusterCIDR": pods, "mode": "iptables",
		// The limits of connection tracking belong to the machine.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
	for name, config := range map[string]object{"cni/10-lavka.conflist": network, "kubelet.json": kubelet, "kube-proxy.json": proxy} {
		text, err := json.Marshal(config)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.file(name), text, 0o600); err != nil {
			return err
		}
	}
	// Version 2 is what containerd 1 reads, and containerd 2 too. Its root is in /var/lib and its state in /run, which are the node's own.
	return os.WriteFile(c.file("containerd.toml"), fmt.Appendf(nil, `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true # without CAP_SYS_RESOURCE nothing may be lower than this
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, c.Pause, filepath.Clean(c.CNI), plugins), 0o600)
}
