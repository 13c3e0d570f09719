// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package gce

import (
	"encoding/json"
	"testing"
)

// sizes are the sizes of the data disks' file systems, as the state has them after a refresh.
func (c *cloud) sizes(t *testing.T) []int64 {
	t.Helper()
	c.tf.Must(t, 0, "apply", "-refresh-only", "-auto-approve", "-input=false")
	var state struct {
		Values struct {
			RootModule struct {
				Resources []struct {
					Address string `json:"address"`
					Values  struct {
						Effective map[string]struct {
							Stores []struct {
								Size int64 `json:"size_bytes"`
							} `json:"stores"`
						} `json:"effective"`
					} `json:"values"`
				} `json:"resources"`
			} `json:"root_module"`
		} `json:"values"`
	}
	if err := json.Unmarshal([]byte(c.tf.Must(t, 0, "show", "-json")), &state); err != nil {
		t.Fatal(err)
	}
	var all []int64
	for _, r := range state.Values.RootModule.Resources {
		for _, n := range r.Values.Effective {
			for _, s := range n.Stores {
				all = append(all, s.Size)
			}
		}
	}
	if len(all) != len(c.zones) {
		t.Fatalf("sizes: %v", all)
	}
	return all
}
