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

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/iterator"
)

// errUnseen is a part of the project that could not be looked at: what is not seen is not
// known to be gone.
var errUnseen = errors.New("a zone did not answer")

// observe is what the project has by the cluster's name, in three calls.
func (c *client) observe(ctx context.Context, cfg Config) (observed, error) {
	var out observed
	var mine [3]error
	var wg sync.WaitGroup
	filter := fmt.Sprintf("labels.%s=%q", labelName, cfg.Cluster)
	wg.Go(func() { out.instances, mine[0] = c.listInstances(ctx, filter) })
	wg.Go(func() { out.disks, mine[1] = c.listDisks(ctx, filter) })
	wg.Go(func() { out.firewalls, mine[2] = c.listFirewalls(ctx, cfg.ruleNames()) })
	wg.Wait()
	for _, err := range mine {
		if err != nil {
			return observed{}, err // one is enough: they have one reason
		}
	}
	return out, nil
}

// all runs through the pages of a list, from its beginning again where a page fails.
func all[T any](ctx context.Context, c *client, call, name string, begin func(context.Context) func() (T, error)) (rows []T, err error) {
	err = c.do(ctx, call, name, func(ctx context.Context) error {
		rows = nil
		for next := begin(ctx); ; {
			row, err := next()
			if errors.Is(err, iterator.Done) {
				return nil
			}
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
	})
	return rows, err
}

// seen refuses a scope that the API could not look at.
func seen(call, scope string, w *computepb.Warning) error {
	if w.GetCode() != "UNREACHABLE" {
		return nil
	}
	return &Error{Call: call, Name: scope, Class: ErrTemporary, Reason: w.GetCode(), Text: w.GetMessage(), err: errUnseen}
}

func (c *client) listInstances(ctx context.Context, filter string) ([]instance, error) {
	const call = "instances.aggregatedList"
	var out []instance
	pairs, err := all(ctx, c, call, c.project, func(ctx context.Context) func() (compute.InstancesScopedListPair, error) {
		return c.instances.AggregatedList(ctx, &computepb.AggregatedListInstancesRequest{Project: c.project, Filter: &filter}, onceOnly).Next
	})
	for _, p := range pairs {
		if err == nil {
			err = seen(call, p.Key, p.Value.GetWarning())
		}
		for _, i := range p.Value.GetInstances() {
			out = append(out, instanceOf(i))
		}
	}
	slices.SortFunc(out, func(a, b instance) int { return strings.Compare(a.name, b.name) })
	return out, err
}

func (c *client) listDisks(ctx context.Context, filter string) ([]disk, error) {
	const call = "disks.aggregatedList"
	var out []disk
	pairs, err := all(ctx, c, call, c.project, func(ctx context.Context) func() (compute.DisksScopedListPair, error) {
		return c.disks.AggregatedList(ctx, &computepb.AggregatedListDisksRequest{Project: c.project, Filter: &filter}, onceOnly).Next
	})
	for _, p := range pairs {
		if err == nil {
			err = seen(call, p.Key, p.Value.GetWarning())
		}
		for _, d := range p.Value.GetDisks() {
			out = append(out, diskOf(d))
		}
	}
	slices.SortFunc(out, func(a, b disk) int { return strings.Compare(a.name, b.name) })
	return out, err
}

// byName is a filter for names.
func byName(names []string) string {
	var terms []string
	for _, n := range names {
		terms = append(terms, fmt.Sprintf("(name = %q)", n))
	}
	return strings.Join(terms, " OR ")
}

func (c *client) listFirewalls(ctx context.Context, names []string) ([]firewall, error) {
	filter := byName(names)
	var out []firewall
	rows, err := all(ctx, c, "firewalls.list", c.project, func(ctx context.Context) func() (*computepb.Firewall, error) {
		return c.firewalls.List(ctx, &computepb.ListFirewallsRequest{Project: c.project, Filter: &filter}, onceOnly).Next
	})
	for _, f := range rows {
		out = append(out, firewallOf(f))
	}
	return out, err
}

func (c *client) getInstance(ctx context.Context, zone, name string) (out instance, err error) {
	err = c.do(ctx, "instances.get", name, func(ctx context.Context) error {
		i, err := c.instances.Get(ctx, &computepb.GetInstanceRequest{Project: c.project, Zone: zone, Instance: name}, onceOnly)
		if err == nil {
			out = instanceOf(i)
		}
		return err
	})
	return out, err
}

func (c *client) getDisk(ctx context.Context, zone, name string) (out disk, err error) {
	err = c.do(ctx, "disks.get", name, func(ctx context.Context) error {
		d, err := c.disks.Get(ctx, &computepb.GetDiskRequest{Project: c.project, Zone: zone, Disk: name}, onceOnly)
		if err == nil {
			out = diskOf(d)
		}
		return err
	})
	return out, err
}

func (c *client) getFirewall(ctx context.Context, name string) (out firewall, err error) {
	err = c.do(ctx, "firewalls.get", name, func(ctx context.Context) error {
		f, err := c.firewalls.Get(ctx, &computepb.GetFirewallRequest{Project: c.project, Firewall: name}, onceOnly)
		if err == nil {
			out = firewallOf(f)
		}
		return err
	})
	return out, err
}

func diskOf(d *computepb.Disk) disk {
	out := disk{
		name: d.GetName(), zone: last(d.GetZone()), sizeGB: d.GetSizeGb(), labels: d.GetLabels(), fingerprint: d.GetLabelFingerprint(), status: d.GetStatus(),
		kind: DiskKind{Type: last(d.GetType()), IOPS: d.GetProvisionedIops(), ThroughputMiBs: d.GetProvisionedThroughput()},
		used: d.GetLastAttachTimestamp() != "",
	}
	if users := d.GetUsers(); len(users) > 0 {
		out.user = last(users[0])
	}
	return out
}

func instanceOf(i *computepb.Instance) instance {
	out := instance{
		name: i.GetName(), zone: last(i.GetZone()), machineType: last(i.GetMachineType()), labels: i.GetLabels(),
		tags: slices.Sorted(slices.Values(i.GetTags().GetItems())), metadata: map[string]string{}, others: map[string]string{},
		protected: i.GetDeletionProtection(), id: i.GetId(), status: i.GetStatus(),
		labelPrint: i.GetLabelFingerprint(), tagPrint: i.GetTags().GetFingerprint(), metadataPrint: i.GetMetadata().GetFingerprint(),
	}
	for _, item := range i.GetMetadata().GetItems() {
		switch item.GetKey() {
		case metaKeys, metaAttributes, metaOSLogin, metaImage:
			out.metadata[item.GetKey()] = item.GetValue()
		default:
			out.others[item.GetKey()] = item.GetValue()
		}
	}
	out.image = out.metadata[metaImage]
	for _, a := range i.GetDisks() {
		if a.GetSource() != "" { // a local SSD has none
			out.disks = append(out.disks, attachment{device: a.GetDeviceName(), disk: last(a.GetSource()), boot: a.GetBoot(), autoDelete: a.GetAutoDelete()})
		}
	}
	for _, nic := range i.GetNetworkInterfaces()[:min(1, len(i.GetNetworkInterfaces()))] {
		out.address, out.subnetwork, out.network = nic.GetNetworkIP(), path(nic.GetSubnetwork(), ""), path(nic.GetNetwork(), "")
		for _, a := range nic.GetAccessConfigs() {
			out.public, out.external = true, a.GetNatIP()
		}
	}
	for _, a := range i.GetServiceAccounts() {
		out.account = a.GetEmail()
	}
	return out
}

func firewallOf(f *computepb.Firewall) firewall {
	out := firewall{
		name: f.GetName(), network: path(f.GetNetwork(), ""), description: f.GetDescription(), disabled: f.GetDisabled(),
		between: len(f.GetSourceTags())+len(f.GetSourceServiceAccounts()) > 0, ranges: slices.Sorted(slices.Values(f.GetSourceRanges())),
	}
	out.tag, out.account = strings.Join(f.GetTargetTags(), ","), strings.Join(f.GetTargetServiceAccounts(), ",")
	for _, a := range f.GetAllowed() {
		out.ports = append(out.ports, a.GetPorts()...)
	}
	return out
}
