// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package gce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/containers"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/guests"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/world"
	"github.com/holdfastdb/terraform-provider-holdfast/test/terraform"
)

// namePrefix begins the names of the tests' clusters: TestSweep removes what has it.
const namePrefix = "acc-"

// cloud is a project, and the way around Terraform to it.
type cloud struct {
	t       *testing.T
	project string
	name    string // of the cluster
	tf      *terraform.Dir
	key     string // file of the private key
	zones   map[string]string

	instances *compute.InstancesClient
	disks     *compute.DisksClient
	firewalls *compute.FirewallsClient
	images    *compute.ImagesClient

	// Of an emulated one alone.
	server   *emulator.Server
	machines machines
}

// machines are those of an emulated project.
type machines interface {
	emulator.Machines
	io.Closer
}

// kind is of an emulated project.
type kind struct {
	config emulator.Config
	open   func(context.Context, *world.World) (machines, error) // nil: instances are records
}

var (
	ofContainers = kind{open: func(ctx context.Context, w *world.World) (machines, error) { return containers.New(ctx, w) }}
	ofGuests     = kind{open: func(ctx context.Context, w *world.World) (machines, error) { return guests.New(ctx, w) }}
)

// records is a project without machines, for what happens before there are any.
func records(c emulator.Config) kind { return kind{config: c} }

// newCloud is a project with nothing of the test's cluster in it, and examples/gce for it.
func newCloud(t *testing.T, k kind) *cloud {
	t.Helper()
	c := &cloud{t: t, project: os.Getenv(projectVariable), zones: map[string]string{"a": "us-east4-a", "b": "us-west2-b", "c": "us-central1-a"}}
	c.name = namePrefix + strconv.FormatInt(time.Now().UnixNano()%1e9, 36)
	var options []option.ClientOption
	endpoint := ""
	if c.project == "" {
		if here == nil && k.open != nil || os.Getenv("TF_ACC") == "" {
			t.Skip(missing)
		}
		endpoint = c.emulate(k)
		options = []option.ClientOption{option.WithEndpoint(endpoint), option.WithoutAuthentication()}
	}
	c.tf = terraform.New(t, "gce")
	if endpoint != "" {
		c.tf.Env = append(c.tf.Env, "HOLDFAST_GCE_ENDPOINT="+endpoint)
	}
	c.key = filepath.Join(t.TempDir(), "key")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", c.key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.configure("private_key_file", c.key)
	c.configure("project", c.project)
	c.configure("name", c.name)
	c.configure("deletion_protection", "false")
	c.configure("zones", fmt.Sprintf(`{ a = %q, b = %q, c = %q }`, c.zones["a"], c.zones["b"], c.zones["c"]))
	if endpoint == "" { // Terraform is elsewhere
		c.configure("external_addresses", "true")
		c.configure("ssh_ranges", `["`+os.Getenv("HOLDFAST_ACC_GCE_SSH_RANGE")+`"]`)
	}
	var err error
	if c.instances, err = compute.NewInstancesRESTClient(t.Context(), options...); err != nil {
		t.Fatal(err)
	}
	if c.disks, err = compute.NewDisksRESTClient(t.Context(), options...); err != nil {
		t.Fatal(err)
	}
	if c.firewalls, err = compute.NewFirewallsRESTClient(t.Context(), options...); err != nil {
		t.Fatal(err)
	}
	if c.images, err = compute.NewImagesRESTClient(t.Context(), options...); err != nil {
		t.Fatal(err)
	}
	return c
}

// emulate starts a project of this machine, and returns its endpoint.
func (c *cloud) emulate(k kind) string {
	c.t.Helper()
	config := k.config
	config.Delay = 50 * time.Millisecond
	var err error
	if k.open != nil {
		if c.machines, err = k.open(c.t.Context(), here); err != nil {
			c.t.Fatal(err)
		}
		config.Machines = c.machines
	}
	if c.server, err = emulator.New(config); err != nil {
		c.t.Fatal(err)
	}
	c.project = "holdfast-test"
	web := httptest.NewServer(c.server)
	c.t.Cleanup(func() {
		c.server.Close()
		web.CloseClientConnections()
		web.Close()
		if c.machines != nil {
			if err := c.machines.Close(); err != nil {
				c.t.Error(err)
			}
		}
		for _, call := range c.server.Violations() {
			c.t.Errorf("%s %s violates Google's document: %v", call.Method, call.Path, call.Violations)
		}
	})
	c.t.Cleanup(func() { // first: machines can be asked
		if c.t.Failed() && c.machines != nil {
			c.tell()
		}
	})
	return web.URL
}

// tell shows what machines have to say of a failure.
func (c *cloud) tell() {
	const ask = `sudo journalctl --no-pager --lines=60 --unit=holdfast-agent --unit=holdfast-engine; ls -l /dev/disk/by-id; lsblk -f; findmnt -t ext4,xfs`
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), time.Minute)
	defer cancel()
	for name := range c.zones {
		i, err := c.instances.Get(ctx, &computepb.GetInstanceRequest{Project: c.project, Zone: c.zones[name], Instance: c.name + "-" + name})
		if err != nil || i.GetStatus() != "RUNNING" {
			c.t.Logf("---- %s: %s %v", name, i.GetStatus(), err)
			continue
		}
		shell := c.shell(i)
		out, err := shell.Run(ctx, ask)
		shell.Drop()
		c.t.Logf("---- %s: %v\n%s", name, err, out)
		serial, err := c.instances.GetSerialPortOutput(ctx, &computepb.GetSerialPortOutputInstanceRequest{Project: c.project, Zone: c.zones[name], Instance: i.GetName()})
		c.t.Logf("---- %s, console: %v\n%s", name, err, terraform.Tail(serial.GetContents(), 20))
	}
}

// configure sets a variable of the example, as it is written in a file of variables.
func (c *cloud) configure(name, value string) {
	c.t.Helper()
	if !strings.ContainsAny(value[:1], `[{"`) && value != "true" && value != "false" {
		value = strconv.Quote(value)
	}
	c.tf.File(c.t, name+".auto.tfvars", name+" = "+value+"\n")
}

// plan is what a plan says, which has to find a difference.
func (c *cloud) plan() string {
	c.t.Helper()
	return c.tf.Must(c.t, 2, "plan", "-detailed-exitcode", "-input=false")
}

// done waits for an operation.
func (c *cloud) done(op *compute.Operation, err error) {
	c.t.Helper()
	if err == nil {
		err = op.Wait(c.t.Context())
	}
	if err == nil && op.Proto().GetError() != nil {
		err = fmt.Errorf("%v", op.Proto().GetError())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) instance(node string) *computepb.Instance {
	c.t.Helper()
	i, err := c.instances.Get(c.t.Context(), &computepb.GetInstanceRequest{Project: c.project, Zone: c.zones[node], Instance: c.name + "-" + node})
	if err != nil {
		c.t.Fatal(err)
	}
	return i
}

// ids are the disks of nodes: whatever is done to machines, they are the same.
func (c *cloud) ids() map[string]uint64 {
	c.t.Helper()
	all := map[string]uint64{}
	for it := c.disks.AggregatedList(c.t.Context(), &computepb.AggregatedListDisksRequest{Project: c.project, Filter: new("labels.holdfast-name=" + c.name)}); ; {
		pair, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return all
		}
		if err != nil {
			c.t.Fatal(err)
		}
		for _, d := range pair.Value.GetDisks() {
			if d.GetLabels()["holdfast-disk"] != "boot" {
				all[d.GetName()] = d.GetId()
			}
		}
	}
}

// left is what the project has of the cluster, by name.
func (c *cloud) left() []string {
	c.t.Helper()
	var all []string
	for name := range c.ids() {
		all = append(all, "disk "+name)
	}
	for it := c.instances.AggregatedList(c.t.Context(), &computepb.AggregatedListInstancesRequest{Project: c.project, Filter: new("labels.holdfast-name=" + c.name)}); ; {
		pair, err := it.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			c.t.Fatal(err)
		}
		for _, i := range pair.Value.GetInstances() {
			all = append(all, "instance "+i.GetName())
		}
	}
	for it := c.firewalls.List(c.t.Context(), &computepb.ListFirewallsRequest{Project: c.project}); ; {
		f, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return all
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if strings.HasPrefix(f.GetName(), "holdfast-"+c.name+"-") {
			all = append(all, "firewall rule "+f.GetName())
		}
	}
}
