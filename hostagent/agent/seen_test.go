// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// An engine that was started before its side disk was mounted sees the directory below, which is a
// mount of its own.
func TestUnseenSide(t *testing.T) {
	const (
		root     = "20 1 8:1 / / rw - ext4 /dev/vda1 rw\n"
		disk     = "30 20 8:16 / /srv/holdfast/side rw - xfs /dev/sdb rw\n"
		another  = "30 20 8:32 / /srv/holdfast/side rw - xfs /dev/sdc rw\n"
		ownRight = "31 20 8:1 /srv/holdfast/side /srv/holdfast/side rw - ext4 /dev/vda1 rw\n"
		below    = "30 20 8:16 / /srv/holdfast/side rw - xfs /dev/sdb rw\n31 30 8:1 /srv/holdfast/side /srv/holdfast/side rw - ext4 /dev/vda1 rw\n"
	)
	want := []agentapi.Change{{Attribute: "side_disk.mount", Restart: true,
		From: "what the engine sees at /srv/holdfast/side (device 8:1)", To: "/dev/sdb (device 8:16)"}}
	gone := []agentapi.Change{{Attribute: "side_disk.mount", Restart: true,
		From: "what the engine sees at /srv/holdfast/side (device 8:32)", To: "/dev/sdb (device 8:16)"}}
	off := machineSpec()
	off.WALFailover.Mode = agentapi.DisabledMode
	for name, tc := range map[string]struct {
		host, engine string
		spec         *agentapi.Spec
		want         []agentapi.Change
	}{
		"it sees the disk":                    {host: root + disk, engine: root + disk},
		"nothing is mounted":                  {host: root, engine: root + ownRight},
		"the disk came later":                 {host: root + disk, engine: root + ownRight, want: want},
		"the disk came later, and lies below": {host: root + disk, engine: root + below, want: want},
		"it sees the disk before":             {host: root + disk, engine: root + another, want: gone},
		"it uses none":                        {host: root + disk, engine: root + ownRight, spec: off},
	} {
		t.Run(name, func(t *testing.T) {
			spec := tc.spec
			if spec == nil {
				spec = machineSpec()
			}
			table := func(text string) mountinfo.Table {
				all, err := mountinfo.Parse([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				return all
			}
			if diff := cmp.Diff(tc.want, unseenSide(table(tc.host), table(tc.engine), spec)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
