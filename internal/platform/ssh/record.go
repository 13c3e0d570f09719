// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

const (
	recordFormat  = "holdfast-node"
	recordVersion = 1
)

// record is node.json of a machine: whose it is. It is made before anything else is
// put there, goes last, and is replaced atomically and durably.
//
//	{
//	  "format": "holdfast-node",
//	  "version": 1,
//	  "cluster": {"name": "demo", "id": "9b2c…"},
//	  "node": "a",
//	  "stores": [{"match": {…}, "filesystem": "ext4", "mount": "/srv/holdfast/data1", "min_size_bytes": …}],
//	  "side_disk": {…},
//	  "binary": "4f1e…",
//	  "destroying": true
//	}
type record struct {
	Format  string `json:"format"`
	Version int    `json:"version"`

	Cluster agentapi.Cluster `json:"cluster"`
	Node    string           `json:"node"`
	// Stores and SideDisk are the disks as they were asked for last.
	Stores   []agentapi.Disk `json:"stores"`
	SideDisk agentapi.Disk   `json:"side_disk"`
	// Binary is the SHA-256 of the last binary whose agent answered: the one to go back to.
	Binary string `json:"binary,omitempty"`
	// Destroying: the destruction of the cluster was begun and can only be ended. A record
	// that says so outlives what it was made for, until all nodes are done: a cluster of
	// which a part is gone must not be made whole with empty disks.
	Destroying bool `json:"destroying,omitempty"`
}

func (r *record) equal(o *record) bool { return reflect.DeepEqual(r, o) }

// encode is what is written.
func (r *record) encode() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode node.json: %w", err)
	}
	return append(b, '\n'), nil
}

// decodeRecord reads node.json and believes only what this version writes.
func decodeRecord(b []byte) (*record, error) {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	switch {
	case head.Format != recordFormat:
		return nil, fmt.Errorf("%w: format %q, want %q", errRecord, head.Format, recordFormat)
	case head.Version != recordVersion:
		return nil, fmt.Errorf("%w: version %d, this one knows %d", errNewer, head.Version, recordVersion)
	}
	var r record
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	switch {
	case r.Cluster.Name == "" || r.Cluster.ID == "":
		return nil, fmt.Errorf("%w: cluster %q, id %q", errRecord, r.Cluster.Name, r.Cluster.ID)
	case !nameRE.MatchString(r.Node):
		return nil, fmt.Errorf("%w: node %q", errRecord, r.Node)
	}
	return &r, nil
}

// unreadable is a record that cannot be decoded, as a person reads it.
func unreadable(address string, err error) error {
	next := "Use the provider that wrote it; nothing was changed."
	if errors.Is(err, errRecord) {
		next = "Restore the file from a copy; nothing was changed. Without one, and if the machine holds nothing that is needed: run holdfast agent remove there, and remove the file."
	}
	return &platform.Error{What: recordPath + " of " + address + " cannot be read", Err: err, Next: next}
}

// recordFor is the record of a node that c asks for, where was is there by now; nil: none.
func recordFor(c platform.Cluster, n platform.Node, was *record) *record {
	r := &record{Format: recordFormat, Version: recordVersion, Cluster: agentapi.Cluster{Name: c.Name, ID: c.ID}, Node: n.Name}
	made := n.Known // of a machine that knows nothing of it: the disks had another one
	if was != nil {
		made = was.SideDisk.Made
	}
	disk := func(d platform.Disk, device platform.Device, mount string) agentapi.Disk {
		return agentapi.Disk{Match: device.Match, FileSystem: d.FileSystem, Mount: mount, MinSizeBytes: d.SizeBytes, Wipe: device.Wipe, Made: made}
	}
	for i, d := range c.Stores {
		var device platform.Device // a blank one
		if i < len(n.Stores) {
			device = n.Stores[i]
		}
		r.Stores = append(r.Stores, disk(d, device, fmt.Sprintf("%s/data%d", mountsDir, i+1)))
	}
	r.SideDisk = disk(c.SideDisk, n.SideDisk, mountsDir+"/side")
	if was != nil {
		r.Binary = was.Binary
	}
	return r
}

// machine is the node that the record is about.
func (r *record) machine(address string) platform.Machine {
	directory := func(d agentapi.Disk) platform.Directory {
		return platform.Directory{Path: d.Mount + "/store", SizeBytes: d.MinSizeBytes, FileSystem: d.FileSystem, Disk: &d}
	}
	m := platform.Machine{Name: r.Node, Address: address, SideDisk: directory(r.SideDisk)}
	for _, d := range r.Stores {
		m.Stores = append(m.Stores, directory(d))
	}
	return m
}
