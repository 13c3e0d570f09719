// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	sshlib "golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/ssh"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

const (
	testProject = "holdfast-test"
	testID      = "9b2c0000-0000-4000-8000-000000000001"
	debian      = "projects/debian-cloud/global/images/family/debian-12"
	// hostKey is what every machine of the tests has.
	hostKeyType, hostKey = "ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
)

// guests are machines that only tell their host key, as Google's guest agent does.
type guests struct {
	emulator.None
	silent sync.Map // by instance: those that tell none
}

func (g *guests) Start(_ context.Context, m emulator.Machine) error {
	fmt.Fprintf(m.Guest.Serial(1), "%s login: \r\n", m.Name)
	_, silent := g.silent.Load(m.Name)
	if _, all := g.silent.Load("*"); !silent && !all {
		m.Guest.SetAttribute("hostkeys", hostKeyType, hostKey)
	}
	return nil
}

// cloud is an emulated project.
type cloud struct {
	*emulator.Server
	t      *testing.T
	url    string
	guests *guests
	end    func() // what the test's end does
}

// newCloud starts a project. At its end no call may have violated Google's document.
func newCloud(t *testing.T, c emulator.Config) *cloud {
	t.Helper()
	out := &cloud{t: t, guests: &guests{}}
	c.Machines, c.ServiceAccounts = out.guests, []string{"node@holdfast-test.iam.gserviceaccount.com", "other@holdfast-test.iam.gserviceaccount.com"}
	s, err := emulator.New(c)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	out.Server, out.url = s, web.URL
	out.end = sync.OnceFunc(func() {
		s.Close()
		web.CloseClientConnections()
		web.Close()
		for _, call := range s.Violations() {
			t.Errorf("%s %s violates Google's document: %v", call.Method, call.Path, call.Violations)
		}
	})
	t.Cleanup(out.end)
	return out
}

// machines stand for package ssh: what it does on machines is not these tests' subject.
type machines struct {
	nodes  map[string]ssh.Node
	asked  func(platform.Cluster) // called by Ensure
	failed error                  // of Ensure; Observe then sees no disks
}

func (m *machines) Preflight(context.Context, platform.Cluster) error { return nil }

func (m *machines) Ensure(_ context.Context, c platform.Cluster, _ func(string)) (map[string]platform.Machine, error) {
	if m.asked != nil {
		m.asked(c)
	}
	if m.failed != nil {
		return nil, m.failed
	}
	out, err := m.Observe(context.Background())
	for _, n := range c.Nodes {
		if _, ok := m.nodes[n.Name]; !ok {
			return nil, fmt.Errorf("node %s has no machine", n.Name)
		}
	}
	return out, err
}

func (m *machines) Observe(context.Context) (map[string]platform.Machine, error) {
	out := map[string]platform.Machine{}
	for name, n := range m.nodes {
		one := platform.Machine{Name: name, Address: n.ClusterAddress, Stores: []platform.Directory{{Path: "/srv/holdfast/data1/store"}}}
		if m.failed != nil {
			one.Stores = nil
		}
		out[name] = one
	}
	return out, nil
}

func (m *machines) Adopt(context.Context) (string, string, bool, error) { return "", "", false, nil }
func (m *machines) Node(string) platform.Communicator                   { return nil }
func (m *machines) Destroy(context.Context, string, func(string)) error { return nil }
func (m *machines) Close() error                                        { return nil }

// open returns a platform of the project, which a change may make another one.
func (c *cloud) open(changes ...func(*Config)) *Platform {
	c.t.Helper()
	return c.openWith(&machines{}, changes...)
}

func (c *cloud) openWith(on *machines, changes ...func(*Config)) *Platform {
	c.t.Helper()
	cfg := testConfig()
	cfg.API, cfg.Access.Key = API{Endpoint: c.url, RetryFor: 10 * time.Second}, sshhost.Key{PEM: privateKey()}
	for _, change := range changes {
		change(&cfg)
	}
	cfg.Connect = func(s ssh.Config) (Reached, error) {
		return &machines{nodes: s.Nodes, asked: on.asked, failed: on.failed}, nil
	}
	p, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	p.client.first = time.Millisecond
	c.t.Cleanup(func() { _ = p.Close() })
	return p
}

// privateKey is what machines are logged in to with, in PEM form.
var privateKey = sync.OnceValue(func() []byte {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	block, err := sshlib.MarshalPrivateKey(private, "")
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(block)
})

func testConfig() Config {
	return Config{
		Place: Place{Project: testProject, Cluster: "orders", BootTimeout: 10 * time.Second},
		Machines: Machines{
			Network: "default", MachineType: "n2-standard-4", Image: debian,
			Nodes:  map[string]Node{"a": {Zone: "us-east4-a"}, "b": {Zone: "us-central1-a"}, "c": {Zone: "us-west2-a"}},
			Stores: []DiskKind{{Type: "hyperdisk-balanced", IOPS: 3000, ThroughputMiBs: 140}}, SideDisk: DiskKind{Type: "pd-ssd"},
			ServiceAccount: "node@holdfast-test.iam.gserviceaccount.com", SSHRanges: []string{"203.0.113.0/24"},
			Labels: map[string]string{"team": "orders"}, User: "ops", PublicKey: hostKeyType + " " + hostKey + " ops@desk",
		},
	}
}

func testCluster(nodes ...string) platform.Cluster {
	if len(nodes) == 0 {
		nodes = []string{"a", "b", "c"}
	}
	c := platform.Cluster{Name: "orders", ID: testID, Ports: agentapi.Ports{Server: 8300, HTTP: 8500, HTTPS: 8501},
		Stores: []platform.Disk{{SizeBytes: 100 * gib, FileSystem: "ext4"}}, SideDisk: platform.Disk{SizeBytes: 25 * gib, FileSystem: "ext4"}}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, platform.Node{Name: n})
	}
	return c
}

func (c *cloud) ensure(p *Platform, cl platform.Cluster) map[string]platform.Machine {
	c.t.Helper()
	got, err := p.Ensure(c.t.Context(), cl, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// settled fails unless the next run has nothing to do.
func (c *cloud) settled(p *Platform, cl platform.Cluster) {
	c.t.Helper()
	pending, err := p.Pending(c.t.Context(), cl)
	if err != nil || len(pending) > 0 {
		c.t.Errorf("still to do: %v; %v", pending, err)
	}
}

// project is the observation of everything in the project, whoever's it is.
func (c *cloud) project() observed {
	c.t.Helper()
	p := c.open()
	i, err := p.client.listInstances(c.t.Context(), "")
	if err != nil {
		c.t.Fatal(err)
	}
	d, err := p.client.listDisks(c.t.Context(), "")
	if err != nil {
		c.t.Fatal(err)
	}
	var f []firewall
	rows, err := all(c.t.Context(), p.client, "firewalls.list", "", func(ctx context.Context) func() (*computepb.Firewall, error) {
		return p.client.firewalls.List(ctx, &computepb.ListFirewallsRequest{Project: testProject}).Next
	})
	for _, r := range rows {
		f = append(f, firewallOf(r))
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return observed{i, d, f}
}

// summary is what there is, a line each.
func (o observed) summary() []string {
	var out []string
	for _, f := range o.firewalls {
		out = append(out, fmt.Sprintf("firewall %s: %s", f.name, f.traffic()))
	}
	for _, d := range o.disks {
		user := d.user
		if user == "" {
			user = "nobody"
		}
		out = append(out, fmt.Sprintf("disk %s/%s: %s of node %s, %s, with %s", d.zone, d.name, d.role(), d.node(), d.kind.describe(d.sizeGB), user))
	}
	for _, i := range o.instances {
		var disks []string
		for _, a := range i.disks {
			mark := ""
			if a.autoDelete {
				mark = "!"
			}
			disks = append(disks, a.device+mark)
		}
		out = append(out, fmt.Sprintf("instance %s/%s: node %s, %s, %s, disks %s", i.zone, i.name, i.node(), i.machineType, i.status, strings.Join(disks, " ")))
	}
	return out
}

// instances, disks and firewalls are Google's own clients, for what happens behind Terraform's back.
func (c *cloud) google() *client {
	c.t.Helper()
	p := c.open()
	if err := p.client.open(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return p.client
}

func (c *cloud) behind(call string, begin func(g *client, ctx context.Context, id *string) (*compute.Operation, error)) {
	c.t.Helper()
	g := c.google()
	if err := g.mutate(c.t.Context(), call, "", func(ctx context.Context, id *string) (*compute.Operation, error) { return begin(g, ctx, id) }); err != nil {
		c.t.Fatal(err)
	}
}

// sortedKeys are the keys of a map.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// newSlow is another way to the project, on which every call takes a time.
func newSlow(t *testing.T, c *cloud, latency time.Duration) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
		c.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	return web.URL
}
