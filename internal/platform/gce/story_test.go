// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// TestPlan shows what a cluster's plan is. There is what the configuration of the tests (testConfig) makes of nodes a and b,
// but for the lines of the input:
//
//	nothing
//	gone instance NODE | gone disk NODE ROLE | gone rule NAME
//	instance NODE [status=…] [type=…] [image=…] [zone=…] [subnetwork=…] [account=…] [label:K=V] [meta:K=V] [tag=…] [protected] [public] [cluster=ID]
//	disk NODE ROLE [status=…] [gb=…] [iops=…] [kind=…] [zone=…] [user=…] [label:K=V] [cluster=ID] [never-used] [destroying]
//	attached NODE ROLE [device=…] [autodelete] [gone]
//	boot NODE                      a boot disk whose machine is gone
//	rule NAME [ports=…] [disabled] [foreign]
//
// Commands: plan, with what the configuration says: [nodes=a,b] [type=…] [image=…] [gb=…] [iops=…] [stores=N] [account=…]
// [tags=…] [ssh=…] [key=… | key=none] [known=NODES] [label:K=V] [external] [protected] [address=…]; destroy.
func TestPlan(t *testing.T) {
	datadriven.Walk(t, "testdata/plan", func(t *testing.T, file string) {
		datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
			have := there(t, d)
			switch d.Cmd {
			case "plan":
				cfg, c := configured(t, d)
				p, err := planFor(cfg.want(c, cfg.network()), have)
				if err != nil {
					return refusal(err)
				}
				return p.text()
			case "destroy":
				return destruction(have)
			}
			d.Fatalf(t, "%s is not known", d.Cmd)
			return ""
		})
	})
}

// text is a plan, a stage per line.
func (p plan) text() string {
	var b strings.Builder
	write := func(t task) {
		who := "node " + t.node
		if t.node == "" {
			who = "firewall"
		}
		fmt.Fprintln(&b, who)
		for _, stage := range t.stages {
			var all []string
			for _, a := range stage {
				all = append(all, a.String())
			}
			fmt.Fprintln(&b, "  "+strings.Join(all, "\n  & "))
		}
	}
	for _, t := range p.parallel {
		write(t)
	}
	if len(p.serial) > 0 {
		fmt.Fprintln(&b, "then, one at a time:")
	}
	for _, t := range p.serial {
		write(t)
	}
	if b.Len() == 0 {
		return "nothing to do\n"
	}
	return b.String()
}

func refusal(err error) string { return "refused: " + strings.TrimSpace(err.Error()) + "\n" }

// destruction plays a destruction to its end.
func destruction(have observed) string {
	have = have.of(testID)
	var b strings.Builder
	if m := marks(have); !m.empty() {
		fmt.Fprint(&b, m.text())
	}
	for i := 1; ; i++ {
		p := removal(have)
		if p.empty() || i > 9 {
			return b.String()
		}
		fmt.Fprintf(&b, "round %d\n%s", i, p.text())
		have = have.without(p)
	}
}

// without is what is left once a removal is done.
func (o observed) without(p plan) observed {
	gone := map[string]bool{}
	for _, t := range p.parallel {
		for _, stage := range t.stages {
			for _, a := range stage {
				switch a.do {
				case deleteInstance:
					gone["i"+a.name] = true
					for _, d := range a.instance.disks {
						if d.autoDelete {
							gone["d"+d.disk] = true
						}
					}
				case deleteDisk, waitDisk:
					gone["d"+a.name] = true
				case deleteFirewall:
					gone["f"+a.name] = true
				case waitInstance:
					gone["i"+a.name] = true
				}
			}
		}
	}
	o.instances = slices.DeleteFunc(slices.Clone(o.instances), func(i instance) bool { return gone["i"+i.name] })
	o.disks = slices.DeleteFunc(slices.Clone(o.disks), func(d disk) bool { return gone["d"+d.name] })
	o.firewalls = slices.DeleteFunc(slices.Clone(o.firewalls), func(f firewall) bool { return gone["f"+f.name] })
	return o
}

// configured is the configuration of a command.
func configured(t *testing.T, d *datadriven.TestData) (Config, platform.Cluster) {
	t.Helper()
	cfg, c := testConfig().withDefaults(), testCluster("a", "b")
	each := func(f func(n *Node)) {
		for name, n := range cfg.Nodes {
			f(&n)
			cfg.Nodes[name] = n
		}
	}
	for _, arg := range d.CmdArgs {
		value := strings.Join(arg.Vals, ",")
		switch key := arg.Key; {
		case key == "known":
			for i := range c.Nodes {
				c.Nodes[i].Known = slices.Contains(arg.Vals, c.Nodes[i].Name)
			}
		case key == "nodes":
			c.Nodes = testCluster(arg.Vals...).Nodes
		case key == "type":
			each(func(n *Node) { n.MachineType = value })
		case key == "image":
			each(func(n *Node) { n.Image = value })
		case key == "gb":
			c.Stores[0].SizeBytes = number(t, value) * gib
		case key == "iops":
			cfg.Stores = []DiskKind{{Type: "hyperdisk-balanced", IOPS: number(t, value), ThroughputMiBs: 140}}
		case key == "stores":
			c.Stores = slices.Repeat(c.Stores, int(number(t, value)))
		case key == "account":
			cfg.ServiceAccount = value
		case key == "tags":
			cfg.Tags = arg.Vals
		case key == "ssh":
			cfg.SSHRanges = slices.DeleteFunc(arg.Vals, func(v string) bool { return v == "none" })
		case key == "key":
			cfg.PublicKey = strings.TrimPrefix(value, "none")
		case key == "external":
			cfg.External = true
		case key == "protected":
			cfg.DeletionProtection = true
		case key == "address":
			each(func(n *Node) { n.Address = value })
		case key == "by-account":
			cfg.ByServiceAccount = true
		case strings.HasPrefix(key, "label:"):
			cfg.Labels = map[string]string{strings.TrimPrefix(key, "label:"): value}
		default:
			d.Fatalf(t, "%s is not known", key)
		}
	}
	return cfg, c
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// made is what an apply of the configuration leaves.
func made(cfg Config, c platform.Cluster) observed {
	var o observed
	want := cfg.want(c, cfg.network())
	for n, w := range want.nodes {
		i := w.instance
		i.status, i.id, i.address, i.network = "RUNNING", uint64(n+1), fmt.Sprintf("10.128.0.%d", n+2), cfg.network()
		i.subnetwork = "projects/holdfast-test/regions/" + regionOf(i.zone) + "/subnetworks/default"
		i.disks = append([]attachment{{device: bootRole, disk: i.name, boot: true, autoDelete: true}}, i.disks...)
		o.instances = append(o.instances, i)
		boot := disk{name: i.name, zone: i.zone, labels: with(i.labels, labelDisk, bootRole), kind: DiskKind{Type: "pd-balanced"}, sizeGB: 10}
		for k, d := range append(slices.Clone(w.disks), boot) {
			d.status, d.user, d.used = "READY", i.name, true
			if k == 0 {
				d.labels = with(d.labels, labelAddress, addressLabel(i.address))
			}
			o.disks = append(o.disks, d)
		}
	}
	o.firewalls = want.firewalls
	return o
}

// there is what the input says there is.
func there(t *testing.T, d *datadriven.TestData) observed {
	t.Helper()
	o := made(testConfig().withDefaults(), testCluster("a", "b"))
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		switch words[0] {
		case "nothing":
			o = observed{}
		case "gone":
			o.remove(words[1], words[2:])
		case "instance":
			o.editInstance(t, words[1], words[2:])
		case "disk":
			o.editDisk(t, words[1], words[2], words[3:])
		case "attached":
			o.editAttachment(words[1], words[2], words[3:])
		case "boot":
			i := instanceName("orders", words[1])
			for k := range o.disks {
				if o.disks[k].name == i {
					o.disks[k].user = ""
				}
			}
			o.instances = slices.DeleteFunc(o.instances, func(x instance) bool { return x.name == i })
			o.free(i)
		case "rule":
			o.editRule(t, words[1], words[2:])
		default:
			d.Fatalf(t, "%s is not known", line)
		}
	}
	return o
}

// free has no disk be a machine's that is gone.
func (o *observed) free(name string) {
	for k := range o.disks {
		if o.disks[k].user == name {
			o.disks[k].user = ""
		}
	}
}

func (o *observed) remove(what string, words []string) {
	switch what {
	case "instance":
		name := instanceName("orders", words[0])
		o.instances = slices.DeleteFunc(o.instances, func(i instance) bool { return i.name == name })
		o.disks = slices.DeleteFunc(o.disks, func(d disk) bool { return d.name == name })
		o.free(name)
	case "disk":
		name := diskName("orders", words[0], words[1])
		o.disks = slices.DeleteFunc(o.disks, func(d disk) bool { return d.name == name })
		for k := range o.instances {
			o.instances[k].disks = slices.DeleteFunc(o.instances[k].disks, func(a attachment) bool { return a.disk == name })
		}
	case "rule":
		o.firewalls = slices.DeleteFunc(o.firewalls, func(f firewall) bool { return f.name == "holdfast-orders-"+words[0] })
	}
}

func (o *observed) editInstance(t *testing.T, node string, words []string) {
	for k := range o.instances {
		i := &o.instances[k]
		if i.name != instanceName("orders", node) {
			continue
		}
		for _, w := range words {
			key, value, _ := strings.Cut(w, "=")
			switch {
			case key == "status":
				i.status = value
			case key == "type":
				i.machineType = value
			case key == "image":
				i.image = value
				i.metadata = with(i.metadata, metaImage, value)
			case key == "zone":
				i.zone = value
			case key == "subnetwork":
				i.subnetwork = value
			case key == "account":
				i.account = value
			case key == "tag":
				i.tags = append(slices.Clone(i.tags), value)
			case key == "protected":
				i.protected = true
			case key == "public":
				i.public = true
			case key == "cluster":
				i.labels = with(i.labels, labelCluster, value)
			case strings.HasPrefix(key, "label:"):
				i.labels = with(i.labels, key[6:], value)
			case strings.HasPrefix(key, "meta:"):
				i.metadata = with(i.metadata, key[5:], value)
			default:
				t.Fatalf("%s is not known", w)
			}
		}
	}
}

func (o *observed) editDisk(t *testing.T, node, role string, words []string) {
	for k := range o.disks {
		d := &o.disks[k]
		if d.name != diskName("orders", node, role) {
			continue
		}
		d.labels = maps.Clone(d.labels)
		for _, w := range words {
			key, value, _ := strings.Cut(w, "=")
			switch {
			case key == "status":
				d.status = value
			case key == "gb":
				d.sizeGB = number(t, value)
			case key == "iops":
				d.kind.IOPS = number(t, value)
			case key == "kind":
				d.kind.Type = value
			case key == "zone":
				d.zone = value
			case key == "user":
				d.user = value
			case key == "node":
				d.labels[labelNode] = value
			case key == "cluster":
				d.labels[labelCluster] = value
			case key == "never-used":
				d.used = false
				delete(d.labels, labelAddress)
			case key == "destroying":
				d.labels[labelState] = destroying
			case strings.HasPrefix(key, "label:"):
				d.labels[key[6:]] = value
			default:
				t.Fatalf("%s is not known", w)
			}
		}
	}
}

func (o *observed) editAttachment(node, role string, words []string) {
	for k := range o.instances {
		i := &o.instances[k]
		if i.name != instanceName("orders", node) {
			continue
		}
		i.disks = slices.Clone(i.disks)
		for n := range i.disks {
			if i.disks[n].device != role {
				continue
			}
			for _, w := range words {
				key, value, _ := strings.Cut(w, "=")
				switch key {
				case "device":
					i.disks[n].device = value
				case "autodelete":
					i.disks[n].autoDelete = true
				case "gone":
					i.disks[n].disk = ""
					for m := range o.disks {
						if o.disks[m].name == diskName("orders", node, role) {
							o.disks[m].user = ""
						}
					}
				}
			}
		}
		i.disks = slices.DeleteFunc(i.disks, func(a attachment) bool { return a.disk == "" })
	}
}

func (o *observed) editRule(t *testing.T, name string, words []string) {
	o.firewalls = slices.Clone(o.firewalls)
	for k := range o.firewalls {
		f := &o.firewalls[k]
		if f.name != "holdfast-orders-"+name {
			continue
		}
		for _, w := range words {
			key, value, _ := strings.Cut(w, "=")
			switch key {
			case "ports":
				f.ports = strings.Split(value, ",")
			case "disabled":
				f.disabled = true
			case "foreign":
				f.description = "somebody's"
			default:
				t.Fatalf("%s is not known", w)
			}
		}
	}
}
