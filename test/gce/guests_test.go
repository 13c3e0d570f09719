// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package gce

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/walkthrough"
)

// guestsVariable has TestGuests start whole machines: minutes on emulated processors.
const guestsVariable = "HOLDFAST_TEST_VM"

// slow is what emulated processors and disks want: only the script's stalls are to count, and an apply takes longer.
const slow = `
resource "holdfast_cluster" "this" {
  settings = { "storage.wal_failover.unhealthy_op_threshold" = "1s" }
}
`

// TestGuests makes a cluster of machines with a kernel of their own, and stalls the leader's data disk as the walkthrough of
// WAL failover does: by the control group that systemd made for the engine.
func TestGuests(t *testing.T) {
	if os.Getenv(guestsVariable) == "" {
		t.Skip("whole machines are started by make testvm only (" + guestsVariable + "=1)")
	}
	c := newCloud(t, ofGuests)
	c.tf.File(t, "slow_override.tf", slow)
	began := time.Now()
	c.tf.Apply(t)
	t.Logf("a leader %s after the apply began; progress:\n%s", time.Since(began).Round(time.Second), c.tf.Told())
	c.tf.Settles(t)

	nodes := c.nodes()
	n := leader(t, nodes)
	shell := c.newShell(n.name)
	defer shell.Drop()
	say := func(command string) string {
		t.Helper()
		out, err := shell.Run(t.Context(), command)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	const engine = "systemctl show --property=MainPID --value holdfast-engine.service"
	pid := say(engine)
	l := drive(t, nodes)
	stalls, samples := walkthrough.Node{Name: n.name, Shell: shell, Numbers: say("findmnt --noheadings --output MAJ:MIN /srv/holdfast/data1"), Store: n.store}.Run(t, walkthrough.Flip, l)
	survived := say(engine) == pid
	t.Logf("on %s; the engine survived the last stall: %v", n.name, survived)
	walkthrough.Flips(t, stalls, samples, survived)
	l.NothingLost(t)

	c.tf.Settles(t)
	c.tf.Must(t, 0, "apply", "-refresh-only", "-auto-approve", "-input=false")
	out := c.tf.Must(t, 0, "show")
	t.Log(out)
	if strings.Count(out, `engine           = "running"`) != 3 || strings.Count(out, `agent            = "running"`) != 3 {
		t.Error("it does not show what runs")
	}
	c.tf.Must(t, 0, "destroy", "-auto-approve", "-input=false")
	if left := c.left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
