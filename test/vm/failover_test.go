// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// engineUnit runs an engine as an operator would by hand: the unit's cgroup has
// an io.max, which the walkthrough of WAL failover writes to.
const engineUnit = `[Unit]
Description=Holdfast engine
RequiresMountsFor=/data /side

[Service]
ExecStart=/usr/local/bin/holdfast start --store=path=/data/store --wal-failover=path=/side/wal
IOAccounting=yes
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
`

// TestFailover stalls the data disk of an engine in its own unit as the
// walkthrough does. The log goes to the side disk, writes go on, and it comes
// back once the disk answers. Seen to fail with --wal-failover=disabled: no
// write arrives during the stall.
func TestFailover(t *testing.T) {
	m := start(t, Config{Image: image(t), Name: "engine", Disks: []Disk{
		{Kind: NVMe, Serial: "data", Size: 10 * GiB},
		{Kind: NVMe, Serial: "side", Size: 25 * GiB},
	}})[0]
	uploadBinary(t, m)
	mount(t, m, "data", "ext4", "/data")
	mount(t, m, "side", "ext4", "/side")
	if err := m.SSH().Upload(t.Context(), "/etc/systemd/system/holdfast-engine.service", 0o644, strings.NewReader(engineUnit)); err != nil {
		t.Fatal(err)
	}
	sh(t, m, "sudo mkdir -p /data/store /side/wal && sudo systemctl daemon-reload && sudo systemctl start holdfast-engine")
	client, err := api.New(api.Config{Addresses: []string{"127.0.0.1:8500"}, DialContext: m.SSH().Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	until(t, "it leads", func() bool {
		leader, err := client.StatusLeader(t.Context(), "")
		return err == nil && leader != ""
	})
	// Emulated disks are slow: only the stall is to count.
	threshold := "1s"
	if err := client.SetSettings(t.Context(), map[string]*string{"storage.wal_failover.unhealthy_op_threshold": &threshold}); err != nil {
		t.Fatal(err)
	}
	failover := func() api.Failover {
		s, err := client.Stores(t.Context())
		if err != nil || len(s.Stores) != 1 {
			t.Fatalf("stores %+v, %v", s.Stores, err)
		}
		return s.Stores[0].Failover
	}
	until(t, "it writes to the data disk", func() bool { f := failover(); return f.Active == "primary" && f.Off == "" })
	before := failover()

	load := writes(t, client)
	until(t, "writes arrive", func() bool { return load.arrived.Load() > 3 })
	majMin := lsblkOf(t, m)["data"].MajMin
	stall(t, m, "holdfast-engine.service", majMin, true)
	until(t, "it writes to the side disk", func() bool { return failover().Active == "secondary" })
	during := load.arrived.Load()
	until(t, "writes arrive while the data disk is stalled", func() bool { return load.arrived.Load() > during+10 })
	if f := failover(); f.Active != "secondary" {
		t.Errorf("the data disk was to be stalled all the while: %+v", f)
	}
	stall(t, m, "holdfast-engine.service", majMin, false)
	until(t, "it writes to the data disk again", func() bool { return failover().Active == "primary" })
	after := failover()
	if after.SwitchCount != before.SwitchCount+2 || after.SecondaryDurationNS <= before.SecondaryDurationNS {
		t.Errorf("after one stall: %+v, before it %+v", after, before)
	}
	total := load.stop(t)
	t.Logf("%d writes, longest %s, %d switches, %s on the side disk", total, load.longest.Round(time.Millisecond),
		after.SwitchCount-before.SwitchCount, time.Duration(after.SecondaryDurationNS-before.SecondaryDurationNS).Round(time.Millisecond))
	keys, _, err := client.Keys(t.Context(), "load/", "", api.Read{})
	if err != nil || int64(len(keys)) < total {
		t.Errorf("%d of %d acknowledged keys are there, %v", len(keys), total, err)
	}
	if log := sh(t, m, "systemctl show -P NRestarts holdfast-engine"); log != "0" {
		t.Errorf("the engine was started again %s times:\n%s", log, sh(t, m, "sudo journalctl -u holdfast-engine --no-pager | tail -30"))
	}
}

// load writes one key after the other. Its goroutine ends with stop.
type load struct {
	arrived atomic.Int64
	longest time.Duration // read once done is closed
	err     error         // likewise
	cancel  context.CancelFunc
	done    chan struct{} // closed by the goroutine
}

func writes(t *testing.T, client *api.Client) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel, done: make(chan struct{})}
	t.Cleanup(func() { cancel(); <-l.done })
	go func() {
		defer close(l.done)
		for n := 0; ctx.Err() == nil; n++ {
			began := time.Now()
			err := client.Put(ctx, fmt.Sprintf("load/%06d", n), []byte("x"), api.Write{})
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				l.err = err
				return
			}
			l.arrived.Add(1)
			l.longest = max(l.longest, time.Since(began))
		}
	}()
	return l
}

// stop is how many writes were acknowledged; none may have failed.
func (l *load) stop(t *testing.T) int64 {
	t.Helper()
	l.cancel()
	<-l.done
	if l.err != nil {
		t.Error(l.err)
	}
	return l.arrived.Load()
}
