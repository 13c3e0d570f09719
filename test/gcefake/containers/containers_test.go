// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package containers_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"golang.org/x/crypto/ssh"
	"google.golang.org/api/option"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/containers"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/world"
	"github.com/holdfastdb/terraform-provider-holdfast/test/vm"
)

// here is the inside that all tests of this run share; nil where this machine has none, and missing says why.
var (
	here    *world.World
	missing error
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if !world.Inside() {
		code, err := 1, containers.Prepare(context.Background())
		if err == nil {
			code, err = world.Enter(context.Background(), nil)
		}
		if errors.Is(err, world.ErrMissing) || errors.Is(err, vm.ErrMissing) {
			missing = err
			return m.Run() // they are skipped
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	}
	var err error
	if here, err = world.Open(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := here.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

const (
	project = "holdfast-test"
	zone    = "us-east4-a"
	debian  = "projects/debian-cloud/global/images/family/debian-12"
)

// cloud is a project with machines.
type cloud struct {
	*testing.T
	machines  *containers.Containers
	instances *compute.InstancesClient
	disks     *compute.DisksClient
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	if here == nil {
		t.Skip(missing)
	}
	machines, err := containers.New(t.Context(), here)
	if err != nil {
		t.Fatal(err)
	}
	server, err := emulator.New(emulator.Config{Machines: machines})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		server.Close()
		web.CloseClientConnections()
		web.Close()
		if err := machines.Close(); err != nil {
			t.Error(err)
		}
	})
	options := []option.ClientOption{option.WithEndpoint(web.URL), option.WithoutAuthentication()}
	c := &cloud{T: t, machines: machines}
	if c.instances, err = compute.NewInstancesRESTClient(t.Context(), options...); err != nil {
		t.Fatal(err)
	}
	if c.disks, err = compute.NewDisksRESTClient(t.Context(), options...); err != nil {
		t.Fatal(err)
	}
	return c
}

// done waits for an operation.
func (c *cloud) done(op *compute.Operation, err error) {
	c.Helper()
	if err == nil {
		err = op.Wait(c.Context())
	}
	if err == nil && op.Proto().GetError() != nil {
		err = fmt.Errorf("%v", op.Proto().GetError())
	}
	if err != nil {
		c.Fatal(err)
	}
}

func (c *cloud) disk(name string) {
	c.Helper()
	c.done(c.disks.Insert(c.Context(), &computepb.InsertDiskRequest{Project: project, Zone: zone, DiskResource: &computepb.Disk{
		Name: &name, SizeGb: new(int64(10)), Type: new("zones/" + zone + "/diskTypes/pd-ssd")}}))
}

func attached(name, device string) *computepb.AttachedDisk {
	return &computepb.AttachedDisk{Source: new("projects/" + project + "/zones/" + zone + "/disks/" + name), DeviceName: &device}
}

// machine makes an instance with a data disk.
func (c *cloud) machine(name, keys string) {
	c.Helper()
	c.disk(name + "-data")
	c.done(c.instances.Insert(c.Context(), &computepb.InsertInstanceRequest{Project: project, Zone: zone, InstanceResource: &computepb.Instance{
		Name: &name, MachineType: new("zones/" + zone + "/machineTypes/n2-standard-4"),
		Disks: []*computepb.AttachedDisk{
			{Boot: new(true), AutoDelete: new(true), InitializeParams: &computepb.AttachedDiskInitializeParams{SourceImage: new(debian)}}, attached(name+"-data", "data-1")},
		NetworkInterfaces: []*computepb.NetworkInterface{{Network: new("global/networks/default"), AccessConfigs: []*computepb.AccessConfig{{Type: new("ONE_TO_ONE_NAT")}}}},
		Metadata:          metadataOf(keys, ""),
	}}))
}

func metadataOf(keys, fingerprint string) *computepb.Metadata {
	m := &computepb.Metadata{Items: []*computepb.Items{{Key: new("ssh-keys"), Value: &keys}, {Key: new("enable-guest-attributes"), Value: new("TRUE")}}}
	if fingerprint != "" {
		m.Fingerprint = &fingerprint
	}
	return m
}

func (c *cloud) get(name string) *computepb.Instance {
	c.Helper()
	i, err := c.instances.Get(c.Context(), &computepb.GetInstanceRequest{Project: project, Zone: zone, Instance: name})
	if err != nil {
		c.Fatal(err)
	}
	return i
}

// hostKey waits for what the guest agent says of the machine's key.
func (c *cloud) hostKey(name string) (key ssh.PublicKey) {
	c.Helper()
	c.eventually(func() error {
		got, err := c.instances.GetGuestAttributes(c.Context(), &computepb.GetGuestAttributesInstanceRequest{Project: project, Zone: zone, Instance: name, QueryPath: new("hostkeys/")})
		if err != nil {
			return err
		}
		for _, item := range got.GetQueryValue().GetItems() {
			if key, _, _, _, err = ssh.ParseAuthorizedKey([]byte(item.GetKey() + " " + item.GetValue())); err == nil && key.Type() == ssh.KeyAlgoED25519 {
				return nil
			}
		}
		return fmt.Errorf("no ed25519 key in %v: %w", got, err)
	})
	return key
}

// sh runs a command over SSH, once that is possible.
func (c *cloud) sh(address string, key ssh.PublicKey, as sshdtest.Key, command string) (out string) {
	c.Helper()
	c.eventually(func() error {
		client, err := ssh.Dial("tcp", net.JoinHostPort(address, "22"), &ssh.ClientConfig{User: "ops", Auth: []ssh.AuthMethod{ssh.PublicKeys(as.Signer)},
			HostKeyAlgorithms: []string{key.Type()}, HostKeyCallback: ssh.FixedHostKey(key), Timeout: 5 * time.Second})
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		session, err := client.NewSession()
		if err != nil {
			return err
		}
		b, err := session.CombinedOutput(command)
		if out = string(b); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return nil
	})
	return out
}

func (c *cloud) eventually(ask func() error) {
	c.Helper()
	end := time.After(90 * time.Second)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-end:
			c.Fatalf("%v\n%s", err, c.console())
		case <-tick.C:
		}
	}
}

// console is what machines said.
func (c *cloud) console() string {
	out, err := c.instances.GetSerialPortOutput(c.Context(), &computepb.GetSerialPortOutputInstanceRequest{Project: project, Zone: zone, Instance: "vm"})
	if err != nil {
		return err.Error()
	}
	return out.GetContents()
}

// TestMachine: an instance is a Debian that Google's guest agent makes users and host keys for, with its disks under
// Google's names, plugged and grown while it runs; what is on disks stays over a stop.
func TestMachine(t *testing.T) {
	c := newCloud(t)
	first, second := sshdtest.NewKey(t), sshdtest.NewKey(t)
	c.machine("vm", "ops:"+first.Line())
	address := c.get("vm").GetNetworkInterfaces()[0].GetNetworkIP()
	key := c.hostKey("vm")
	if out := c.sh(address, key, first, "sudo -n id -u; hostname; systemctl is-active dbus"); out != "0\nvm\nactive\n" {
		t.Errorf("logged in: %q", out)
	}
	if external := c.get("vm").GetNetworkInterfaces()[0].GetAccessConfigs()[0].GetNatIP(); c.sh(external, key, first, "true") != "" {
		t.Errorf("by the external address %s", external)
	}
	c.sh(address, key, first, "sudo mkfs.ext4 -q -L kept /dev/disk/by-id/google-data-1 && sudo mount -L kept /mnt && echo here | sudo tee /mnt/file /root/file >/dev/null; sync")

	c.disk("vm-side")
	c.done(c.instances.AttachDisk(c.Context(), &computepb.AttachDiskInstanceRequest{Project: project, Zone: zone, Instance: "vm", AttachedDiskResource: attached("vm-side", "side")}))
	const sizes = "for d in data-1 side; do sudo blockdev --getsize64 /dev/disk/by-id/google-$d; done"
	if out := c.sh(address, key, first, sizes); out != "10737418240\n10737418240\n" {
		t.Errorf("sizes: %q", out)
	}
	c.done(c.disks.Resize(c.Context(), &computepb.ResizeDiskRequest{Project: project, Zone: zone, Disk: "vm-side", DisksResizeRequestResource: &computepb.DisksResizeRequest{SizeGb: new(int64(20))}}))
	if out := c.sh(address, key, first, sizes); out != "10737418240\n21474836480\n" {
		t.Errorf("grown: %q", out)
	}
	c.done(c.instances.DetachDisk(c.Context(), &computepb.DetachDiskInstanceRequest{Project: project, Zone: zone, Instance: "vm", DeviceName: "side"}))
	if out := c.sh(address, key, first, "ls /dev/disk/by-id"); strings.Contains(out, "google-side") {
		t.Errorf("after it was detached: %q", out)
	}

	c.done(c.instances.SetMetadata(c.Context(), &computepb.SetMetadataInstanceRequest{Project: project, Zone: zone, Instance: "vm",
		MetadataResource: metadataOf("ops:"+second.Line(), c.get("vm").GetMetadata().GetFingerprint())}))
	c.sh(address, key, second, "true")

	c.done(c.instances.Stop(c.Context(), &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "vm"}))
	if i := c.get("vm"); i.GetStatus() != "TERMINATED" {
		t.Errorf("stopped, it is %s", i.GetStatus())
	}
	c.done(c.instances.Start(c.Context(), &computepb.StartInstanceRequest{Project: project, Zone: zone, Instance: "vm"}))
	c.sh(address, key, second, "systemctl is-active 'dev-disk-by\\x2dlabel-kept.device'") // as mount units wait for
	if out := c.sh(address, key, second, "sudo mount -L kept /mnt && sudo cat /mnt/file /root/file"); out != "here\nhere\n" {
		t.Errorf("after a stop: %q", out)
	}
	c.sh(address, key, second, "sudo systemctl --no-block poweroff")
	c.eventually(func() error {
		if i := c.get("vm"); i.GetStatus() != "TERMINATED" {
			return fmt.Errorf("it is %s", i.GetStatus())
		}
		return nil
	})
	c.done(c.instances.Delete(c.Context(), &computepb.DeleteInstanceRequest{Project: project, Zone: zone, Instance: "vm"}))
	c.done(c.disks.Delete(c.Context(), &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "vm-data"}))
	c.done(c.disks.Delete(c.Context(), &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "vm-side"}))
	left, err := filepath.Glob(filepath.Join(here.Dir, "project-*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
