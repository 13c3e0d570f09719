// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/steps"
)

// onMachines is threeNodes on machines over SSH.
func onMachines() desired {
	d := threeNodes()
	d.location = env.Location{Machines: map[string]env.Machine{}}
	for name, address := range map[string]string{"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"} {
		d.location.Machines[name] = env.Machine{User: "ops", Address: address, Port: 22}
	}
	d.tls, d.ports.HTTPS = &agentapi.TLS{}, 8501
	return d
}

// TestRefusalsOnMachines: of a cluster on machines, what is only how it is reached, and
// the least sizes of its disks, change in place.
func TestRefusalsOnMachines(t *testing.T) {
	machine := func(d *desired, name string, change func(*env.Machine)) {
		m := d.location.Machines[name]
		change(&m)
		d.location.Machines[name] = m
	}
	for name, tc := range map[string]struct {
		change func(*desired)
		want   []string // at: why
	}{
		"nothing": {change: func(*desired) {}},
		"what changes in place": {change: func(d *desired) {
			machine(d, "a", func(m *env.Machine) { m.Address, m.ClusterAddress = "a.example.com", "10.0.0.1" })
			machine(d, "b", func(m *env.Machine) { m.User, m.Port, m.HostKeys = "root", 2222, []string{"SHA256:x"} })
			d.sideGB, d.stores[0].sizeGB = 100, 5
			setNode(d, "c", func(n *desiredNode) { n.side.Match.Serial = "S1" })
			d.tls, d.caRotation = &agentapi.TLS{Hosts: []string{"kv"}, Rotation: "2"}, "2"
			d.provision = []agentapi.Step{{Name: "tune"}}
		}},
		"another machine for the others": {change: func(d *desired) {
			machine(d, "a", func(m *env.Machine) { m.Address = "10.0.0.9" })
		}, want: []string{`nodes.a.cluster_address: nodes.a.cluster_address: "10.0.0.1" → "10.0.0.9": the servers know each other by it, and changes of membership are not built yet`}},
		"no certificates": {change: func(d *desired) { d.tls, d.ports.HTTPS = nil, 0 }, want: []string{
			`ports.https: ports.https: "8501" → "0": clients and endpoints depend on it`,
			`tls: tls: "true" → "false": the servers speak to each other with certificates or without`}},
		"a file system": {change: func(d *desired) { d.stores[0].fileSystem = filesystemXFS },
			want: []string{`stores.0.filesystem: stores.0.filesystem: "ext4" → "xfs": it would be made anew, and the store's data would be lost`}},
		"this machine": {change: func(d *desired) { *d = threeNodes() }, want: []string{
			`local.directory: local.directory: "" → "/srv/orders": the disks are there, and processes run on them`,
			`ports.https: ports.https: "8501" → "0": clients and endpoints depend on it`,
			`tls: tls: "true" → "false": the servers speak to each other with certificates or without`}},
	} {
		t.Run(name, func(t *testing.T) {
			old, want := onMachines(), onMachines()
			tc.change(&want)
			var got []string
			for _, p := range refusals(old, want, nil) {
				got = append(got, p.At+": "+p.Why)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestStrangers: a machine that knows nothing of a node that holds data is refused; one
// that does not answer, and one of a node that was never made, are not.
func TestStrangers(t *testing.T) {
	d, effective := onMachines(), asWanted(onMachines())
	all := machines(d)
	without := func(names ...string) map[string]platform.Machine {
		some := maps.Clone(all)
		for _, name := range names {
			delete(some, name)
		}
		return some
	}
	if p := strangers(d, effective, all); p != nil {
		t.Errorf("all are there: %v", p)
	}
	p := strangers(d, effective, without("b", "c"))
	if p == nil || !strings.Contains(p.Why, "node b: nothing at 10.0.0.2") || !strings.Contains(p.Why, "node c: nothing at 10.0.0.3") {
		t.Errorf("two are blank: %v", p)
	}
	if p := strangers(d, effective, nil); p != nil {
		t.Errorf("none could be seen: %v", p)
	}
	delete(effective, "c")
	if p := strangers(d, effective, without("c")); p != nil {
		t.Errorf("c was never made: %v", p)
	}
	if p := strangers(threeNodes(), asWanted(threeNodes()), without("a")); p != nil {
		t.Errorf("on this machine the platform knows: %v", p)
	}
}

// TestRestsFirst: no certificate is touched while an agent is at work on what an earlier apply
// asked for, and the platform is told which nodes hold data.
func TestRestsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := onMachines()
		rest := agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineRunning}}
		b := &fakeAgent{status: agentapi.Status{Converging: &agentapi.Converging{Since: time.Now()}}}
		p := &fakePlatform{machines: machines(d), agents: map[string]*fakeAgent{"a": {status: rest}, "b": b, "c": {status: rest}}}
		p.serve(t)
		effective := asWanted(d)
		delete(effective, "c")
		w := &work{platform: p, want: d, id: "an id", effective: effective, step: func(string, ...any) {}}
		bound, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.converge(bound); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "node b: the agent is at work") {
			t.Errorf("got %v", err)
		}
		for name, a := range p.agents {
			if a.pki > 0 {
				t.Errorf("node %s was asked for certificates", name)
			}
		}
		b.set(func(s *agentapi.Status) { s.Converging = nil })
		if err := w.converge(t.Context()); err == nil || !strings.Contains(err.Error(), "no certificates here") {
			t.Errorf("got %v", err)
		}
		known := map[string]bool{}
		for _, n := range p.asked.Nodes {
			known[n.Name] = n.Known
		}
		if diff := cmp.Diff(map[string]bool{"a": true, "b": true, "c": false}, known); diff != "" {
			t.Error(diff)
		}
	})
}

// TestAdopted: a configuration that takes over a cluster of which there is no state is compared
// with what the agents were told, before a machine is taken and before a spec is sent.
func TestAdopted(t *testing.T) {
	for name, tc := range map[string]struct {
		silent []string
		change func(*desired)
		want   []string // at
	}{
		"nothing":        {change: func(*desired) {}},
		"one is silent":  {silent: []string{"b"}, change: func(*desired) {}},
		"all are silent": {silent: []string{"a", "b", "c"}, change: func(d *desired) { delete(d.nodes, "c") }}, // asked again later
		"what may change": {change: func(d *desired) {
			d.location.Machines["a"] = env.Machine{User: "root", Address: "a.example.com", ClusterAddress: "127.0.9.1"}
			d.sideGB, d.mode = 100, modeSideDisk
		}},
		"another node": {silent: []string{"d"}, change: func(d *desired) {
			d.nodes["d"] = d.nodes["a"]
			d.location.Machines["d"] = env.Machine{User: "ops", Address: "127.0.9.4"}
		}, want: []string{"nodes"}},
		"another machine": {change: func(d *desired) {
			d.location.Machines["a"] = env.Machine{User: "ops", Address: "127.0.9.9"}
		}, want: []string{"nodes.a.cluster_address"}},
		"another file system": {change: func(d *desired) { d.stores[0].fileSystem = filesystemXFS }, want: []string{"stores.0.filesystem"}},
		"another backend":     {change: func(d *desired) { setBackend(d, "boltdb") }, want: []string{"raft_logstore.backend", "raft_logstore.backend", "raft_logstore.backend"}},
		"no vote":             {change: func(d *desired) { setNode(d, "c", func(n *desiredNode) { n.voter = false }) }, want: []string{"nodes.c.voter"}},
	} {
		t.Run(name, func(t *testing.T) {
			was := onMachines()
			there := asFound(was)
			p := &fakePlatform{machines: there, agents: map[string]*fakeAgent{}}
			for _, n := range was.names() {
				was.location.Machines[n] = env.Machine{User: "ops", Address: there[n].Address}
				if !slices.Contains(tc.silent, n) {
					p.agents[n] = &fakeAgent{status: answer(t, was, n)}
					p.agents[n].status.Spec = was.specs("an id", there)[n]
				}
			}
			p.serve(t)
			want := onMachines()
			want.location.Machines = maps.Clone(was.location.Machines)
			tc.change(&want)
			all, err := unlike(t.Context(), p, want, "an id")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range all {
				got = append(got, p.At)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n%v", diff, all)
			}
			w := &work{platform: p, want: want, id: "an id", adopted: true, step: func(string, ...any) {}}
			if err := w.sameAgain(t.Context()); (err != nil) != (len(tc.want) > 0) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// asFound are the machines of d as a platform finds them: their agents make the disks.
func asFound(d desired) map[string]platform.Machine {
	all := machines(d)
	for name, m := range all {
		for i, s := range m.Stores {
			m.Stores[i].Device, m.Stores[i].Disk = "", &agentapi.Disk{FileSystem: s.FileSystem, Mount: s.Path, MinSizeBytes: s.SizeBytes}
		}
		m.SideDisk.Device, m.SideDisk.Disk = "", &agentapi.Disk{FileSystem: filesystemExt4, Mount: m.SideDisk.Path, MinSizeBytes: m.SideDisk.SizeBytes}
		all[name] = m
	}
	return all
}

// TestDisksAsAskedFor: a spec asks for the disks of the configuration, not for those that the last
// apply recorded; on machines whose disks the platform made there is nothing to ask for.
func TestDisksAsAskedFor(t *testing.T) {
	d := onMachines()
	there := asFound(d)
	d.stores[0], d.sideGB = desiredStore{sizeGB: 50, fileSystem: filesystemXFS}, 70
	device := platform.Device{Match: agentapi.DiskMatch{Serial: "S9"}, Wipe: &agentapi.DiskContent{Type: "ext4", UUID: "u"}}
	setNode(&d, "a", func(n *desiredNode) {
		n.disks, n.side = []platform.Device{device}, platform.Device{Match: agentapi.DiskMatch{Name: "sdz"}}
	})
	s := d.specs("an id", there)["a"]
	want := []*agentapi.Disk{
		{Match: device.Match, Wipe: device.Wipe, FileSystem: "xfs", Mount: there["a"].Stores[0].Path, MinSizeBytes: 50 * gib},
		{Match: agentapi.DiskMatch{Name: "sdz"}, FileSystem: "ext4", Mount: there["a"].SideDisk.Path, MinSizeBytes: 70 * gib},
	}
	if diff := cmp.Diff(want, []*agentapi.Disk{s.Stores[0].Disk, s.SideDisk.Disk}); diff != "" {
		t.Error(diff)
	}
	if s := d.specs("an id", machines(d))["a"]; s.Stores[0].Disk != nil || s.SideDisk.Disk != nil {
		t.Errorf("%+v", s)
	}
}

// configured is what a configuration of a cluster means.
func configured(t *testing.T, config string) desired {
	t.Helper()
	s := clusterSchema(t.Context())
	v, err := (&tfprotov6.DynamicValue{JSON: []byte(config)}).Unmarshal(s.Type().TerraformType(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	var m model
	ds := (&tfsdk.Plan{Raw: v, Schema: s}).Get(t.Context(), &m)
	var more diag.Diagnostics
	d, ok := m.desired(t.Context(), &more)
	if ds.HasError() || more.HasError() || !ok {
		t.Fatalf("%t, %v, %v", ok, ds, more)
	}
	return d
}

const (
	planned = `"name": "orders", "ports": {"server": 8300, "http": 8500, "https": 8501}, "side_disk": {"size_gb": 25, "match": {"serial": "SIDE"}},
"raft_logstore": {"backend": "wal", "disable_log_cache": false, "verification": {"enabled": false, "interval": "60s"}, "boltdb": {"no_freelist_sync": false}, "wal": {"segment_size_mb": 64}},
"wal_failover": {"mode": "disabled"}, "log": {"level": "info"}, "server": {"leave_on_terminate": false, "skip_leave_on_interrupt": true, "rejoin_after_leave": true},
"stores": [{"disk": {"size_gb": 10, "match": {"name": "sdb"}, "wipe": {"type": "ext4", "uuid": "1"}}, "filesystem": "ext4"}, {"disk": {"size_gb": 20}, "filesystem": "xfs"}]`
	overSSH = `"ssh": {"user": "ops", "port": 2200}`
)

// TestConfigured: what a node says goes before what the cluster says, and certificates
// are there wherever others than the machine itself reach a node.
func TestConfigured(t *testing.T) {
	d := configured(t, `{`+planned+`, `+overSSH+`, "tls": {"ca_rotation": "1"}, "nodes": {
		"a": {"voter": true, "address": "10.0.0.1"},
		"b": {"voter": true, "address": "b.example.com", "cluster_address": "10.0.0.2", "user": "root", "port": 22, "host_keys": ["SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"],
		      "stores": [{"match": {"wwn": "w"}}, {"wipe": {"type": "xfs", "uuid": "2"}}], "side_disk": {"match": {"size_bytes": 7}}}}}`)
	where := "ssh:a=ops@10.0.0.1:2200,b=root@b.example.com/10.0.0.2#SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
	if d.location.String() != where || d.tls == nil || d.caRotation != "1" || d.ports.HTTPS != 8501 {
		t.Errorf("%+v", d)
	}
	sdb := platform.Device{Match: agentapi.DiskMatch{Name: "sdb"}, Wipe: &agentapi.DiskContent{Type: "ext4", UUID: "1"}}
	want := platform.Cluster{Name: "orders", ID: "an id", Ports: d.ports, Binary: "/holdfast",
		Stores:   []platform.Disk{{SizeBytes: 10 * gib, FileSystem: "ext4"}, {SizeBytes: 20 * gib, FileSystem: "xfs"}},
		SideDisk: platform.Disk{SizeBytes: 25 * gib, FileSystem: "ext4"},
		Nodes: []platform.Node{
			{Name: "a", Stores: []platform.Device{sdb, {}}, SideDisk: platform.Device{Match: agentapi.DiskMatch{Serial: "SIDE"}}},
			{Name: "b", Stores: []platform.Device{{Match: agentapi.DiskMatch{WWN: "w"}, Wipe: sdb.Wipe}, {Wipe: &agentapi.DiskContent{Type: "xfs", UUID: "2"}}},
				SideDisk: platform.Device{Match: agentapi.DiskMatch{SizeBytes: 7}}},
		}}
	if diff := cmp.Diff(want, d.platform("an id", "/holdfast", nil)); diff != "" {
		t.Error(diff)
	}
	if got := d.endpoints(map[string]platform.Machine{"b": {Address: "10.0.0.2"}, "a": {Address: "fd00::1"}}); got["b"] != "https://10.0.0.2:8501" || got["a"] != "https://[fd00::1]:8501" {
		t.Errorf("%v", got)
	}

	// Another way to write an address is no other place.
	a := configured(t, `{`+planned+`, `+overSSH+`, "nodes": {"a": {"voter": true, "address": "FD00:0::1"}, "b": {"voter": true, "address": "B.example.com", "cluster_address": "::ffff:10.0.0.2"}}}`)
	b := configured(t, `{`+planned+`, `+overSSH+`, "nodes": {"a": {"voter": true, "address": "fd00::1"}, "b": {"voter": true, "address": "b.example.com", "cluster_address": "10.0.0.2"}}}`)
	if diff := cmp.Diff(b.location, a.location); diff != "" || refusals(a, b, nil) != nil {
		t.Errorf("%s\n%v", diff, refusals(a, b, nil))
	}

	for nodes, secured := range map[string]bool{
		`"a": {"voter": true, "address": "10.0.0.1"}`:                                                                             true,
		`"a": {"voter": true, "address": "127.0.0.1", "cluster_address": "10.0.0.1"}`:                                             true,
		`"a": {"voter": true, "address": "127.0.0.1"}`:                                                                            false,
		`"a": {"voter": true, "address": "10.0.0.1", "cluster_address": "127.0.0.2"}, "b": {"voter": true, "address": "fd00::2"}`: true,
	} {
		d := configured(t, `{`+planned+`, `+overSSH+`, "nodes": {`+nodes+`}}`)
		if (d.tls != nil) != secured || (d.ports.HTTPS != 0) != secured {
			t.Errorf("%s: certificates %v, port %d", nodes, d.tls, d.ports.HTTPS)
		}
	}
	d = configured(t, `{`+strings.NewReplacer(`, "match": {"serial": "SIDE"}`, "", `, "match": {"name": "sdb"}, "wipe": {"type": "ext4", "uuid": "1"}`, "").Replace(planned)+
		`, "local": {"directory": "/srv/orders"}, "nodes": {"a": {"voter": true}}}`)
	if d.tls != nil || d.ports.HTTPS != 0 || d.location.String() != "local:/srv/orders" {
		t.Errorf("on this machine: %+v", d)
	}
}

// TestSteps: a step of a configuration is the agent's, and the other way round.
func TestSteps(t *testing.T) {
	d := configured(t, `{`+planned+`, `+overSSH+`, "nodes": {"a": {"voter": true, "address": "10.0.0.1"}}, "provision": [
		{"name": "f", "only": ["a"], "pause_before": "1s", "then": "all", "file": {"path": "/etc/f", "template": "{{.v}}{{.s}}", "vars": {"v": "1"}, "secret_vars": {"s": "x"}, "owner": "root", "group": "adm", "mode": "0640"}},
		{"name": "s", "except": ["a"], "timeout": "2m", "retries": 3, "backoff": "2s", "shell": {"inline": ["a", "b"], "env": {"E": "1"}, "secret_env": {"S": "x"}, "user": "ops", "dir": "/tmp", "valid_exit_codes": [0, 3]}},
		{"name": "c", "file": {"path": "/etc/c", "content": "c"}}, {"name": "t", "shell": {"script": "true"}}]}`)
	want := []agentapi.Step{
		{Name: "f", Only: []string{"a"}, PauseBefore: "1s", Then: "all", File: &agentapi.FileStep{Path: "/etc/f", Template: "{{.v}}{{.s}}", Vars: map[string]string{"v": "1"}, SecretVars: map[string]string{"s": "x"}, Owner: "root", Group: "adm", Mode: "0640"}},
		{Name: "s", Except: []string{"a"}, Timeout: "2m", Retries: 3, Backoff: "2s", Shell: &agentapi.ShellStep{Inline: []string{"a", "b"}, Env: map[string]string{"E": "1"}, SecretEnv: map[string]string{"S": "x"}, User: "ops", Dir: "/tmp", ValidExitCodes: []int{0, 3}}},
		{Name: "c", File: &agentapi.FileStep{Path: "/etc/c", Content: "c"}}, {Name: "t", Shell: &agentapi.ShellStep{Script: "true"}},
	}
	if diff := cmp.Diff(want, d.provision); diff != "" {
		t.Error(diff)
	}
	for _, s := range want {
		if diff := cmp.Diff(s, steps.Of(s).Spec()); diff != "" {
			t.Errorf("there and back: %s", diff)
		}
	}
}
