// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// goldenRecord is cluster.json as version 1 writes it: what a released provider
// wrote has to be read by every later one.
const goldenRecord = `{
  "format": "holdfast-local-cluster",
  "version": 1,
  "name": "orders",
  "id": "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f",
  "mode": "loop devices",
  "network": 7,
  "ports": {
    "server": 8300,
    "http": 8500
  },
  "stores": [
    {
      "size_bytes": 10737418240,
      "file_system": "ext4"
    }
  ],
  "side_disk": {
    "size_bytes": 26843545600,
    "file_system": "xfs"
  },
  "nodes": {
    "a": {
      "address": "127.0.7.1",
      "made": true
    },
    "b": {
      "address": "127.0.7.2"
    }
  },
  "destroying": true
}`

func golden() *record {
	return &record{
		Format: recordFormat, Version: recordVersion, Name: "orders", ID: "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f", Mode: modeRoot, Network: 7,
		Ports: agentapi.Ports{Server: 8300, HTTP: 8500}, Stores: []diskRecord{{10 << 30, "ext4"}}, SideDisk: diskRecord{25 << 30, "xfs"},
		Nodes:      map[string]nodeRecord{"a": {"127.0.7.1", true}, "b": {Address: "127.0.7.2"}},
		Destroying: true,
	}
}

func TestRecord(t *testing.T) {
	b, err := json.MarshalIndent(golden(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(goldenRecord, string(b)); d != "" {
		t.Errorf("written (-want +got): %s", d)
	}
	got, err := decodeRecord([]byte(goldenRecord))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(golden(), got); d != "" {
		t.Errorf("read (-want +got): %s", d)
	}
	if !got.equal(got.clone()) {
		t.Error("a clone differs")
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, from, to string
		want           error
	}{
		{"other file", recordFormat, "something-else", errRecord},
		{"later version", `"version": 1`, `"version": 2`, errNewer},
		{"later version with more in it", `"version": 1`, `"version": 2, "colour": "red"`, errNewer},
		{"unknown key", `"network": 7`, `"network": 7, "colour": "red"`, errRecord},
		{"no name", `"orders"`, `""`, errRecord},
		{"unknown mode", "loop devices", "tapes", errRecord},
		{"no network", `"network": 7`, `"network": 0`, errRecord},
		{"no such network", `"network": 7`, `"network": 255`, errRecord},
		{"address off its network", "127.0.7.2", "127.0.8.2", errRecord},
		{"address of another machine", "127.0.7.2", "10.0.7.2", errRecord},
		{"no address", "127.0.7.2", "", errRecord},
		{"IPv6", "127.0.7.2", "::1", errRecord},
		{"a name that leads out", `"a": {`, `"../../etc": {`, errRecord},
		{"a name that is a directory", `"a": {`, `"..": {`, errRecord},
		{"empty node name", `"a": {`, `"": {`, errRecord},
		{"unknown file system", `"xfs"`, `"../evil"`, errRecord},
		{"no size", "26843545600", "0", errRecord},
		{"negative size", "26843545600", "-1", errRecord},
		{"something behind it", `"destroying": true
}`, `"destroying": true
} {}`, errRecord},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(goldenRecord, tc.from) {
				t.Fatalf("the record has no %s", tc.from)
			}
			r, err := decodeRecord([]byte(strings.Replace(goldenRecord, tc.from, tc.to, 1)))
			if !errors.Is(err, tc.want) || r != nil {
				t.Errorf("%+v %v, want %v", r, err, tc.want)
			}
		})
	}
	// Cut anywhere, it is damaged and never another record.
	for i := range len(goldenRecord) - 1 {
		if r, err := decodeRecord([]byte(goldenRecord[:i])); !errors.Is(err, errRecord) {
			t.Fatalf("the first %d bytes: %+v %v", i, r, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(goldenRecord))
	f.Add([]byte(strings.Replace(goldenRecord, modeRoot, modePlain, 1)))
	f.Add([]byte(`{"format":"holdfast-local-cluster","version":1,"nodes":{"..":{}}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		l := &Local{dir: "/d"}
		for name := range r.Nodes {
			if filepath.Dir(l.nodeDir(name)) != "/d/nodes" {
				t.Errorf("node %q is at %s", name, l.nodeDir(name))
			}
			for _, v := range l.volumes(r, name) {
				if v.image != "" && filepath.Dir(v.image) != "/d/disks" || filepath.Dir(v.point) != l.nodeDir(name) {
					t.Errorf("node %q has %s at %s", name, v.image, v.point)
				}
			}
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if r2, err := decodeRecord(again); err != nil || !r.equal(r2) {
			t.Errorf("written and read again: %v %s", err, cmp.Diff(r, r2))
		}
	})
}

// What may change of a cluster that is there, and what may not.
func TestMerge(t *testing.T) {
	base := func() platform.Cluster {
		return platform.Cluster{
			Name: "orders", ID: golden().ID, Ports: golden().Ports, Nodes: []platform.Node{{Name: "a"}, {Name: "b"}},
			Stores: []platform.Disk{{SizeBytes: 10 << 30, FileSystem: "ext4"}}, SideDisk: platform.Disk{SizeBytes: 25 << 30, FileSystem: "xfs"},
		}
	}
	rec := golden()
	rec.Destroying = false
	for _, tc := range []struct {
		name   string
		change func(*platform.Cluster)
		rec    func(*record)
		want   error
		words  []string
	}{
		{name: "the same"},
		{name: "a third node", change: func(c *platform.Cluster) { c.Nodes = append(c.Nodes, platform.Node{Name: "c"}) }},
		{name: "one node less", change: func(c *platform.Cluster) { c.Nodes = c.Nodes[:1] }},
		{name: "other ports", change: func(c *platform.Cluster) { c.Ports.HTTP = 9500 }},
		{name: "another name", change: func(c *platform.Cluster) { c.Name = "bills" }, want: errOther, words: []string{"orders", "bills", "local.directory"}},
		{name: "another id", change: func(c *platform.Cluster) { c.ID = "x" }, want: errOther, words: []string{rec.ID, "Import"}},
		{name: "half destroyed", rec: func(r *record) { r.Destroying = true }, want: errChanged, words: []string{"destroy again"}},
		{name: "by another user", rec: func(r *record) { r.Mode = modePlain }, want: errChanged, words: []string{modePlain, modeRoot}},
		{name: "another store", change: func(c *platform.Cluster) { c.Stores = append(c.Stores, c.Stores[0]) }, want: errChanged, words: []string{"1", "2"}},
		{name: "a larger store", change: func(c *platform.Cluster) { c.Stores[0].SizeBytes *= 2 }, want: errChanged, words: []string{"stores[0]", "10737418240", "21474836480"}},
		{name: "another file system", change: func(c *platform.Cluster) { c.SideDisk.FileSystem = "ext4" }, want: errChanged, words: []string{"side_disk", "xfs", "ext4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, r := base(), rec.clone()
			if tc.change != nil {
				tc.change(&c)
			}
			if tc.rec != nil {
				tc.rec(r)
			}
			before := r.clone()
			next, err := merge(r, c, modeRoot)
			if d := cmp.Diff(before, r); d != "" {
				t.Errorf("the record was changed: %s", d)
			}
			if tc.want != nil {
				failure(t, err, tc.want, tc.words...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := before.clone()
			want.Ports = c.Ports
			for _, n := range c.Nodes {
				if _, ok := want.Nodes[n.Name]; !ok {
					want.Nodes[n.Name] = nodeRecord{}
				}
			}
			if d := cmp.Diff(want, next); d != "" {
				t.Errorf("(-want +got): %s", d)
			}
		})
	}
}

// A directory that is not a cluster's, or one that cannot be read, is refused by
// every method, and nothing in it is changed.
func TestLook(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		files map[string]string
		free  bool // it may be used
		want  error
		words []string
	}{
		{name: "missing", free: true},
		{name: "empty", files: map[string]string{}, free: true},
		{name: "a run that was killed at its beginning", files: map[string]string{"lock": "123\n", "cluster.json.new": "{"}, free: true},
		{name: "somebody's files", files: map[string]string{"a.txt": "1", "b.txt": "2", "c": "3", "d": "4"}, want: errForeign, words: []string{"a.txt, b.txt, c (4 entries)", "empty or a new directory"}},
		{name: "parts of a cluster without its record", files: map[string]string{"disks/a-data1.img": "", "lock": ""}, want: errForeign, words: []string{"disks"}},
		{name: "half a record", files: map[string]string{"cluster.json": goldenRecord[:100]}, want: errRecord, words: []string{"unexpected end", "from a copy", "unmount"}},
		{name: "an empty record", files: map[string]string{"cluster.json": ""}, want: errRecord},
		{name: "a garbage record", files: map[string]string{"cluster.json": "\x00\x00\x00"}, want: errRecord},
		{name: "a later record", files: map[string]string{"cluster.json": strings.Replace(goldenRecord, `"version": 1`, `"version": 9`, 1)}, want: errNewer, words: []string{"version 9", "this one knows 1"}},
		{name: "a record that is a directory", files: map[string]string{"cluster.json/x": ""}, words: []string{"is a directory"}},
		{name: "a file", files: nil, words: []string{"not a directory"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, false, "a")
			for name, text := range tc.files {
				path := filepath.Join(f.dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if tc.name == "a file" {
				if err := os.WriteFile(f.dir, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, f.dir)
			check := func(err error) {
				t.Helper()
				if !tc.free {
					failure(t, err, tc.want, tc.words...)
				} else if err != nil {
					t.Error(err)
				}
				if d := cmp.Diff(before, tree(t, f.dir)); d != "" {
					t.Errorf("changed: %s", d)
				}
			}
			check(f.Preflight(t.Context(), f.cluster))
			_, _, _, err := f.Adopt(t.Context())
			check(err)
			_, err = f.Observe(t.Context())
			check(err)
			if tc.free {
				f.ensure(t)
				f.destroy(t)
				return
			}
			check(f.Destroy(t.Context(), f.cluster.ID, nil))
			_, err = f.Ensure(t.Context(), f.cluster, nil)
			check(err)
		})
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	nowhere := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), nowhere); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{{}, {Directory: "/"}, {Directory: nowhere}, {Directory: filepath.Join(nowhere, "below")}, {Directory: dir, Network: 255}, {Directory: dir, Network: -1}} {
		_, err := New(cfg)
		failure(t, err, nil)
	}
	// Names in /proc and in the mount table are without links.
	target := filepath.Join(dir, "real")
	link := filepath.Join(dir, "way")
	if err := errors.Join(os.Mkdir(target, 0o700), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Directory: filepath.Join(link, "x", "y")})
	if err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks(target)
	if got := p.(*Local).dir; err != nil || got != filepath.Join(want, "x", "y") {
		t.Errorf("%s, want x/y below %s (%v)", got, want, err)
	}
}
