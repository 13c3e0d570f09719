// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

const (
	recordFormat  = "holdfast-local-cluster"
	recordVersion = 1
)

// Modes of a cluster's disks.
const (
	modeRoot  = "loop devices"      // sparse images, mounted
	modePlain = "plain directories" // for who is not root
)

var (
	errRecord  = errors.New("cluster.json is damaged")
	errNewer   = errors.New("cluster.json was written by another version of the provider")
	errForeign = errors.New("the directory holds something else")
	errOther   = errors.New("the directory holds another cluster")
	errChanged = errors.New("it cannot be changed")
	errName    = errors.New("names are letters, digits and hyphens, 63 at most, with a letter or digit at both ends")
	errDisk    = errors.New("no such disk")
)

// record is cluster.json, replaced atomically and durably at every change.
type record struct {
	Format  string `json:"format"`
	Version int    `json:"version"`

	Name     string                `json:"name"`
	ID       string                `json:"id"`
	Mode     string                `json:"mode"`
	Network  int                   `json:"network"` // x of 127.0.x.y
	Ports    agentapi.Ports        `json:"ports"`
	Stores   []diskRecord          `json:"stores"`
	SideDisk diskRecord            `json:"side_disk"`
	Nodes    map[string]nodeRecord `json:"nodes"`
	// Destroying: its destruction was begun and can only be ended.
	Destroying bool `json:"destroying,omitempty"`
}

// diskRecord is a disk that every node has.
type diskRecord struct {
	SizeBytes  int64  `json:"size_bytes"`
	FileSystem string `json:"file_system"`
}

// nodeRecord is one node.
type nodeRecord struct {
	Address string `json:"address"`
	// Made: its disks were all there once, and may hold data since.
	Made bool `json:"made,omitempty"`
}

func (r *record) equal(o *record) bool { return reflect.DeepEqual(r, o) }

func (r *record) names() []platform.Node {
	var nodes []platform.Node
	for name := range r.Nodes {
		nodes = append(nodes, platform.Node{Name: name})
	}
	slices.SortFunc(nodes, func(a, b platform.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

func (r *record) clone() *record {
	c := *r
	c.Stores = slices.Clone(r.Stores)
	c.Nodes = map[string]nodeRecord{}
	for name, n := range r.Nodes {
		c.Nodes[name] = n
	}
	return &c
}

// decodeRecord reads cluster.json and believes only what this version writes:
// its names become paths that Destroy removes.
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
	case r.Name == "" || r.ID == "":
		return nil, fmt.Errorf("%w: name %q, id %q", errRecord, r.Name, r.ID)
	case r.Mode != modeRoot && r.Mode != modePlain:
		return nil, fmt.Errorf("%w: mode %q", errRecord, r.Mode)
	case r.Network < 1 || r.Network > maxNetwork:
		return nil, fmt.Errorf("%w: network %d", errRecord, r.Network)
	case r.Nodes == nil:
		return nil, fmt.Errorf("%w: no nodes", errRecord)
	}
	for _, d := range append(slices.Clone(r.Stores), r.SideDisk) {
		if err := d.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", errRecord, err)
		}
	}
	for name, n := range r.Nodes {
		if !validName(name) {
			return nil, fmt.Errorf("%w: node %q", errRecord, name)
		}
		if ip, err := netip.ParseAddr(n.Address); err != nil || !ip.Is4() || !ip.IsLoopback() || int(ip.As4()[2]) != r.Network {
			return nil, fmt.Errorf("%w: node %s has address %q", errRecord, name, n.Address)
		}
	}
	return &r, nil
}

func (d diskRecord) check() error {
	if d.SizeBytes <= 0 || d.FileSystem != "ext4" && d.FileSystem != "xfs" {
		return fmt.Errorf("%w: %d bytes of %q", errDisk, d.SizeBytes, d.FileSystem)
	}
	return nil
}

var nameRE = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

// validName tells the names that an agent takes, each one safe element of a path.
func validName(name string) bool { return nameRE.MatchString(name) }

// look says what the directory holds: a cluster, or nil where it is free
// (missing, empty, or left by a run that was killed before it made anything).
func (l *Local) look() (*record, error) {
	const next = "Set local.directory to an empty or a new directory; nothing was changed in this one."
	b, err := os.ReadFile(l.recordPath())
	if err == nil {
		rec, err := decodeRecord(b)
		if err != nil {
			next := "Use the provider that wrote it; nothing was changed."
			if errors.Is(err, errRecord) {
				next = fmt.Sprintf("Restore the file from a copy; nothing was changed. Without one, end what runs from %s, unmount what is mounted below %s, and remove %s.",
					l.binDir(), l.nodesDir(), l.dir)
			}
			return nil, &platform.Error{What: "the cluster in " + l.dir + " cannot be read", Err: err, Next: next}
		}
		return rec, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, &platform.Error{What: "the directory " + l.dir + " cannot be used", Err: err, Next: next}
	}
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &platform.Error{What: "the directory " + l.dir + " cannot be used", Err: err, Next: next}
	}
	var others []string
	for _, e := range entries {
		if !slices.Contains([]string{filepath.Base(l.lockPath()), filepath.Base(l.recordPath()) + ".new"}, e.Name()) {
			others = append(others, e.Name())
		}
	}
	if len(others) == 0 {
		return nil, nil
	}
	return nil, &platform.Error{What: "the directory " + l.dir + " is not used",
		Err:  fmt.Errorf("%w: no cluster.json, but %s (%d entries)", errForeign, strings.Join(others[:min(3, len(others))], ", "), len(others)),
		Next: next}
}

func (l *Local) save(rec *record) error {
	if err := atomicfile.WriteJSON(l.recordPath(), rec); err != nil {
		return l.failed("record the cluster", err)
	}
	return nil
}

// merge returns the record that c asks for, given the one that is there, nil
// if none. New nodes have no address yet. It decides what may change.
func merge(rec *record, c platform.Cluster, mode string) (*record, error) {
	want := &record{Format: recordFormat, Version: recordVersion, Name: c.Name, ID: c.ID, Mode: mode, Ports: c.Ports, Nodes: map[string]nodeRecord{}}
	for _, d := range c.Stores {
		want.Stores = append(want.Stores, diskRecord(d))
	}
	want.SideDisk = diskRecord(c.SideDisk)
	if rec == nil {
		for _, n := range c.Nodes {
			want.Nodes[n.Name] = nodeRecord{}
		}
		return want, nil
	}
	refuse := func(err error, what, have, asked, next string) error {
		return &platform.Error{What: fmt.Sprintf("cluster %s cannot be made what was asked", c.Name),
			Err: fmt.Errorf("%w: %s is %s, asked for is %s", err, what, have, asked), Next: next}
	}
	switch {
	case rec.Name != c.Name:
		return nil, refuse(errOther, "its name", rec.Name, c.Name, "Set local.directory to another directory, or the name to "+rec.Name+"; nothing was changed.")
	case rec.ID != c.ID:
		return nil, refuse(errOther, "its id", rec.ID, c.ID, "Import that one, or set local.directory to another directory; nothing was changed.")
	case rec.Destroying:
		return nil, refuse(errChanged, "its state", "half destroyed (a destroy was interrupted)", "a cluster", "Run terraform destroy again, which ends it, and apply then.")
	case rec.Mode != mode:
		return nil, refuse(errChanged, "mode", rec.Mode, mode, "Apply as the user who made the cluster.")
	case len(rec.Stores) != len(want.Stores):
		return nil, refuse(errChanged, "the number of stores", fmt.Sprint(len(rec.Stores)), fmt.Sprint(len(want.Stores)), "Keep it, or make a new cluster.")
	}
	disk := func(d diskRecord) string { return fmt.Sprintf("%s of %d bytes", d.FileSystem, d.SizeBytes) }
	const keep = "The local platform does not change disks that are there: keep it, or make a new cluster."
	for i, d := range rec.Stores {
		if d != want.Stores[i] {
			return nil, refuse(errChanged, fmt.Sprintf("stores[%d]", i), disk(d), disk(want.Stores[i]), keep)
		}
	}
	if rec.SideDisk != want.SideDisk {
		return nil, refuse(errChanged, "side_disk", disk(rec.SideDisk), disk(want.SideDisk), keep)
	}
	next := rec.clone()
	next.Ports = c.Ports
	for _, n := range c.Nodes {
		if _, ok := next.Nodes[n.Name]; !ok {
			next.Nodes[n.Name] = nodeRecord{}
		}
	}
	return next, nil
}
