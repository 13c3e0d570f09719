// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func goodSpec() *Spec {
	return (&Spec{
		Cluster:     Cluster{Name: "orders", ID: "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"},
		Node:        "a",
		BindAddress: "127.0.1.1",
		Servers: []Server{
			{Name: "a", Address: "127.0.1.1:8300", Voter: true},
			{Name: "b", Address: "127.0.1.2:8300", Voter: true},
		},
		Stores:   []StoreSpec{{Path: "/data/1", Attrs: []string{"ssd"}}},
		SideDisk: &SideDisk{Path: "/side"},
	}).WithDefaults()
}

func TestValidate(t *testing.T) {
	if err := goodSpec().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		field string
		edit  func(*Spec)
	}{
		{"version", func(s *Spec) { s.Version = 2 }},
		{"cluster.name", func(s *Spec) { s.Cluster.Name = "or ders" }},
		{"cluster.id", func(s *Spec) { s.Cluster.ID = "1" }},
		{"node", func(s *Spec) { s.Node = "-a" }},
		{"node", func(s *Spec) { s.Node = "z" }},
		{"bind_address", func(s *Spec) { s.BindAddress = "127.0.0.1:8300" }},
		{"bind_address", func(s *Spec) { s.BindAddress = "10.0.0.1" }},
		{"ports.server", func(s *Spec) { s.Ports.Server = 70000 }},
		{"ports.http", func(s *Spec) { s.Ports.HTTP = -1 }},
		{"ports.http", func(s *Spec) { s.Ports.HTTP = s.Ports.Server }},
		{"servers", func(s *Spec) { s.Servers = nil }},
		{"servers", func(s *Spec) { s.Servers[0].Voter, s.Servers[1].Voter = false, false }},
		{"servers.1.name", func(s *Spec) { s.Servers[1].Name = "" }},
		{"servers.a.name", func(s *Spec) { s.Servers[1].Name = "a" }},
		{"servers.b.address", func(s *Spec) { s.Servers[1].Address = "127.0.1.2" }},
		{"servers.b.address", func(s *Spec) { s.Servers[1].Address = "127.0.1.2:http" }},
		{"servers.b.address", func(s *Spec) { s.Servers[1].Address = s.Servers[0].Address }},
		{"servers.a.address", func(s *Spec) { s.Servers[0].Address = "127.0.1.1:8301" }},
		{"stores", func(s *Spec) { s.Stores = nil }},
		{"stores.0.path", func(s *Spec) { s.Stores[0].Path = "data" }},
		{"stores.0.path", func(s *Spec) { s.Stores[0].Path = "/data/../data" }},
		{"stores.0.path", func(s *Spec) { s.Stores[0].Path = "/" }},
		{"stores.0.device", func(s *Spec) { s.Stores[0].Device = "sdb" }},
		{"stores.0.attrs", func(s *Spec) { s.Stores[0].Attrs = []string{"a,b"} }},
		{"stores.1.path", func(s *Spec) { s.Stores = append(s.Stores, s.Stores[0]) }},
		{"stores.1.path", func(s *Spec) { s.Stores = append(s.Stores, StoreSpec{Path: "/data/1/x"}) }},
		{"side_disk.path", func(s *Spec) { s.SideDisk.Path = "/data/1" }},
		{"side_disk.path", func(s *Spec) { s.SideDisk.Path = "/data/1/side" }},
		{"side_disk.path", func(s *Spec) { s.SideDisk.Path = "/data" }},
		{"raft_logstore.backend", func(s *Spec) { s.RaftLogStore.Backend = "bolt" }},
		{"raft_logstore.verification.interval", func(s *Spec) { s.RaftLogStore.Verification.Interval = "60" }},
		{"raft_logstore.verification.interval", func(s *Spec) { s.RaftLogStore.Verification.Interval = "-1s" }},
		{"raft_logstore.wal.segment_size_mb", func(s *Spec) { s.RaftLogStore.WAL.SegmentSizeMB = -1 }},
		{"wal_failover.mode", func(s *Spec) { s.WALFailover.Mode = "on" }},
		{"wal_failover.mode", func(s *Spec) { s.WALFailover.Mode, s.SideDisk = "side-disk", nil }},
		{"wal_failover.mode", func(s *Spec) { s.WALFailover.Mode = "among-stores" }},
		{"wal_failover.mode", func(s *Spec) {
			s.WALFailover.Mode, s.Stores = "side-disk", append(s.Stores, StoreSpec{Path: "/data/2"})
		}},
		{"wal_failover.prev_path", func(s *Spec) { s.WALFailover.PrevPaths = Paths{"/older", "old"} }},
		{"wal_failover.prev_path", func(s *Spec) { s.WALFailover.PrevPaths = Paths{"/old,er"} }},
		{"side_disk.path", func(s *Spec) { s.WALFailover.Mode, s.SideDisk.Path = "side-disk", "/side,1" }},
		{"log.level", func(s *Spec) { s.Log.Level = "loud" }},
		{"tls.hosts", func(s *Spec) { s.TLS, s.Ports.HTTPS = &TLS{Hosts: []string{"db1.example.com", ""}}, 8501 }},
		{"tls.hosts", func(s *Spec) { s.TLS, s.Ports.HTTPS = &TLS{Hosts: []string{"10.0.0.1", "*.example.com"}}, 8501 }},
		{"tls.hosts", func(s *Spec) { s.TLS, s.Ports.HTTPS = &TLS{Hosts: []string{"10.0.0.256"}}, 8501 }},
		{"log.buffering.max_staleness", func(s *Spec) { s.Log.Buffering = &Buffering{"soon", "1KiB", "1MiB"} }},
		{"log.buffering.max_staleness", func(s *Spec) { s.Log.Buffering = &Buffering{"0s", "1KiB", "1MiB"} }},
		{"log.buffering.flush_trigger_size", func(s *Spec) { s.Log.Buffering = &Buffering{"1s", "0", "1MiB"} }},
		{"log.buffering.max_buffer_size", func(s *Spec) { s.Log.Buffering = &Buffering{"1s", "1KiB", "much"} }},
		{"log.buffering.max_buffer_size", func(s *Spec) { s.Log.Buffering = &Buffering{"1s", "2KiB", "1KiB"} }},
	} {
		s := goodSpec()
		tc.edit(s)
		e, ok := errors.AsType[*Error](s.Validate())
		if !ok {
			t.Errorf("%s: accepted", tc.field)
			continue
		}
		if e.Field != tc.field || !strings.Contains(e.Why, tc.field) || e.Next == "" {
			t.Errorf("%s: the error names %s: %v", tc.field, e.Field, e)
		}
	}
}

func TestDiff(t *testing.T) {
	a, b := goodSpec(), goodSpec()
	if d := Diff(a, b); len(d) != 0 {
		t.Errorf("equal specs differ: %v", d)
	}
	b.RaftLogStore.Backend = "boltdb"
	b.Log.Level = "debug"
	b.Log.Buffering = &Buffering{MaxBufferSize: "1MiB"}
	b = b.WithDefaults()
	b.Servers[1].Address = "127.0.1.9:8300"
	b.Servers[0], b.Servers[1] = b.Servers[1], b.Servers[0]
	b.SideDisk = nil
	b.Stores[0].Attrs = []string{"ssd", "fast"}
	b.Stores[0].Disk = &Disk{FileSystem: "xfs", Mount: "/d", MinSizeBytes: 40 << 30}
	want := []Change{
		{"log.buffering.flush_trigger_size", "", "256KiB", false},
		{"log.buffering.max_buffer_size", "", "1MiB", false},
		{"log.buffering.max_staleness", "", "1s", false},
		{"log.level", "info", "debug", false},
		{"raft_logstore.backend", "wal", "boltdb", true},
		{"servers.b.address", "127.0.1.2:8300", "127.0.1.9:8300", true},
		{"side_disk.path", "/side", "", true},
		{"stores.0.attrs", "ssd", "ssd,fast", true},
		{"stores.0.disk.filesystem", "", "xfs", false},
		{"stores.0.disk.min_size_bytes", "", "42949672960", false},
		{"stores.0.disk.mount", "", "/d", false},
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[4:8], RestartRequired(a, b)); diff != "" {
		t.Error(diff)
	}
	for _, c := range Diff(nil, a) {
		if c.From != "" || c.Restart {
			t.Errorf("a first spec: %+v", c)
		}
	}
}

// Where logs fail over to, by store, in each mode.
func TestSides(t *testing.T) {
	three := []StoreSpec{{Path: "/d/1"}, {Path: "/d/2"}, {Path: "/d/3"}}
	for _, tc := range []struct {
		mode   string
		stores []StoreSpec
		of     []string
		all    []string
	}{
		{DisabledMode, three, []string{"", "", ""}, []string{}},
		{SideDiskMode, three[:1], []string{"/side"}, []string{"/side"}},
		{AmongStoresMode, three, []string{"/d/2", "/d/3", "/d/1"}, []string{"/d/1", "/d/2", "/d/3"}},
		{AmongStoresMode, three[:2], []string{"/d/2", "/d/1"}, []string{"/d/1", "/d/2"}},
		{AmongStoresMode, three[:1], []string{""}, []string{}}, // refused by Validate
	} {
		s := goodSpec()
		s.WALFailover.Mode, s.Stores = tc.mode, tc.stores
		of := []string{}
		for i := range s.Stores {
			of = append(of, s.SideOf(i))
		}
		if diff := cmp.Diff(tc.of, of) + cmp.Diff(tc.all, s.Sides()); diff != "" {
			t.Errorf("%s of %d: %s", tc.mode, len(tc.stores), diff)
		}
	}
}

// prev_path is one path or several, and never restarts an engine that runs.
func TestPrevPath(t *testing.T) {
	for in, want := range map[string]Paths{`"/a"`: {"/a"}, `["/a","/b"]`: {"/a", "/b"}, `""`: nil, `null`: nil, `[]`: {}} {
		s, err := DecodeSpec(strings.NewReader(`{"wal_failover": {"mode": "disabled", "prev_path": ` + in + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.WALFailover.PrevPaths); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
	for _, in := range []string{`1`, `{}`, `[1]`} {
		if _, err := DecodeSpec(strings.NewReader(`{"wal_failover": {"prev_path": ` + in + `}}`)); err == nil {
			t.Errorf("%s is accepted", in)
		}
	}
	a, b := goodSpec(), goodSpec()
	b.WALFailover.PrevPaths = Paths{"/a", "/b"}
	if diff := cmp.Diff([]Change{{"wal_failover.prev_path", "", "/a,/b", false}}, Diff(a, b)); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeSpecRefuses(t *testing.T) {
	for _, in := range []string{``, `[]`, `{"nodes":1}`, `{"node":1}`, `{"node":"a"} {}`, `{"raft_logstore":{"backnd":"wal"}}`} {
		if _, err := DecodeSpec(strings.NewReader(in)); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

// A body that does not decode is called by its name; one that is too large is said to be.
func TestRefusedBodies(t *testing.T) {
	large := `{"node":"` + strings.Repeat("a", MaxBody) + `"}`
	for _, tc := range []struct{ method, path, body, what, why string }{
		{"PUT", "/v1/spec", `{"node":1}`, "the node spec is refused", "cannot unmarshal"},
		{"PUT", "/v1/spec", large, "the node spec is refused", "it has more than 16777216 bytes"},
		{"POST", "/v1/pki/import", `{"seal":1}`, "the request is refused", "unknown field"},
	} {
		w := httptest.NewRecorder()
		Handler(struct{ Backend }{}).ServeHTTP(w, httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body)))
		var e Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != http.StatusUnprocessableEntity || e.What != tc.what || !strings.Contains(e.Why, tc.why) {
			t.Errorf("%s %s: %d %+v, %v", tc.method, tc.path, w.Code, e, err)
		}
	}
}

// A spec that is accepted stays the same through the wire, and equals itself.
func FuzzDecodeSpec(f *testing.F) {
	seed, err := json.Marshal(goodSpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"version":1,"servers":[{"name":"a"},{"name":"a"}],"stores":[{"attrs":["",""]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := DecodeSpec(bytes.NewReader(in))
		if err != nil {
			return
		}
		s = s.WithDefaults()
		_ = s.Validate() // must not panic
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeSpec(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if d := Diff(s, again.WithDefaults()); len(d) != 0 {
			t.Fatal(d)
		}
	})
}
