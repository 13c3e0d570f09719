// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"fmt"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// An engine of systemd's has mounts of its own (ProtectSystem), which follow the machine's, but for
// one: where its side disk was not mounted when it started, its right to write there is a mount
// itself, and the disk that comes later lies below it.

// sideChange is the restart that an engine needs to see its side disk.
func sideChange(pid int, spec *agentapi.Spec) []agentapi.Change {
	host, err := mountinfo.Read()
	if err != nil {
		return nil // the agent's look at the mounts says so
	}
	engine, err := mountinfo.ReadOf(pid)
	if err != nil {
		return nil // it has just ended
	}
	return unseenSide(host, engine, spec)
}

func unseenSide(host, engine mountinfo.Table, spec *agentapi.Spec) []agentapi.Change {
	side := spec.SideDisk
	if side == nil || side.Disk == nil || !slices.Contains(spec.Sides(), side.Path) {
		return nil
	}
	is, ok := host.Of(side.Disk.Mount)
	if !ok || is.Point != side.Disk.Mount {
		return nil // it is not mounted
	}
	sees, ok := engine.Of(side.Disk.Mount)
	if !ok || sees.Point == is.Point && sees.MajMin() == is.MajMin() {
		return nil
	}
	return []agentapi.Change{{Attribute: "side_disk.mount", Restart: true,
		From: fmt.Sprintf("what the engine sees at %s (device %s)", is.Point, sees.MajMin()), To: fmt.Sprintf("%s (device %s)", is.Source, is.MajMin())}}
}
