// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// FromSpec is the logs.yaml of a node whose spec has log.buffering: buffered files
// in dir. Standard error, which the agent keeps and shows the end of, is left with
// what matters there; nobody rotates it while an engine runs.
func FromSpec(b *agentapi.Buffering, dir string) ([]byte, error) {
	type buffering struct {
		MaxStaleness     string `yaml:"max-staleness"`
		FlushTriggerSize string `yaml:"flush-trigger-size"`
		MaxBufferSize    string `yaml:"max-buffer-size"`
	}
	var doc struct {
		FileDefaults struct {
			Dir            string    `yaml:"dir"`
			BufferedWrites bool      `yaml:"buffered-writes"`
			Buffering      buffering `yaml:"buffering"`
		} `yaml:"file-defaults"`
		Sinks struct {
			Stderr struct {
				Filter string `yaml:"filter"`
			} `yaml:"stderr"`
		} `yaml:"sinks"`
	}
	doc.FileDefaults.Dir = dir
	doc.FileDefaults.Buffering = buffering(*b)
	doc.Sinks.Stderr.Filter = "WARNING"
	text, err := yaml.Marshal(doc)
	if err == nil {
		_, err = Parse(text, dir) // an engine that cannot read it would not start
	}
	if err != nil {
		return nil, fmt.Errorf("logs.yaml: %w", err)
	}
	return append([]byte("# Written by the host agent from the node's spec.\n"), text...), nil
}
