// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

func TestAssign(t *testing.T) {
	nodes := func(pairs ...string) map[string]nodeRecord {
		m := map[string]nodeRecord{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = nodeRecord{Address: pairs[i+1]}
		}
		return m
	}
	many := map[string]nodeRecord{}
	for i := range 255 {
		many[fmt.Sprintf("n%d", i)] = nodeRecord{}
	}
	for _, tc := range []struct {
		name       string
		rec        record
		candidates []int
		busy       []string // addresses
		want       map[string]nodeRecord
		network    int
		err        error
		words      []string
	}{
		{name: "new", rec: record{Nodes: nodes("b", "", "a", "", "c", "")}, candidates: []int{9, 10},
			want: nodes("a", "127.0.9.1", "b", "127.0.9.2", "c", "127.0.9.3"), network: 9},
		{name: "the first network is busy", rec: record{Nodes: nodes("a", "", "b", "")}, candidates: []int{9, 10}, busy: []string{"127.0.9.2"},
			want: nodes("a", "127.0.10.1", "b", "127.0.10.2"), network: 10},
		{name: "it keeps what it has", rec: record{Network: 5, Nodes: nodes("b", "127.0.5.1", "a", "")}, candidates: []int{9},
			want: nodes("b", "127.0.5.1", "a", "127.0.5.2"), network: 5},
		{name: "it fills a gap", rec: record{Network: 5, Nodes: nodes("b", "127.0.5.2", "a", "", "c", "")},
			want: nodes("a", "127.0.5.1", "b", "127.0.5.2", "c", "127.0.5.3"), network: 5},
		{name: "its own network is busy", rec: record{Network: 5, Nodes: nodes("a", "127.0.5.1")}, busy: []string{"127.0.5.1"}, err: errPort},
		{name: "the one network that was asked for is busy", rec: record{Nodes: nodes("a", "")}, candidates: []int{9}, busy: []string{"127.0.9.1"}, err: errPort},
		{name: "all are busy", rec: record{Nodes: nodes("a", "")}, candidates: []int{9, 10}, busy: []string{"127.0.9.1", "127.0.10.1"}, err: errNetworks, words: []string{"127.0.9.1"}},
		{name: "there is none", rec: record{Nodes: nodes("a", "")}, err: errNetworks},
		{name: "too many nodes", rec: record{Nodes: many}, candidates: []int{9, 10}, err: errTooMany},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := tc.rec.clone()
			got, err := assign(&tc.rec, tc.candidates, func(_ string, addr netip.Addr, _ agentapi.Ports) error {
				if slices.Contains(tc.busy, addr.String()) {
					return &platform.Error{What: "no port on " + addr.String(), Err: errPort, Next: "Stop it."}
				}
				return nil
			})
			if d := cmp.Diff(before, &tc.rec); d != "" {
				t.Errorf("the record was changed: %s", d)
			}
			if tc.err != nil {
				failure(t, err, tc.err, tc.words...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got.Nodes); d != "" || got.Network != tc.network {
				t.Errorf("network %d (-want +got): %s", got.Network, d)
			}
		})
	}
}

// Every network is a candidate once, from one on that follows from the directory.
func TestNetworks(t *testing.T) {
	a, b := (&Local{dir: "/a"}).networks(), (&Local{dir: "/b"}).networks()
	if a[0] == b[0] {
		t.Errorf("both begin with %d", a[0])
	}
	slices.Sort(a)
	if len(a) > maxNetwork || a[0] < 1 || a[len(a)-1] > maxNetwork || len(slices.Compact(slices.Clone(a))) != len(a) {
		t.Errorf("%d networks from %d to %d", len(a), a[0], a[len(a)-1])
	}
	if got := (&Local{dir: "/a", cfg: Config{Network: 7}}).networks(); !slices.Equal(got, []int{7}) {
		t.Errorf("%v", got)
	}
}

// A port that somebody has is told with its address and its process, be it by
// the address or by a wildcard, and nothing is made.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				t.Skipf("cannot listen on %s here: %v", listen, err)
			}
			defer func() { _ = ln.Close() }()
			port := ln.Addr().(*net.TCPAddr).Port
			f := newFixture(t, false, "a")
			f.cluster.Ports.HTTP = port
			if listen == "127.0.0.1:0" {
				at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
				err := f.portsFree("a", at.Addr(), f.cluster.Ports)
				failure(t, err, errPort, at.String(), strconv.Itoa(os.Getpid()), commandName(os.Getpid()))
				return
			}
			err = f.Preflight(t.Context(), f.cluster)
			failure(t, err, errAllPorts, ":"+strconv.Itoa(port), "pid "+strconv.Itoa(os.Getpid()), "Stop that process, or set ports")
			_, err = f.Ensure(t.Context(), f.cluster, nil)
			failure(t, err, errAllPorts)
			f.nothingLeft(t)
		})
	}
}

func TestParseSocket(t *testing.T) {
	for _, tc := range []struct {
		line, want, inode string
	}{
		{"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0", "127.0.0.1:8080", "12345"},
		{"   1: 00000000:206C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1", "0.0.0.0:8300", "7"},
		{"   1: 00000000000000000000000000000000:206C 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 8 1", "[::]:8300", "8"},
		{"   1: 0000000000000000FFFF00000100007F:206C 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 9 1", "127.0.0.1:8300", "9"},
		{"   0: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 12345 1", "", ""}, // connected
		{"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode", "", ""},
		{"", "", ""},
	} {
		got, inode, ok := parseSocket(tc.line)
		if ok != (tc.want != "") || ok && (got.String() != tc.want || inode != tc.inode) {
			t.Errorf("%q: %v %q %v", tc.line, got, inode, ok)
		}
	}
}

func FuzzParseSocket(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1")
	f.Add("0: 01:1 0 0A 0 0 0 0 0 1")
	f.Fuzz(func(t *testing.T, line string) {
		if at, _, ok := parseSocket(line); ok && !at.IsValid() {
			t.Errorf("%q: %v", line, at)
		}
	})
}

func TestParseCommand(t *testing.T) {
	l := &Local{dir: "/srv/c"}
	for _, tc := range []struct {
		args       []string
		role, node string
		ok         bool
	}{
		{[]string{"/x", "agent", "-dir", "/srv/c/nodes/a"}, roleAgent, "a", true},
		{[]string{"/x", "agent", "-log-level", "debug", "-dir", "/srv/c/nodes/a"}, roleAgent, "a", true},
		{[]string{"/x", "engine", "-config-file", "/srv/c/nodes/b-1/engine.json"}, roleEngine, "b-1", true},
		{[]string{"/x", "agent", "-dir", "/srv/c2/nodes/a"}, "", "", false},
		{[]string{"/x", "agent", "-dir", "/srv/c/nodes/../x"}, "", "", false},
		{[]string{"/x", "agent", "-dir", "/srv/c/nodes/"}, "", "", false},
		{[]string{"/x", "agent", "-dir"}, "", "", false},
		{[]string{"/x", "agent", "x", "-dir"}, "", "", false},
		{[]string{"/x", "engine", "-dir", "/srv/c/nodes/a"}, "", "", false},
		{[]string{"/x", "status", "-dir", "/srv/c/nodes/a"}, "", "", false},
		{[]string{"vi", "/srv/c/nodes/a/engine.json"}, "", "", false},
		{nil, "", "", false},
	} {
		role, node, ok := l.parseCommand(tc.args)
		if ok != tc.ok || ok && (role != tc.role || node != tc.node) {
			t.Errorf("%q: %q %q %v", tc.args, role, node, ok)
		}
	}
}

// An agent inherits what its machine needs and no secret of Terraform's.
func TestEnvironment(t *testing.T) {
	got := environment([]string{
		"PATH=/bin", "HOME=/root", "TF_VAR_token=x", "AWS_SECRET_ACCESS_KEY=x", "HOLDFAST_PROGRESS=/p", "HOLDFAST_BINARY=/b",
		"HOLDFAST_WAL_FAILOVER=disabled", "GOMAXPROCS=2", doomedVariable + "=x", "=odd",
	})
	if want := []string{"PATH=/bin", "HOME=/root", "HOLDFAST_WAL_FAILOVER=disabled", "GOMAXPROCS=2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestGlobQuote(t *testing.T) {
	for _, s := range []string{`a`, `a*b`, `[x]?`, `back\slash`} {
		if globQuote(s) == s && s != "a" {
			t.Errorf("%q is not quoted", s)
		}
	}
}

// The next line of an error is always there, whatever was left out.
func TestError(t *testing.T) {
	inner := errors.New("no luck.")
	for want, e := range map[string]*platform.Error{
		"it failed: no luck. Try again.": {What: "it failed", Err: inner, Next: "Try again."},
		"it failed: no luck.":            {What: "it failed", Err: inner},
		"it failed. Try again.":          {What: "it failed", Next: "Try again."},
		"it failed":                      {What: "it failed"},
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
		if e.Err != nil && !errors.Is(e, inner) {
			t.Errorf("%q hides its reason", want)
		}
	}
}
