// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/test/terraform"
)

// TestCluster makes three bare machines a cluster with examples/ssh, does to it what
// happens to machines, and destroys it. Each part can be run alone
// (-run 'TestCluster/reboot'): the cluster is made for it, and destroyed in the end.
//
// What is asked for before there is a cluster comes first, and each mistake is
// followed by an apply that goes on. Every part leaves a cluster that is well, with
// everything that was acknowledged, and a plan that is empty.
func TestCluster(t *testing.T) {
	s := newSite(t)
	s.admit(t)
	s.configure(t, nil)
	s.override(t, "1")
	before := s.files(t)
	t.Run("bad input", func(t *testing.T) { s.testBadInput(t) })
	t.Run("foreign disk", func(t *testing.T) { s.testForeignDisk(t) })
	t.Run("connection cut", func(t *testing.T) { s.testConnectionCut(t) })
	began := time.Now()
	s.tf.Apply(t)
	t.Logf("progress:\n%s", s.tf.Told())
	s.well(t)
	t.Logf("a leader %s after the apply began", time.Since(began).Round(time.Second))
	t.Run("plan", func(t *testing.T) {
		s.tf.NothingDiffers(t)
		t.Log(s.tf.Must(t, 0, "show"))
	})
	t.Run("devices", func(t *testing.T) {
		for _, n := range s.nodes {
			sameDevices(t, n.Machine)
		}
	})
	t.Run("rates", func(t *testing.T) { s.testRates(t) })
	t.Run("agent killed", func(t *testing.T) { s.testAgentKilled(t) })
	t.Run("refused disks", func(t *testing.T) { s.testRefusedDisks(t) })
	t.Run("grow", func(t *testing.T) { s.testGrow(t) })
	t.Run("transient stalls", func(t *testing.T) { s.testTransientStalls(t) })
	t.Run("long stall", func(t *testing.T) { s.testLongStall100(t) })
	t.Run("rotation", func(t *testing.T) { s.testRotation(t) })
	t.Run("reboot", func(t *testing.T) { s.testReboot(t) })
	t.Run("power cut of one", func(t *testing.T) { s.testPowerCutOfOne(t) })
	t.Run("power cut of all", func(t *testing.T) { s.testPowerCutOfAll(t) })
	t.Run("swapped disks", func(t *testing.T) { s.testSwappedDisks(t) })
	s.testDestroy(t, before)
}

// vars are the example's variables.
type vars struct {
	Nodes              map[string]nodeVars `json:"nodes"`
	User               string              `json:"user"`
	PrivateKey         string              `json:"private_key_file"`
	DeletionProtection bool                `json:"deletion_protection"`
}

// nodeVars leaves it to one of the machines what each disk is for, as far as the example can.
type nodeVars struct {
	Address        string   `json:"address"`
	Port           int      `json:"port"`
	ClusterAddress string   `json:"cluster_address"`
	HostKeys       []string `json:"host_keys"`
	Data           string   `json:"data_serial,omitempty"`
	Side           string   `json:"side_serial,omitempty"`
}

// admit lets one key in everywhere, beside each machine's own, which every boot writes anew: the
// first machine's.
func (s *site) admit(t *testing.T) {
	t.Helper()
	for _, n := range s.nodes {
		key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.nodes[0].seed.client.public)))
		sh(t, n.Machine, "echo "+Quote(key)+" >> .ssh/authorized_keys2")
	}
}

// configure writes the variables, as change leaves them.
func (s *site) configure(t *testing.T, change func(*vars)) {
	t.Helper()
	v := vars{Nodes: map[string]nodeVars{}, User: User, PrivateKey: s.tf.File(t, "key", string(s.nodes[0].Identity()))}
	for _, n := range s.nodes {
		host, text, err := net.SplitHostPort(n.SSHAddr())
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		v.Nodes[n.Name] = nodeVars{Address: host, Port: port, ClusterAddress: n.Addr().String(),
			HostKeys: []string{pin(n)}, Data: dataSerial, Side: sideSerial}
	}
	for name, forget := range map[string]func(*nodeVars){ // one of two says which the other is
		"b": func(n *nodeVars) { n.Side = "" }, "c": func(n *nodeVars) { n.Data = "" }} {
		n := v.Nodes[name]
		forget(&n)
		v.Nodes[name] = n
	}
	if change != nil {
		change(&v)
	}
	s.tf.JSON(t, "terraform.tfvars.json", v)
}

// pin is a host key as the configuration has it.
func pin(n *node) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(n.HostKey()))) }

// override sets what the example leaves out. Emulated disks are slow: only stalls are to count.
func (s *site) override(t *testing.T, caRotation string) {
	t.Helper()
	s.tf.JSON(t, "test_override.tf.json", object{"resource": object{"holdfast_cluster": object{"this": object{
		"settings": object{"storage.wal_failover.unhealthy_op_threshold": "1s"},
		"tls":      object{"ca_rotation": caRotation},
	}}}})
}

// ours are the places where something of a node may be. The engine's user, its logs and
// the empty mount points stay after a destroy.
const ours = `sudo find / -xdev \( -path /proc -o -path /sys -o -path /var/log/journal -o -path /var/log/holdfast -o -path /srv/holdfast \) -prune -o -iname '*holdfast*' -print | sort
systemctl list-units --all --plain --no-legend 'holdfast*' 'srv-*'
systemctl list-unit-files --no-legend 'holdfast*' 'srv-*'
findmnt -rno TARGET,SOURCE -t ext4,xfs
sudo find /srv -type f
ls -d /run/*holdfast* 2>/dev/null
true`

// files is what of Holdfast is on each machine, and what is mounted.
func (s *site) files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, n := range s.nodes {
		all[n.Name] = sh(t, n.Machine, ours)
	}
	return all
}

// testDestroy destroys the cluster: the machines are what they were before it, and
// their disks are blank.
func (s *site) testDestroy(t *testing.T, before map[string]string) {
	s.tf.Must(t, 0, "destroy", "-auto-approve", "-input=false")
	after := s.files(t)
	for _, n := range s.nodes {
		if after[n.Name] != before[n.Name] {
			t.Errorf("%s was\n%s\nand is\n%s", n.Name, before[n.Name], after[n.Name])
		}
		for _, serial := range []string{dataSerial, sideSerial} {
			if !n.blank(t, serial) {
				t.Errorf("%s: disk %s is not blank", n.Name, serial)
			}
		}
	}
	if out := s.tf.Must(t, 0, "show"); !strings.Contains(out, "empty") {
		t.Errorf("the state still has %s", out)
	}
}

// testRates looks at what the agents measured of each pair of disks.
func (s *site) testRates(t *testing.T) {
	for _, n := range s.nodes {
		ctx, cancel := context.WithTimeout(t.Context(), waitMax)
		st, err := n.agent.Status(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if r := st.Rates; r == nil || len(r.Data) != 1 || r.Data[0].IOPS <= 0 || r.Side.BandwidthBytes <= 0 || r.Verdict == "" {
			t.Errorf("%s: rates %+v", n.Name, r)
		} else {
			t.Logf("%s: %s: %+v, side %+v", n.Name, r.Verdict, r.Data[0], r.Side)
		}
	}
}

// testRotation replaces CA and certificates under load through the resource: no write
// fails. Nothing secret is in state or plan, before or after it.
func (s *site) testRotation(t *testing.T) {
	issuers := func() map[string]string {
		all := map[string]string{}
		for _, n := range s.nodes {
			ctx, cancel := context.WithTimeout(t.Context(), waitMax)
			p, err := n.agent.PKI(ctx)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if len(p.CAs) != 1 || p.Certificate == nil || p.Certificate.Issuer != p.CAs[0].Fingerprint || !p.CAKey {
				t.Errorf("%s: %+v", n.Name, p)
				continue
			}
			all[n.Name] = p.CAs[0].Fingerprint
		}
		return all
	}
	before := issuers()
	l := drive(t, s, "rotation/")
	s.override(t, "2")
	s.tf.Must(t, 0, "plan", "-input=false", "-out=rotation.plan")
	s.noSecrets(t, s.tf.Must(t, 0, "show", "-json", "rotation.plan"))
	s.tf.Must(t, 0, "apply", "-input=false", "rotation.plan")
	l.GoesOn(t, "after the rotation")
	for name, after := range issuers() {
		if after == before[name] || after == "" {
			t.Errorf("%s has the CA of before the rotation: %s", name, after)
		}
	}
	l.NoneFailed(t)
	l.NothingLost(t)
	s.tf.NothingDiffers(t)
	s.noSecrets(t, s.tf.Told())
}

// noSecrets looks for keys in a text and in the state.
func (s *site) noSecrets(t *testing.T, text string) {
	t.Helper()
	states, err := filepath.Glob(filepath.Join(s.tf.Path, "terraform.tfstate*"))
	if err != nil || len(states) == 0 {
		t.Fatalf("states %v, %v", states, err)
	}
	for _, path := range states {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text += string(b)
	}
	body := strings.Split(string(s.nodes[0].Identity()), "\n")[1]
	for _, secret := range []string{"PRIVATE KEY", "AGE-SECRET-KEY", "age-encryption.org", body} {
		if strings.Contains(text, secret) {
			t.Errorf("there is %q in the state or the plan", secret)
		}
	}
}

// testConnectionCut ends the SSH connections of one machine after another at each step of
// an apply. However that ends, the next apply goes on from there.
func (s *site) testConnectionCut(t *testing.T) {
	b := s.tf.Start(t, "apply", "-auto-approve", "-input=false")
	cuts := 0
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for told, under := "", true; under; {
		select {
		case <-b.Ended:
			under = false
		case <-tick.C:
			if now := s.tf.Told(); now != told {
				told = now
				s.nodes[cuts%len(s.nodes)].cutSSH(t)
				cuts++
			}
		}
	}
	code, out := b.Wait(t)
	t.Logf("exit code %d after %d cuts:\n%s\n%s", code, cuts, tail(out, 25), s.tf.Told())
	if cuts == 0 {
		t.Error("nothing was cut")
	}
}

// cutSSH ends every SSH connection of a machine, its own among them.
func (n *node) cutSSH(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	_, _ = n.shell.run(ctx, "sudo pkill -KILL -f '^sshd: "+User+"'", nil) // its own connection is cut
	n.shell.Drop()
	n.tunnel.Drop()
}

// foreignRecord is that of a node of another cluster.
func foreignRecord(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(object{"format": "holdfast-node", "version": 1, "node": "b",
		"cluster": object{"name": "others", "id": "00000000-1111-4222-8333-444444444444"}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// testBadInput spoils one thing after the other on machines without a cluster. Each is an error that
// says what is wrong.
func (s *site) testBadInput(t *testing.T) {
	a, b := s.node("a"), s.node("b")
	of := func(change func(n *nodeVars)) func(*vars) {
		return func(v *vars) {
			n := v.Nodes["b"]
			change(&n)
			v.Nodes["b"] = n
		}
	}
	const record = "/var/lib/holdfast/node.json"
	for _, tc := range []struct {
		name        string
		vars        func(*vars)
		spoil, mend string // commands on b
		binary      string
		words       []string
	}{
		{name: "host key", vars: of(func(n *nodeVars) {
			n.HostKeys = []string{pin(a)}
		}), words: []string{"host key", ssh.FingerprintSHA256(b.HostKey())}},
		{name: "user", vars: func(v *vars) { v.User = "nobody-known" }, words: []string{"nobody-known"}},
		{name: "no sudo", vars: func(v *vars) { v.User = "plain" }, spoil: "sudo useradd -m plain && sudo cp -r .ssh ~plain/ && sudo chown -R plain ~plain/.ssh",
			mend: "sudo userdel -r plain", words: []string{"sudo"}},
		{name: "clock", spoil: "sudo date -s '+2 hours'", mend: "sudo date -s '-2 hours'", words: []string{"clock", "ahead"}},
		{name: "full disk", spoil: "sudo fallocate -l $(($(df --output=avail -B1 / | tail -1) - 200*1024*1024)) /fill",
			mend: "sudo rm /fill", words: []string{"too little room"}},
		{name: "another cluster", spoil: fmt.Sprintf("sudo mkdir -p -m 700 /var/lib/holdfast && echo %s | sudo tee %s", Quote(foreignRecord(t)), record),
			mend: "sudo rm -r /var/lib/holdfast", words: []string{"others"}},
		{name: "architecture", binary: arm(t), words: []string{"arm64", "amd64"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.configure(t, tc.vars)
			if tc.spoil != "" {
				sh(t, b.Machine, tc.spoil)
			}
			if tc.mend != "" {
				defer sh(t, b.Machine, tc.mend)
			}
			env := s.tf.Env
			defer func() { s.tf.Env = env }()
			if tc.binary != "" {
				s.tf.Env = append(env[:len(env):len(env)], "HOLDFAST_BINARY="+tc.binary)
			}
			s.tf.Refused(t, tc.words...)
		})
	}
	s.configure(t, nil)
}

// arm is the binary with another architecture in its header.
func arm(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(terraform.Built(t))
	if err != nil {
		t.Fatal(err)
	}
	const machine, aarch64 = 18, 183 // e_machine of an ELF header, its value
	b[machine], b[machine+1] = aarch64, 0
	path := filepath.Join(t.TempDir(), "holdfast")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
