// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// TestGuest reads what a guest makes visible: serial output, guest attributes,
// its end.
func TestGuest(t *testing.T) {
	c := newCloud(t, Config{})
	ctx := t.Context()
	open := smallMachine("open")
	open.Metadata = &computepb.Metadata{Items: []*computepb.Items{{Key: new("enable-guest-attributes"), Value: new("TRUE")}}}
	for _, i := range []*computepb.Instance{open, smallMachine("shut")} {
		if _, err := c.insert(i); err != nil {
			t.Fatal(err)
		}
	}
	serial := func(port int32, from int64) *computepb.SerialPortOutput {
		t.Helper()
		out, err := c.instances.GetSerialPortOutput(ctx, &computepb.GetSerialPortOutputInstanceRequest{Project: project, Zone: zone, Instance: "open", Port: &port, Start: &from})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	guest := c.Guest(zone, "open")
	_, _ = fmt.Fprint(guest.Serial(1), "booting\n")
	if out := serial(1, 0); out.GetContents() != "booting\n" || out.GetNext() != 8 {
		t.Errorf("the port says %v", out)
	}
	_, _ = fmt.Fprint(guest.Serial(1), "login: ")
	if out := serial(1, 8); out.GetContents() != "login: " || out.GetStart() != 8 || out.GetNext() != 15 {
		t.Errorf("from 8 the port says %v", out)
	}
	_, _ = fmt.Fprint(guest.Serial(1), strings.Repeat("x", serialLimit))
	if out := serial(1, 0); len(out.GetContents()) != serialLimit || out.GetStart() != 15 {
		t.Errorf("%d bytes are kept, from %d", len(out.GetContents()), out.GetStart())
	}
	if out := serial(2, 0); out.GetContents() != "" {
		t.Errorf("the second port says %q", out.GetContents())
	}

	attributes := func(instance, path string) (*computepb.GuestAttributes, error) {
		return c.instances.GetGuestAttributes(ctx, &computepb.GetGuestAttributesInstanceRequest{Project: project, Zone: zone, Instance: instance, QueryPath: &path})
	}
	_, err := attributes("open", "hostkeys/")
	refused(t, err, 404, "notFound", "'hostkeys/' of type 'Guest Attribute' was not found")
	if !guest.SetAttribute("hostkeys", "ssh-ed25519", "AAAA") || !guest.SetAttribute("hostkeys", "ssh-rsa", "BBBB") || !guest.SetAttribute("other", "k", "v") {
		t.Error("an attribute was not taken")
	}
	got, err := attributes("open", "hostkeys/")
	if err != nil {
		t.Fatal(err)
	}
	items := got.GetQueryValue().GetItems()
	if len(items) != 2 || items[0].GetNamespace() != "hostkeys" || items[0].GetKey() != "ssh-ed25519" || items[0].GetValue() != "AAAA" {
		t.Errorf("attributes: %v", items)
	}
	if c.Guest(zone, "shut").SetAttribute("hostkeys", "ssh-rsa", "CCCC") {
		t.Error("an instance without guest attributes took one")
	}
	_, err = attributes("shut", "hostkeys/")
	refused(t, err, 403, "forbidden", "disabled")

	guest.PoweredOff()
	if got := c.instance("open").GetStatus(); got != "TERMINATED" {
		t.Errorf("after powering off: %s", got)
	}
	_, err = c.instances.GetSerialPortOutput(ctx, &computepb.GetSerialPortOutputInstanceRequest{Project: project, Zone: zone, Instance: "open"})
	refused(t, err, 400, "resourceNotReady", "instances/open")
}
