// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
)

// Only the mount of a side whose device is gone is detached.
func TestDeadSide(t *testing.T) {
	const root, side = "20 1 8:1 / / rw - ext4 /dev/vda1 rw\n", "30 20 8:16 / /srv/holdfast/side rw - xfs /dev/sdb rw\n"
	for name, tc := range map[string]struct {
		table, gone string
		dead        bool
	}{
		"it is there":           {root + side, "", false},
		"it is gone":            {root + side, "8:16", true},
		"another one is gone":   {root + side, "8:32", false},
		"none is mounted there": {root, "8:1", false},
	} {
		table, err := mountinfo.Parse([]byte(tc.table))
		if err != nil {
			t.Fatal(err)
		}
		if point, dead := deadSide(table, machineSpec(), func(number string) bool { return number != tc.gone }); dead != tc.dead || dead && point != "/srv/holdfast/side" {
			t.Errorf("%s: %q %v", name, point, dead)
		}
	}
}
