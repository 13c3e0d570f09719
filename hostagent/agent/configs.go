// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// configsFile is in the directory of an agent whose engine systemd runs. An engine says
// by a hash what it runs with: this is the spec behind it.
const configsFile = "configs.json"

// configsKept is how many configurations are remembered. An engine that runs with an
// older one has a restart due, and nobody can say any more for what.
const configsKept = 8

// configsRecord is configs.json, the newest first.
type configsRecord struct {
	Format  int            `json:"format"`
	Configs []configRecord `json:"configs"`
}

type configRecord struct {
	Hash string         `json:"hash"`
	Spec *agentapi.Spec `json:"spec"`
}

// with is the record with one more configuration.
func (r configsRecord) with(hash string, spec *agentapi.Spec) configsRecord {
	next := configsRecord{Format: format, Configs: []configRecord{{hash, spec}}}
	for _, c := range r.Configs {
		if c.Hash != hash && len(next.Configs) < configsKept {
			next.Configs = append(next.Configs, c)
		}
	}
	return next
}

// spec is the configuration of a hash, nil where it is not known.
func (r configsRecord) spec(hash string) *agentapi.Spec {
	for _, c := range r.Configs {
		if c.Hash == hash {
			return c.Spec
		}
	}
	return nil
}

// addresses are where an engine may answer that runs with one of the configurations, or
// with the spec in force; the likeliest first.
func (r configsRecord) addresses(spec *agentapi.Spec) []string {
	all := []string{httpAddress(spec)}
	for _, c := range r.Configs {
		if address := httpAddress(c.Spec); !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}
