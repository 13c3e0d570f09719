// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package ssh

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
)

const otherID = "99999999-2222-4333-8444-555555555555"

// specOf is spec.json of an agent.
func specOf(c platform.Cluster, node string, servers ...string) string {
	var all []string
	for _, s := range servers {
		all = append(all, fmt.Sprintf(`{"name":%q,"address":"192.0.2.1:8300","voter":true}`, s))
	}
	return fmt.Sprintf(`{"format":1,"spec":{"version":1,"cluster":{"name":%q,"id":%q},"node":%q,"servers":[%s]}}`, c.Name, c.ID, node, strings.Join(all, ","))
}

// Each refusal comes from Preflight and from Ensure, names the node, and changes nothing on
// any of the two machines: neither on the one that is refused, a, nor on b, which is well.
func TestRefused(t *testing.T) {
	t.Parallel()
	bin, _ := build(t, "1")
	withoutSudo := func(t *testing.T) string {
		dir := t.TempDir()
		for _, name := range strings.Fields("sh cat date uname head df tail tr dirname base64 sha256sum wc timeout") {
			if err := os.Symlink(filepath.Join("/usr/bin", name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, tc := range []struct {
		name    string
		options func(t *testing.T) sshdtest.Options
		spoil   func(t *testing.T, w *world, c *platform.Cluster)
		want    error
		words   []string
		early   bool // the network is looked at by Preflight alone
	}{
		{name: "wrong host key", want: sshhost.ErrHostKey, words: []string{"console"},
			spoil: func(t *testing.T, w *world, _ *platform.Cluster) {
				n := w.cfg.Nodes["a"]
				n.HostKeys = []string{sshdtest.NewKey(t).Fingerprint()}
				w.cfg.Nodes["a"] = n
			}},
		{name: "unknown host key", want: sshhost.ErrHostKeyUnknown, words: []string{"recorded at first contact"},
			spoil: func(t *testing.T, w *world, _ *platform.Cluster) {
				n := w.cfg.Nodes["a"]
				n.HostKeys = nil
				w.cfg.Nodes["a"] = n
				w.cfg.Access.KnownHosts = w.machines[0].Write(t, "known_hosts", "")
			}},
		{name: "wrong user", want: sshhost.ErrAuth, words: []string{"nobody-of-that-name@127.0.0.1"},
			spoil: func(_ *testing.T, w *world, _ *platform.Cluster) {
				n := w.cfg.Nodes["a"]
				n.User = "nobody-of-that-name"
				w.cfg.Nodes["a"] = n
			}},
		{name: "unreachable", want: sshhost.ErrUnreachable, words: []string{"firewall"},
			spoil: func(t *testing.T, w *world, _ *platform.Cluster) {
				r := sshdtest.StartRelay(t, 0, w.machines[0].Port)
				r.Down.Store(true)
				n := w.cfg.Nodes["a"]
				n.Port = r.Port
				w.cfg.Nodes["a"] = n
			}},
		{name: "no sudo", want: sshhost.ErrNoSudo, words: []string{"install sudo"},
			options: func(t *testing.T) sshdtest.Options {
				stubs, _, _ := strings.Cut(sshdtest.Stubs(t, programs(map[string]string{"id": "echo 1000"})), ":")
				return sshdtest.Options{Path: stubs + ":" + withoutSudo(t)}
			}},
		{name: "sudo wants a password", want: sshhost.ErrSudoRefused, words: []string{"without a password"},
			options: func(t *testing.T) sshdtest.Options {
				return sshdtest.Options{Path: sshdtest.Stubs(t, programs(map[string]string{"id": notRoot, "sudo": "exit 1"}))}
			}},
		{name: "old systemd", want: sshhost.ErrSystemd, words: []string{"251", "252"},
			options: func(t *testing.T) sshdtest.Options {
				return sshdtest.Options{Path: sshdtest.Stubs(t, map[string]string{"systemctl": "echo systemd 251"})}
			}},
		{name: "old kernel and wrong time", want: sshhost.ErrKernel, words: []string{"the clock is far off", "NTP", "2 things"},
			options: func(t *testing.T) sshdtest.Options {
				return sshdtest.Options{Path: sshdtest.Stubs(t, programs(map[string]string{
					"uname": `[ "$1" = -r ] && echo 4.19.0 || exec /usr/bin/uname "$@"`, "date": "echo 1700000000.000000000"}))}
			}},
		{name: "another architecture", want: sshhost.ErrArchitecture, words: []string{"GOARCH=riscv64"},
			options: func(t *testing.T) sshdtest.Options {
				return sshdtest.Options{Path: sshdtest.Stubs(t, programs(map[string]string{"uname": `[ "$1" = -m ] && echo riscv64 || exec /usr/bin/uname "$@"`}))}
			}},
		{name: "another cluster's", want: errOther, words: []string{"it is node x of cluster other (" + otherID + ")", "Use another machine"},
			spoil: func(t *testing.T, w *world, c *platform.Cluster) {
				r := recordFor(*c, platform.Node{Name: "x"}, nil)
				r.Cluster = agentapi.Cluster{Name: "other", ID: otherID}
				w.machines[0].putRecord(t, r)
			}},
		{name: "another node's", want: errOtherNode, words: []string{"it is node b of cluster demo"},
			spoil: func(t *testing.T, w *world, c *platform.Cluster) {
				w.machines[0].putRecord(t, recordFor(*c, platform.Node{Name: "b"}, nil))
			}},
		{name: "half destroyed", want: errDestroying, words: []string{"terraform destroy"},
			spoil: func(t *testing.T, w *world, c *platform.Cluster) {
				r := recordFor(*c, c.Nodes[0], nil)
				r.Destroying = true
				w.machines[0].putRecord(t, r)
			}},
		{name: "another cluster's agent", want: errOther, words: []string{"it is node x of cluster hand (" + otherID + ")"},
			spoil: func(t *testing.T, w *world, _ *platform.Cluster) {
				w.machines[0].put(t, "/var/lib/holdfast/spec.json", `{"format":1,"spec":{"version":1,"cluster":{"name":"hand","id":"`+otherID+`"},"node":"x"}}`)
			}},
		{name: "blank, but its node holds data", want: errBlank, words: []string{"node a holds data", "Correct the address"},
			spoil: func(_ *testing.T, _ *world, c *platform.Cluster) { c.Nodes[0].Known = true }},
		{name: "blank, but another's spec names its node", want: errBlank, words: []string{"node a holds data"},
			spoil: func(t *testing.T, w *world, c *platform.Cluster) {
				w.machines[1].putRecord(t, recordFor(*c, c.Nodes[1], nil))
				w.machines[1].put(t, stateDir+"/spec.json", specOf(*c, "b", "a", "b"))
			}},
		{name: "damaged record", want: errRecord, words: []string{recordPath},
			spoil: func(t *testing.T, w *world, _ *platform.Cluster) { w.machines[0].put(t, recordPath, "{}") }},
		{name: "record of another version", want: errNewer, words: []string{"version 7"},
			spoil: func(t *testing.T, w *world, _ *platform.Cluster) {
				w.machines[0].put(t, recordPath, `{"format":"holdfast-node","version":7}`)
			}},
		{name: "a node without a machine", want: errNoMachine,
			spoil: func(_ *testing.T, w *world, _ *platform.Cluster) {
				w.cfg.Nodes["z"] = w.cfg.Nodes["a"]
				delete(w.cfg.Nodes, "a")
			}},
		{name: "no forwarding", want: errForwarding, early: true, words: []string{"AllowTcpForwarding local"},
			options: func(*testing.T) sshdtest.Options {
				return sshdtest.Options{Lines: []string{"AllowTcpForwarding no"}}
			}},
		{name: "port in use", want: errPort, early: true, words: []string{"port", "ss -ltnp"},
			spoil: func(t *testing.T, _ *world, c *platform.Cluster) {
				l, err := net.Listen("tcp", net.JoinHostPort(addressOf(0), "0"))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = l.Close() })
				c.Ports.Server = l.Addr().(*net.TCPAddr).Port
			}},
		{name: "not its address", want: errAddress, early: true, words: []string{"192.0.2.7", "cluster_address"},
			options: func(t *testing.T) sshdtest.Options {
				return sshdtest.Options{Path: sshdtest.Stubs(t, programs(map[string]string{
					"ip": `echo '1: lo    inet 127.0.0.1/8 scope host lo\       valid_lft forever'; echo '2: e    inet6 2001:db8::1/64 scope global'`}))}
			},
			spoil: func(_ *testing.T, w *world, _ *platform.Cluster) {
				n := w.cfg.Nodes["a"]
				n.ClusterAddress = "192.0.2.7"
				w.cfg.Nodes["a"] = n
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var o sshdtest.Options
			if tc.options != nil {
				o = tc.options(t)
			}
			w := newWorld(t, 2, o, sshdtest.Options{})
			c := cluster(bin, "a", "b")
			if tc.spoil != nil {
				tc.spoil(t, w, &c)
			}
			var before [][]string
			for _, m := range w.machines {
				before = append(before, m.files(t))
			}
			p := open(t, w.cfg)
			err := p.Preflight(within(t), c)
			wantError(t, err, tc.want, append(tc.words, "node a: ")...)
			if strings.Contains(err.Error(), "node b:") || strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Errorf("%v", err)
			}
			if !tc.early {
				_, err := p.Ensure(within(t), c, nil)
				wantError(t, err, tc.want, append(tc.words, "node a: ")...)
			}
			for i, m := range w.machines {
				if diff := cmp.Diff(before[i], m.files(t)); diff != "" {
					t.Errorf("machine %d was changed: %s", i, diff)
				}
			}
		})
	}
}

// What is wrong with several nodes is told at once.
func TestAllAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	for _, name := range []string{"a", "c"} {
		n := w.cfg.Nodes[name]
		n.User = "stranger-" + name
		w.cfg.Nodes[name] = n
	}
	bin, _ := build(t, "1")
	err := open(t, w.cfg).Preflight(within(t), cluster(bin, "a", "b", "c"))
	wantError(t, err, sshhost.ErrAuth, "2 of 3 machines", "node a: stranger-a@", "node c: stranger-c@")
}

func TestTwoNodesOneMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	m := w.machines[0]
	second := w.cfg.Nodes["a"]
	second.Port = sshdtest.StartRelay(t, 0, m.Port).Port // another way to the same machine
	second.ClusterAddress = addressOf(1)
	w.cfg.Nodes["b"] = second
	bin, _ := build(t, "1")
	c := cluster(bin, "a", "b")
	p := open(t, w.cfg)
	wantError(t, p.Preflight(within(t), c), errTwice, "node b: ", "node a")
	_, err := p.Ensure(within(t), c, nil)
	wantError(t, err, errTwice)
	wantFiles(t, m)

	// A machine that has no id is found out by its record, which only one node can make.
	if err := os.WriteFile(m.path("/etc/machine-id"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = p.Ensure(within(t), c, nil)
	wantError(t, err, errOtherNode, "of cluster demo")
}

func TestConfig(t *testing.T) {
	key := "SHA256:" + strings.Repeat("A", 43)
	node := func(i int) Node {
		return Node{User: "u", Address: fmt.Sprintf("192.0.2.%d", i), HostKeys: []string{key}}
	}
	for name, tc := range map[string]struct {
		spoil func(*Config)
		want  error
		words []string
	}{
		"well":                {spoil: func(*Config) {}},
		"no nodes":            {func(c *Config) { c.Nodes = nil }, errNodes, nil},
		"a bad name":          {func(c *Config) { c.Nodes["-"] = node(9) }, errName, nil},
		"no user":             {func(c *Config) { c.Nodes["b"] = Node{Address: "192.0.2.9", HostKeys: []string{key}} }, sshhost.ErrConfig, []string{"node b: ", "user"}},
		"no pinned key":       {func(c *Config) { c.Nodes["b"] = Node{User: "u", Address: "192.0.2.9"} }, sshhost.ErrConfig, []string{"host key"}},
		"one address":         {func(c *Config) { n := node(1); n.ClusterAddress = "192.0.2.9"; c.Nodes["b"] = n }, errSame, []string{"node b: address", "this one and a"}},
		"one cluster address": {func(c *Config) { n := node(9); n.ClusterAddress = "::ffff:192.0.2.1"; c.Nodes["b"] = n }, errSame, []string{"cluster_address"}},
		"a name alone":        {func(c *Config) { n := node(9); n.Address = "host"; c.Nodes["b"] = n }, errNeedsIP, nil},
		"every address":       {func(c *Config) { n := node(9); n.ClusterAddress = "0.0.0.0"; c.Nodes["b"] = n }, errNoIP, nil},
		"a name for cluster":  {func(c *Config) { n := node(9); n.ClusterAddress = "host"; c.Nodes["b"] = n }, errNoIP, nil},
		"known_hosts":         {spoil: func(c *Config) { c.Access.KnownHosts = "f"; c.Nodes["b"] = Node{User: "u", Address: "192.0.2.9"} }},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Nodes: map[string]Node{"a": node(1), "c": node(3)}}
			tc.spoil(&cfg)
			p, err := New(cfg)
			if tc.want != nil {
				wantError(t, err, tc.want, tc.words...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
