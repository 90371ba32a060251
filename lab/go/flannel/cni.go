package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// cniConfiguration is the list that a container runtime reads for one node. Upstream writes a list with the flannel meta plugin, which reads
// the subnet file and delegates to bridge; naming bridge directly gives pods the same network with one plugin less.
func cniConfiguration(subnet string, mtu int, bridgeMasquerades bool) ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0",
		"name":       "cbr0",
		"plugins": []map[string]any{
			{
				"type":             "bridge",
				"bridge":           "cni0",
				"isDefaultGateway": true,
				// A node that registers again may get another subnet while the bridge still has the old address.
				"forceAddress": true,
				// Without hairpin a pod cannot reach itself through its own Service.
				"hairpinMode": true,
				"ipMasq":      bridgeMasquerades,
				"mtu":         mtu,
				"ipam": map[string]any{
					"type":   "host-local",
					"ranges": [][]map[string]string{{{"subnet": subnet}}},
				},
			},
			{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		},
	}, "", "  ")
}

// writeCNIConfiguration replaces the file in one step: the container runtime watches its directory and must never read half a file.
func writeCNIConfiguration(path, subnet string, mtu int, bridgeMasquerades bool) error {
	content, err := cniConfiguration(subnet, mtu, bridgeMasquerades)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// A name without a known ending, so that no runtime takes it for a configuration.
	draft := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".draft")
	if err := os.WriteFile(draft, append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(draft, path)
}
