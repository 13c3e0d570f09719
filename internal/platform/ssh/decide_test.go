// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

var (
	one = agentapi.Cluster{Name: "one", ID: "id-1"}
	two = agentapi.Cluster{Name: "two", ID: "id-2"}
)

// said is an answer: "-" without a record, "?" none, else CLUSTER/NODE, with ! where it is being destroyed
// and with * where only the agent's spec says it.
func said(text string) answer {
	switch text {
	case "-":
		return answer{}
	case "?":
		return answer{err: sshhost.ErrUnreachable}
	}
	text, destroying := strings.CutSuffix(text, "!")
	text, lost := strings.CutSuffix(text, "*")
	name, node, _ := strings.Cut(text, "/")
	if lost {
		return answer{found: found{address: "m", spec: &claim{Cluster: map[string]agentapi.Cluster{"one": one, "two": two}[name], Node: node}}}
	}
	return answer{found: found{address: "m", record: &record{Cluster: map[string]agentapi.Cluster{"one": one, "two": two}[name], Node: node, Destroying: destroying}}}
}

func all(a, b, c string) answers { return answers{"a": said(a), "b": said(b), "c": said(c)} }

// Whose the machines are, by what they say. The rows with "?" are those in which an apply
// must not make a second cluster because a machine is down.
func TestWhose(t *testing.T) {
	for _, tc := range []struct {
		a, b, c string
		want    agentapi.Cluster
		ok      bool
		err     error
		words   []string
	}{
		{a: "-", b: "-", c: "-"},
		{a: "one/a", b: "one/b", c: "one/c", want: one, ok: true},
		{a: "one/a", b: "-", c: "-", want: one, ok: true},
		{a: "-", b: "-", c: "one/c", want: one, ok: true},
		{a: "?", b: "one/b", c: "one/c", want: one, ok: true},
		{a: "?", b: "?", c: "one/c", want: one, ok: true},
		{a: "?", b: "-", c: "one/c", want: one, ok: true},
		{a: "?", b: "-", c: "-", err: errNobody, words: []string{"node a"}},
		{a: "?", b: "?", c: "?", err: errNobody, words: []string{"node a", "node b", "node c"}},
		{a: "one/a", b: "two/b", c: "-", err: errDisagree, words: []string{"node a to one (id-1)", "node b to two (id-2)"}},
		{a: "one/b", b: "one/a", c: "one/c", err: errOtherNode, words: []string{"node a: ", "it is node b"}},
		{a: "one/a!", b: "one/b!", c: "one/c!", want: one},
		{a: "-", b: "one/b!", c: "-", want: one},
		{a: "one/a", b: "one/b!", c: "one/c", want: one}, // a was not reached by the destroy
		{a: "?", b: "one/b!", c: "?", want: one},
		{a: "one/a*", b: "-", c: "-", want: one, ok: true},     // its record was lost
		{a: "one/a", b: "two/x!", c: "-", want: one, ok: true}, // c and b came later; b of a cluster that ends
	} {
		t.Run(fmt.Sprint(tc.a, " ", tc.b, " ", tc.c), func(t *testing.T) {
			got, ok, err := all(tc.a, tc.b, tc.c).whose()
			if tc.err != nil {
				wantError(t, err, tc.err, tc.words...)
			} else if err != nil {
				t.Fatal(err)
			}
			if got != tc.want || ok != tc.ok {
				t.Errorf("got %v, %v", got, ok)
			}
		})
	}
}

func TestMayBe(t *testing.T) {
	own := found{spec: &claim{Cluster: one, Node: "a"}}
	for _, tc := range []struct {
		name   string
		found  found
		ending []string
		known  bool // the node holds data
		want   error
	}{
		{name: "free", found: found{}},
		{name: "its own", found: said("one/a").found},
		{name: "another node", found: said("one/b").found, want: errOtherNode},
		{name: "another cluster", found: said("two/a").found, want: errOther},
		{name: "another cluster that ends", found: said("two/a!").found, ending: []string{"id-2"}},
		{name: "not marked, but its cluster ends", found: said("two/a").found, ending: []string{"id-2"}},
		{name: "half destroyed itself", found: said("one/a!").found, ending: []string{"id-1"}, want: errDestroying},
		{name: "its own agent without a record", found: own},
		{name: "another's agent without a record", found: found{spec: &claim{Cluster: two, Node: "a"}}, want: errOther},
		{name: "free, but the node holds data", found: found{}, known: true, want: errBlank},
		{name: "the node that holds data", found: said("one/a").found, known: true},
		{name: "that node without its record", found: own, known: true},
		{name: "a cluster that ends, but the node holds data", found: said("two/a!").found, ending: []string{"id-2"}, known: true, want: errBlank},
		{name: "same id, other name", found: found{record: &record{Cluster: agentapi.Cluster{Name: "x", ID: "id-1"}, Node: "a"}}, want: errOther},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.found.mayBe(one, platform.Node{Name: "a", Known: tc.known}, tc.ending); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// Clones share a machine id and containers the boot of their host.
func TestTwice(t *testing.T) {
	machine := func(id, boot string) answer { return answer{found: found{machine: id, boot: boot}} }
	for _, tc := range []struct {
		name string
		a, b answer
		want int
	}{
		{"two machines", machine("m1", "b1"), machine("m2", "b2"), 0},
		{"clones", machine("m1", "b1"), machine("m1", "b2"), 0},
		{"containers", machine("m1", "b1"), machine("m2", "b1"), 0},
		{"one machine", machine("m1", "b1"), machine("m1", "b1"), 1},
		{"nothing is known", machine("", "b1"), machine("", "b1"), 0},
	} {
		if got := (answers{"a": tc.a, "b": tc.b}).twice(); len(got) != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	good := `{"format":"holdfast-node","version":1,"cluster":{"name":"n","id":"i"},"node":"a","stores":[],"side_disk":{"match":{},"filesystem":"ext4","mount":"/m"}}`
	if _, err := decodeRecord([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"{":                               "",
		"holdfast-node":                   "holdfast-local-cluster",
		`"version":1`:                     `"version":2`,
		`"name":"n"`:                      `"name":""`,
		`"id":"i"`:                        `"id":""`,
		`"node":"a"`:                      `"node":"../a"`,
		`"stores":[]`:                     `"stores":[],"more":1`,
		`"cluster":{"name":"n","id":"i"}`: `"cluster":7`,
	} {
		_, err := decodeRecord([]byte(strings.Replace(good, from, to, 1)))
		if !errors.Is(err, errRecord) && !errors.Is(err, errNewer) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestParseLook(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	spec := b64([]byte(`{"format":1,"spec":{"cluster":{"name":"two","id":"id-2"},"node":"x","stores":[],"servers":[{"name":"x","voter":true},{"name":"y"}]}}`))
	got, err := parseLook("m", []byte("Welcome!\nholdfast: machine=0123\nholdfast: boot=b-1\nholdfast: pki=yes\nholdfast: binary=yes\nholdfast: spec="+spec+
		"\nholdfast: addresses=1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever 2: e0    inet 192.0.2.7/24 brd 192.0.2.255 2: e0    inet6 fe80::1/64 scope link inet\nholdfast: complete=yes\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := found{address: "m", machine: "0123", boot: "b-1", pki: true, binary: true, spec: &claim{Cluster: two, Node: "x"}, servers: []string{"x", "y"},
		addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("fe80::1")}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(found{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "holdfast: machine=1", "holdfast: record=!\nholdfast: complete=yes", "holdfast: spec=!\nholdfast: complete=yes"} {
		if _, err := parseLook("m", []byte(bad)); !errors.Is(err, sshhost.ErrAnswer) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := parseLook("m", []byte("holdfast: spec="+b64([]byte("["))+"\nholdfast: complete=yes")); err == nil {
		t.Error("a damaged spec was taken")
	}
}

// What a machine must be is what the units demand.
func TestSystemdIsTheUnits(t *testing.T) {
	if got := sshhost.DefaultRequirements("amd64").Systemd; got != units.MinSystemd {
		t.Errorf("systemd %d is asked for, the units need %d", got, units.MinSystemd)
	}
}

// TestMade: the disks of a node that was made before are never made anew by a machine that knows nothing of it, nor
// by what follows on that machine. What a machine's own first run left undone, it may do.
func TestMade(t *testing.T) {
	c := platform.Cluster{Name: one.Name, ID: one.ID, Stores: []platform.Disk{{FileSystem: "ext4"}}}
	first := recordFor(c, platform.Node{Name: "a"}, nil)
	in := recordFor(c, platform.Node{Name: "a", Known: true}, nil)
	for _, tc := range []struct {
		name string
		got  *record
		want bool
	}{
		{"the first machine", first, false},
		{"the first machine again", recordFor(c, platform.Node{Name: "a", Known: true}, first), false},
		{"a machine in its place", in, true},
		{"that one again", recordFor(c, platform.Node{Name: "a", Known: true}, in), true},
	} {
		if data, side := tc.got.Stores[0].Made, tc.got.SideDisk.Made; data != tc.want || side != tc.want {
			t.Errorf("%s: made %t and %t, want %t", tc.name, data, side, tc.want)
		}
	}
}
