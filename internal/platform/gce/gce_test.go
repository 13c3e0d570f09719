// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/ssh"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// What Google refuses is classed by reason or code, and told with what to do.
func TestErrorClasses(t *testing.T) {
	for _, tc := range []struct {
		fault emulator.Fault
		want  error
		next  string // part of the advice
	}{
		{emulator.Fault{HTTP: emulator.QuotaExceeded("CPUS", "us-east4", 8)}, ErrQuota, "iam-admin/quotas"},
		{emulator.Fault{Operation: emulator.OperationQuotaExceeded("CPUS", "us-east4", 8)}, ErrQuota, "iam-admin/quotas"},
		{emulator.Fault{HTTP: emulator.AccessNotConfigured(testProject)}, ErrDisabled, "gcloud services enable"},
		{emulator.Fault{HTTP: emulator.Forbidden("compute.disks.create", "projects/p")}, ErrPermission, "roles/compute.instanceAdmin.v1"},
		{emulator.Fault{Operation: emulator.ZoneExhausted(testProject, "us-east4-a", "n2-standard-4", []string{"us-east4-b"})}, ErrExhausted, "us-east4-b had room"},
		{emulator.Fault{HTTP: &emulator.HTTPError{Status: 400, Reason: "invalid", Message: "No."}}, ErrInvalid, "Correct it"},
		{emulator.Fault{HTTP: &emulator.HTTPError{Status: 401, Reason: "authError", Message: "No."}}, ErrCredentials, "gcloud auth"},
		{emulator.Fault{HTTP: &emulator.HTTPError{Status: 403, Reason: "newReason", Message: "quotaExceeded, says the text."}}, ErrPermission, "roles/"},
	} {
		c := newCloud(t, emulator.Config{})
		tc.fault.Method = "compute.instances.insert"
		c.Inject(tc.fault)
		_, err := c.open().Ensure(t.Context(), testCluster("a"), nil)
		e, ok := errors.AsType[*platform.Error](err)
		if !errors.Is(err, tc.want) || !ok || !strings.Contains(e.Next, tc.next) {
			t.Errorf("%v: %v", tc.want, err)
		}
	}
}

// A temporary error is repeated with the same request ID, until RetryFor is over.
func TestRetry(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	for i := range 3 {
		c.Inject(emulator.Fault{Method: "compute.disks.insert", Target: "orders-a-side", Call: i + 1, HTTP: emulator.BackendError(500)})
	}
	c.ensure(c.open(), testCluster("a"))
	ids := map[string]int{}
	for _, call := range c.Calls() {
		if call.Method == "compute.disks.insert" && call.Name == "orders-a-side" {
			ids[call.RequestID]++
		}
	}
	if len(ids) != 1 || ids[sortedKeys(ids)[0]] != 4 {
		t.Errorf("request IDs %v, want one, four times", ids)
	}

	c.Inject(emulator.Fault{HTTP: emulator.RateLimited()})
	p := c.open(func(cfg *Config) { cfg.API.RetryFor = 20 * time.Millisecond })
	if _, err := p.Observe(t.Context()); !errors.Is(err, ErrTemporary) {
		t.Errorf("%v, want %v", err, ErrTemporary)
	}
}

// A name that somebody else has is told, and what has it stays as it is.
func TestNameTaken(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	stranger := func(name string) {
		c.behind("insert", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
			return g.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: testProject, Zone: "us-east4-a", RequestId: id,
				DiskResource: &computepb.Disk{Name: &name, SizeGb: new(int64(50)), Type: new("zones/us-east4-a/diskTypes/pd-ssd")}})
		})
	}
	stranger("orders-a-side") // of a disk
	c.behind("rule", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
		return g.firewalls.Insert(ctx, &computepb.InsertFirewallRequest{Project: testProject, RequestId: id,
			FirewallResource: &computepb.Firewall{Name: new("holdfast-orders-ssh"), Network: new("global/networks/default"), Allowed: []*computepb.Allowed{{IPProtocol: new("icmp")}}}})
	})
	err := c.open().Preflight(t.Context(), testCluster())
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "disk orders-a-side in us-east4-a") || !strings.Contains(err.Error(), "firewall rule holdfast-orders-ssh") {
		t.Errorf("%v", err)
	}
	_, err = c.open().Ensure(t.Context(), testCluster("a"), nil)
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "It was not touched") {
		t.Errorf("%v", err)
	}
	inserts := 0
	for _, call := range c.Calls() {
		if call.Method == "compute.disks.insert" && call.Name == "orders-a-side" && call.RequestID != "" {
			inserts++
		}
	}
	if inserts != 2 { // the stranger's and one of ours
		t.Errorf("%d inserts: it was tried again", inserts)
	}
	stranger("orders-b") // of a boot disk
	_, err = c.open(func(cfg *Config) { cfg.Nodes["b"] = Node{Zone: "us-east4-a"} }).Ensure(t.Context(), testCluster("b"), nil)
	if !errors.Is(err, ErrTaken) {
		t.Errorf("%v", err)
	}
	if err := c.open().Destroy(t.Context(), testID, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"firewall holdfast-orders-ssh:  from 0.0.0.0/0", "disk us-east4-a/orders-a-side:  of node , pd-ssd, 50 GB, with nobody", "disk us-east4-a/orders-b:  of node , pd-ssd, 50 GB, with nobody"}
	if diff := cmp.Diff(want, c.project().summary()); diff != "" {
		t.Error(diff)
	}
}

// Another cluster of the same name is neither adopted nor changed by one of another ID.
func TestOtherCluster(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	c.ensure(c.open(), testCluster("a"))
	before := c.project().summary()
	other := testCluster("a", "b")
	other.ID = "ffffffff-0000-4000-8000-000000000001"
	p := c.open()
	if _, err := p.Ensure(t.Context(), other, nil); !errors.Is(err, errOther) {
		t.Errorf("%v", err)
	}
	if err := p.Preflight(t.Context(), other); !errors.Is(err, errOther) {
		t.Errorf("%v", err)
	}
	if err := p.Destroy(t.Context(), other.ID, nil); err != nil {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(before, c.project().summary()); diff != "" {
		t.Error(diff)
	}
}

// Machines are stopped one at a time, each after it was agreed to, and none when one failed.
func TestOneAtATime(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	c.ensure(c.open(func(cfg *Config) { cfg.External = true }), testCluster()) // whose addresses are others after a stop
	var mu sync.Mutex
	var asked []string
	down := 0
	larger := func(cfg *Config) {
		cfg.MachineType = "n2-standard-8"
		cfg.External = true
		cfg.Disrupt = func(_ context.Context, node string, machines map[string]platform.Machine) error {
			mu.Lock()
			defer mu.Unlock()
			for _, other := range []string{"a", "b", "c"} {
				if has := len(machines[other].Stores); machines[other].Address == "" || (has > 0) != (other != node) {
					t.Errorf("before %s is stopped, %s is %+v", node, other, machines[other])
				}
			}

			asked = append(asked, node)
			for _, i := range c.project().instances {
				if i.status != "RUNNING" {
					down++
				}
			}
			if len(asked) == 2 {
				return errors.New("no leader")
			}
			return nil
		}
	}
	_, err := c.open(larger).Ensure(t.Context(), testCluster(), nil)
	if err == nil || !strings.Contains(err.Error(), "no leader") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, asked); diff != "" || down > 0 {
		t.Errorf("%d machines were down; %s", down, diff)
	}
	types := func() (out []string) {
		for _, i := range c.project().instances {
			out = append(out, i.machineType)
		}
		return out
	}
	if diff := cmp.Diff([]string{"n2-standard-8", "n2-standard-4", "n2-standard-4"}, types()); diff != "" {
		t.Error(diff)
	}
	// What disturbs nobody did not all work: no machine is stopped.
	c.Inject(emulator.Fault{Method: "compute.instances.setTags", Target: "orders-a", Call: 1, HTTP: emulator.Forbidden("compute.instances.setTags", "orders-a")})
	tagged := func(cfg *Config) { cfg.Tags = []string{"db"} }
	if _, err := c.open(larger, tagged).Ensure(t.Context(), testCluster(), nil); !errors.Is(err, ErrPermission) || len(asked) != 2 {
		t.Errorf("%v, asked %v", err, asked)
	}
	c.ensure(c.open(larger), testCluster())
	if diff := cmp.Diff([]string{"n2-standard-8", "n2-standard-8", "n2-standard-8"}, types()); diff != "" || down > 0 {
		t.Errorf("%d machines were down; %s", down, diff)
	}
}

// Deletion protection keeps the cluster; taken off by an apply, it can be destroyed.
func TestDeletionProtection(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	protected := func(cfg *Config) { cfg.DeletionProtection = true }
	c.ensure(c.open(protected), testCluster("a"))
	before := c.project().summary()
	if err := c.open(protected).Destroy(t.Context(), testID, nil); !errors.Is(err, errProtected) {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(before, c.project().summary()); diff != "" {
		t.Error(diff)
	}
	if err := c.open().Destroy(t.Context(), testID, nil); err != nil {
		t.Error(err)
	}
	if left := c.project().summary(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A destruction that was begun is ended before anything new is made in its place.
func TestDestructionIsEnded(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	c.ensure(c.open(), testCluster())
	old := c.ids()
	c.Inject(emulator.Fault{Method: "compute.disks.delete", Target: "orders-b-side", Call: 1, HTTP: emulator.Forbidden("compute.disks.delete", "orders-b-side")})
	err := c.open().Destroy(t.Context(), testID, nil)
	if !errors.Is(err, ErrPermission) {
		t.Fatalf("%v", err)
	}
	if _, id, ok, err := c.open().Adopt(t.Context()); id != testID || ok || err != nil {
		t.Errorf("adopted %s %t %v", id, ok, err)
	}
	if seen, err := c.open().Observe(t.Context()); len(seen) > 0 || err != nil {
		t.Errorf("observed %v %v", seen, err)
	}
	if pending, err := c.open().Pending(t.Context(), testCluster()); err != nil || len(pending) != 1 || !strings.HasPrefix(strings.Join(pending[""], ""), "end the destruction") {
		t.Errorf("pending %v %v", pending, err)
	}
	next := testCluster()
	next.ID = "ffffffff-0000-4000-8000-000000000001"
	c.ensure(c.open(), next)
	if diff := cmp.Diff(whole, c.project().summary()); diff != "" {
		t.Error(diff)
	}
	for name, id := range c.ids() {
		if old[name] == id {
			t.Errorf("%s is the old cluster's", name)
		}
	}
}

// A machine that does not come up is told with the end of its serial port, and the others are made.
func TestSilentMachine(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	c.guests.silent.Store("orders-b", true)
	p := c.open(func(cfg *Config) { cfg.BootTimeout = 50 * time.Millisecond })
	_, err := p.Ensure(t.Context(), testCluster(), nil)
	if !errors.Is(err, errSilent) || !strings.Contains(err.Error(), "orders-b login:") || strings.ContainsAny(err.Error(), "\r\x1b") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(whole, c.project().summary()); diff != "" {
		t.Error(diff)
	}
	if seen, err := p.Observe(t.Context()); err != nil || len(seen) != 3 || len(seen["b"].Stores) != 0 || len(seen["a"].Stores) != 1 {
		t.Errorf("observed %v %v", seen, err)
	}
	c.Guest("us-central1-a", "orders-b").SetAttribute("hostkeys", hostKeyType, hostKey)
	c.ensure(p, testCluster())
}

// So is one whose SSH server does not answer.
func TestUnreachableMachine(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	p := c.openWith(&machines{failed: errors.New("no SSH server answers")})
	_, err := p.Ensure(t.Context(), testCluster("a"), nil)
	if err == nil || !strings.Contains(err.Error(), "no SSH server answers") || !strings.Contains(err.Error(), "orders-a login:") {
		t.Errorf("%v", err)
	}
}

// Fifty nodes are looked at in little time, though each call takes 50 ms.
func TestRefreshIsQuick(t *testing.T) {
	const nodes = 50
	c := newCloud(t, emulator.Config{Quota: map[string]float64{"N2_CPUS": 1000, "INSTANCES": 1000, "SSD_TOTAL_GB": 1e6, "HDB_TOTAL_GB": 1e6, "HDB_TOTAL_IOPS": 1e6, "HDB_TOTAL_THROUGHPUT": 1e6}})
	var names []string
	many := func(cfg *Config) {
		cfg.Nodes = map[string]Node{}
		for i := range nodes {
			cfg.Nodes[fmt.Sprintf("n%02d", i)] = Node{Zone: []string{"us-east4-a", "us-west2-b", "us-central1-a"}[i%3]}
		}
		names = cfg.names()
	}
	p := c.open(many)
	c.ensure(p, testCluster(names...))
	before := len(c.Calls())
	slow := newSlow(t, c, 50*time.Millisecond)
	began := time.Now()
	q := c.open(many, func(cfg *Config) { cfg.API.Endpoint = slow })
	seen, err := q.Observe(t.Context())
	if err != nil || len(seen) != nodes {
		t.Fatalf("%d nodes, %v", len(seen), err)
	}
	first := time.Since(began)
	began = time.Now()
	if _, err := q.Pending(t.Context(), testCluster(names...)); err != nil {
		t.Fatal(err)
	}
	t.Logf("refresh %s in %d calls, plan %s", first, len(c.Calls())-before, time.Since(began))
	if calls := len(c.Calls()) - before; calls > nodes+6 {
		t.Errorf("%d calls", calls)
	}
	if first > 3*time.Second {
		t.Errorf("it took %s", first)
	}
}

// All that can be known before is told before, at once, with what to do; and nothing is made.
func TestPreflight(t *testing.T) {
	for _, tc := range []struct {
		name    string
		project emulator.Config
		change  func(*Config)
		cluster func(*platform.Cluster)
		fault   emulator.Fault
		want    []error
		says    []string
	}{
		{name: "good"},
		{name: "no zone", change: func(c *Config) { c.Nodes["a"] = Node{Zone: "us-east9-a"} }, want: []error{ErrNotFound}, says: []string{"zone us-east9-a of node a"}},
		{name: "machine type", change: func(c *Config) { c.MachineType = "n2-standard-5" }, want: []error{errMachineType}, says: []string{"n2-standard-5 in us-west2-a", "n2-standard-5 in us-east4-a"}},
		{name: "image", change: func(c *Config) { c.Image = "projects/debian-cloud/global/images/family/debian-99" }, want: []error{ErrNotFound}, says: []string{"image projects/debian-cloud/global/images/family/debian-99"}},
		{name: "architecture", change: func(c *Config) { c.Image = "projects/debian-cloud/global/images/family/debian-13-arm64" }, want: []error{errArch}},
		{name: "boot mode", change: func(c *Config) { c.Image = "projects/old/global/images/old" }, want: []error{errBoot},
			project: emulator.Config{Images: []emulator.PublicImage{{Project: "old", Name: "old", SizeGB: 10}}}},
		{name: "boot disk", change: func(c *Config) { c.BootSizeGB = 9 }, want: []error{errImageLarge}},
		{name: "network", change: func(c *Config) { c.Network = "none" }, want: []error{ErrNotFound}},
		{name: "network of another project", change: func(c *Config) { c.Network = "projects/host/global/networks/shared" }, want: []error{errForeignNet}},
		{name: "subnetwork of another region", change: func(c *Config) {
			c.Nodes["a"] = Node{Zone: "us-east4-a", Subnetwork: "regions/us-west2/subnetworks/default"}
		}, want: []error{errRegion}},
		{name: "subnetwork", change: func(c *Config) { c.Nodes["a"] = Node{Zone: "us-east4-a", Subnetwork: "none"} }, want: []error{ErrNotFound}},
		{name: "quota", project: emulator.Config{Quota: map[string]float64{"N2_CPUS": 3, "HDB_TOTAL_GB": 50, "FIREWALLS": 1}}, want: []error{ErrQuota},
			says: []string{"N2_CPUS in region us-east4", "HDB_TOTAL_GB in region us-west2", "4 are needed, 3 of 3 are free", "FIREWALLS in the project"}},
		{name: "limits", cluster: func(c *platform.Cluster) { c.SideDisk.SizeBytes = 20 * gib }, want: []error{errSideSmall}},
		{name: "IOPS", change: func(c *Config) { c.Stores = []DiskKind{{Type: "pd-ssd", IOPS: 3000}} }, want: []error{errUnasked}},
		{name: "disks of another series", change: func(c *Config) { c.MachineType = "c4-standard-4" }, want: []error{errNotTaken}, says: []string{"pd-ssd on a c4-standard-4", "hyperdisk-balanced, hyperdisk-extreme"}},
		{name: "boot disk of the series", change: func(c *Config) { c.MachineType, c.SideDisk = "c4-standard-4", DiskKind{Type: "hyperdisk-balanced"} }},
		{name: "all at once", change: func(c *Config) {
			c.Nodes["a"] = Node{Zone: "us-east9-a"}
			c.Nodes["b"] = Node{Zone: "us-central1-a", MachineType: "n9-standard-4"}
			c.SideDisk = DiskKind{Type: "pd-balanced", IOPS: 5}
		}, want: []error{ErrNotFound, errMachineType, errUnasked}},
		{name: "API disabled", fault: emulator.Fault{HTTP: emulator.AccessNotConfigured(testProject)}, want: []error{ErrDisabled}, says: []string{"gcloud services enable"}},
		{name: "no credentials", project: emulator.Config{Token: "secret"}, want: []error{ErrCredentials}, says: []string{"gcloud auth application-default login"}},
		{name: "no project", change: func(c *Config) { c.Project = "nobodys" }, want: []error{ErrNotFound}, says: []string{"project nobodys"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloud(t, tc.project)
			if tc.fault.HTTP != nil {
				c.Inject(tc.fault)
			}
			change := tc.change
			if change == nil {
				change = func(*Config) {}
			}
			cl := testCluster()
			if tc.cluster != nil {
				tc.cluster(&cl)
			}
			err := c.open(change).Preflight(t.Context(), cl)
			if (err == nil) != (len(tc.want) == 0) {
				t.Fatalf("%v", err)
			}
			for _, want := range tc.want {
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
			for _, says := range tc.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%v, want it to say %q", err, says)
				}
			}
			for _, call := range c.Calls() {
				if verb := call.Method[strings.LastIndexByte(call.Method, '.')+1:]; !slices.Contains([]string{"get", "list", "aggregatedList", "getFromFamily"}, verb) {
					t.Errorf("it called %s", call.Method)
				}
			}
		})
	}
}

// A machine of a series that has no persistent disks gets another boot disk.
func TestSeriesWithoutPersistentDisks(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	p := c.open(func(c *Config) { c.MachineType, c.SideDisk = "c4-standard-4", DiskKind{Type: "hyperdisk-balanced"} })
	c.ensure(p, testCluster("a"))
	c.settled(p, testCluster("a"))
}

// What was learned of the machines is what package ssh takes, and it leads to their agents.
func TestReachedBySSH(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	external := func(cfg *Config) { cfg.External = true }
	c.ensure(c.open(external), testCluster("a"))
	p := c.open(external)
	var got ssh.Config
	p.cfg.Connect = func(s ssh.Config) (Reached, error) {
		got = s
		return ssh.New(s)
	}
	if err := p.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := got.Nodes["a"]
	if !strings.HasPrefix(n.Address, "198.18.") || !strings.HasPrefix(n.ClusterAddress, "10.") || n.User != "ops" || !slices.Equal(n.HostKeys, []string{hostKeyType + " " + hostKey}) {
		t.Errorf("%+v", n)
	}
	if _, ok := p.wayTo("a").(agentDialer); !ok {
		t.Errorf("%T does not dial agents", p.wayTo("a"))
	}
	// What its guest agent tells later is known from then on.
	later, rsa, _ := strings.Cut(sshdtest.NewRSAKey(t).Line(), " ")
	c.Guest(c.project().instances[0].zone, "orders-a").SetAttribute("hostkeys", later, rsa)
	want := []string{hostKeyType + " " + hostKey, later + " " + rsa}
	if keys, err := n.MoreHostKeys(t.Context()); err != nil || !slices.Equal(slices.Sorted(slices.Values(keys)), want) {
		t.Errorf("told later: %q, %v", keys, err)
	}
	if err := p.look(t.Context()); err != nil || !slices.Equal(slices.Sorted(slices.Values(got.Nodes["a"].HostKeys)), want) {
		t.Errorf("known later: %q, %v", got.Nodes["a"].HostKeys, err)
	}
	// A node that has no machine is looked for once, however many ask.
	before := len(c.Calls())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := p.Node("z").DialContext(t.Context(), "tcp", "127.0.0.1:8500"); !errors.Is(err, errNoWay) {
				t.Errorf("%v", err)
			}
			if _, err := p.Node("z").Agent().Status(t.Context()); !errors.Is(err, agentapi.ErrUnreachable) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if n := len(c.Calls()) - before; n != 3 {
		t.Errorf("%d calls", n)
	}
}

// An import finds how a cluster was configured: a plan for that is empty.
func TestFind(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	if f, err := c.open().Find(t.Context()); f != nil || err != nil {
		t.Fatalf("found %+v %v", f, err)
	}
	cl := testCluster()
	cl.Stores = append(cl.Stores, platform.Disk{SizeBytes: 30 * gib, FileSystem: "xfs"})
	c.ensure(c.open(func(cfg *Config) {
		cfg.Tags, cfg.External, cfg.DeletionProtection, cfg.ByServiceAccount = []string{"db"}, true, true, true
		cfg.Stores = append(cfg.Stores, DiskKind{Type: "pd-ssd"})
		cfg.Nodes["b"] = Node{Zone: "us-central1-b", MachineType: "n2-standard-8"}
	}), cl)
	at, err := Open(Place{Project: testProject, Cluster: "orders", API: API{Endpoint: c.url}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := at.Find(t.Context())
	if err != nil || f == nil {
		t.Fatalf("found %+v %v", f, err)
	}
	if f.Cluster.ID != testID || f.Machines.Nodes["b"].Zone != "us-central1-b" || f.Cluster.Ports.HTTPS != 8501 || f.Cluster.Stores[1].SizeBytes != 30*gib {
		t.Errorf("found %+v", f)
	}
	p, err := at.For(f.Machines)
	if err != nil {
		t.Fatal(err)
	}
	c.settled(p, f.Cluster)
	if _, err := at.Ensure(t.Context(), f.Cluster, nil); !errors.Is(err, errUnsaid) {
		t.Errorf("made of what was not said: %v", err)
	}
}

// Where Google's libraries find no credentials, that is said with what to do.
func TestNoCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", t.TempDir()+"/none.json")
	p, err := New(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = p.Preflight(t.Context(), testCluster())
	if !errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), "gcloud auth application-default login") {
		t.Errorf("%v", err)
	}
}
