// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfastdb/terraform-provider-holdfast/test/wait"
)

// image builds the image, and skips where nobody asked for machines or there
// is nothing to make them with.
func image(t *testing.T) Image {
	t.Helper()
	if os.Getenv("HOLDFAST_TEST_VM") == "" {
		t.Skip("whole machines are started by make testvm only (HOLDFAST_TEST_VM=1)")
	}
	began := time.Now()
	i, err := Build(t.Context())
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("image after %s", time.Since(began).Round(time.Second))
	return i
}

// bootMax is what a boot may take on a machine that is busy with others.
const bootMax = 6 * time.Minute

// waitMax is for everything else.
const waitMax = time.Minute

// start starts machines at once.
func start(t *testing.T, configs ...Config) []*Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootMax)
	defer cancel()
	began := time.Now()
	machines := make([]*Machine, len(configs))
	var all errgroup.Group
	for i, c := range configs {
		all.Go(func() (err error) {
			machines[i], err = Start(ctx, c)
			return err
		})
	}
	err := all.Wait()
	for _, m := range machines {
		if m == nil {
			continue
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(m.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s stayed behind: %v", m.dir, err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d machines answer after %s", len(machines), time.Since(began).Round(time.Second))
	return machines
}

// sh runs a command in the guest, which has to succeed.
func sh(t *testing.T, m *Machine, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	out, err := m.SSH().Run(ctx, command)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// until asks again and again until the answer is yes.
func until(t *testing.T, what string, yes func() bool) {
	t.Helper()
	wait.Within(t, waitMax, what, yes)
}

// TestMachine is what the other tests on machines rest on.
func TestMachine(t *testing.T) {
	t.Parallel()
	i := image(t)
	var n Network
	machines := start(t,
		Config{Image: i, Name: "a", Network: &n, CPUs: 1, Disks: []Disk{
			{Kind: NVMe, Serial: "data", Size: 10 * GiB},
			{Kind: SCSI, Serial: "bulk", Size: 10 * GiB},
			{Kind: NVMe, Serial: "side", Size: 25 * GiB},
			{Kind: SCSI, Serial: "side2", Size: 25 * GiB},
		}},
		Config{Image: i, Name: "b", Network: &n, CPUs: 1, MemoryMiB: 512})
	a, b := machines[0], machines[1]
	t.Run("systemd", func(t *testing.T) { testSystemd(t, a, b) })
	t.Run("disks", func(t *testing.T) { testDisks(t, a) })
	t.Run("network", func(t *testing.T) { testNetwork(t, &n, a, b) })
	t.Run("devices", func(t *testing.T) { testDevices(t, a) })
	t.Run("resize", func(t *testing.T) { testResize(t, a) })
	t.Run("stall", func(t *testing.T) { testStall(t, a) })
	t.Run("throttle", func(t *testing.T) { testThrottle(t, a) })
	t.Run("reset", func(t *testing.T) { testReset(t, b) })
	t.Run("power cut", func(t *testing.T) { testPowerCut(t, a) })
}

func testSystemd(t *testing.T, a, b *Machine) {
	for _, m := range []*Machine{a, b} {
		state := sh(t, m, "systemctl is-system-running --wait || true")
		if state != "running" {
			t.Errorf("%s is %s:\n%s", m.Name, state, sh(t, m, "systemctl --failed --plain; sudo journalctl -b -p err --no-pager | tail -20"))
		}
		if got := sh(t, m, "hostname; sudo id -un; stat -fc %T /sys/fs/cgroup"); got != m.Name+"\nroot\ncgroup2fs" {
			t.Errorf("%s says %q", m.Name, got)
		}
		if status, err := m.QMP().Status(t.Context()); err != nil || status != "running" {
			t.Errorf("%s: QEMU says %q, %v", m.Name, status, err)
		}
	}
	if sh(t, a, "cat /etc/machine-id") == sh(t, b, "cat /etc/machine-id") {
		t.Error("both have the same machine id")
	}
	t.Logf("%s", sh(t, a, "uname -sr; systemd-analyze time; systemd-analyze blame --no-pager | head -8"))
}

// lsblkOf is the guest's view of its disks, by serial.
func lsblkOf(t *testing.T, m *Machine) map[string]lsblkDisk {
	t.Helper()
	var report struct{ BlockDevices []lsblkDisk }
	out := sh(t, m, "lsblk --json --bytes --nodeps -o NAME,SERIAL,SIZE,TRAN,MAJ:MIN")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	disks := map[string]lsblkDisk{}
	for _, d := range report.BlockDevices {
		disks[d.Serial] = d
	}
	return disks
}

type lsblkDisk struct {
	Name, Serial, Tran string
	Size               int64
	MajMin             string `json:"maj:min"`
}

func testDisks(t *testing.T, m *Machine) {
	there := lsblkOf(t, m)
	for _, d := range m.Disks {
		got := there[d.Serial]
		if got.Size != d.Size || (d.Kind == NVMe) != strings.HasPrefix(got.Name, "nvme") || (d.Kind == SCSI) != strings.HasPrefix(got.Name, "sd") {
			t.Errorf("disk %+v is %+v in the guest", d, got)
		}
	}
	if len(there) != len(m.Disks)+1 {
		t.Errorf("beside the root disk there are to be %d disks: %+v", len(m.Disks), there)
	}
}

func testNetwork(t *testing.T, n *Network, a, b *Machine) {
	ping := "ping -n -q -c 1 -W 5 " + b.Addr().String()
	sh(t, a, ping)
	n.Cut("a", "b")
	if out, err := a.SSH().Run(t.Context(), ping); err == nil {
		t.Errorf("cut off, and yet %s", out)
	}
	n.Join("a", "b")
	until(t, "they hear each other again", func() bool {
		_, err := a.SSH().Run(t.Context(), ping)
		return err == nil
	})
}

// testResize grows a disk of each kind under what is on it.
func testResize(t *testing.T, m *Machine) {
	const mark = "what was written before"
	for _, serial := range []string{"bulk", "data"} {
		path := "/dev/" + lsblkOf(t, m)[serial].Name
		sh(t, m, "echo "+mark+" | sudo dd of="+path+" conv=fsync status=none")
		d, _ := m.Disk(serial)
		size := d.Size + GiB
		ctx, cancel := context.WithTimeout(t.Context(), bootMax)
		defer cancel()
		if err := m.Resize(ctx, serial, size); err != nil {
			t.Fatal(err)
		}
		until(t, fmt.Sprintf("the guest sees %d bytes of %s disk %s", size, d.Kind, serial), func() bool {
			return lsblkOf(t, m)[serial].Size == size
		})
		path = "/dev/" + lsblkOf(t, m)[serial].Name
		if got := sh(t, m, fmt.Sprintf("sudo head -c %d %s", len(mark), path)); got != mark {
			t.Errorf("%s holds %q", serial, got)
		}
	}
}

// mount makes a file system on a disk and mounts it.
func mount(t *testing.T, m *Machine, serial, fs, at string) {
	t.Helper()
	path := "/dev/" + lsblkOf(t, m)[serial].Name
	force := map[string]string{"ext4": "-F", "xfs": "-f"}[fs]
	sh(t, m, fmt.Sprintf("sudo wipefs -qa %[1]s && sudo mkfs.%[2]s -q %[3]s -L %[4]s %[1]s && sudo mkdir -p %[5]s && sudo mount %[1]s %[5]s", path, fs, force, serial, at))
}

// writer is a unit that writes to a disk and counts, where no disk is, what
// arrived there.
const writer = `sudo systemd-run --quiet --unit=writer --property=IOAccounting=yes sh -c '
n=0; while dd if=/dev/zero of=%s/f bs=4k count=1 oflag=dsync conv=notrunc status=none; do n=$((n+1)); echo $n >/run/written.new; mv /run/written.new /run/written; done'`

// testStall stalls the disk of one unit as the walkthrough of WAL failover
// does: the unit's writes hang, others' on the same disk do not, and they go
// on afterwards. Seen to fail with the limit written to another disk's number.
func testStall(t *testing.T, m *Machine) {
	mount(t, m, "data", "ext4", "/data")
	majMin := lsblkOf(t, m)["data"].MajMin
	sh(t, m, fmt.Sprintf(writer, "/data"))
	written := func() int {
		n, err := strconv.Atoi(sh(t, m, "cat /run/written 2>/dev/null || echo 0"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, "it writes", func() bool { return written() > 3 })
	stall(t, m, "writer.service", majMin, true)
	at := written()
	sh(t, m, "for i in 1 2 3 4 5 6 7 8 9 10; do sudo dd if=/dev/zero of=/data/g bs=4k count=1 oflag=dsync conv=notrunc status=none; done")
	during := written()
	if during > at+1 { // one may have been on its way
		t.Errorf("%d writes arrived while the disk was stalled and others wrote 10", during-at)
	}
	stall(t, m, "writer.service", majMin, false)
	until(t, "it writes again", func() bool { return written() > during+3 })
	sh(t, m, "sudo systemctl stop writer && sudo umount /data")
}

// stall is one line of the walkthrough's script. A limit is gone, too, where
// the unit ended and its cgroup with it.
func stall(t *testing.T, m *Machine, unit, majMin string, on bool) {
	t.Helper()
	file := "/sys/fs/cgroup/system.slice/" + unit + "/io.max"
	if on {
		sh(t, m, fmt.Sprintf("echo '%s rbps=4 wbps=4' | sudo tee %s", majMin, file))
		return
	}
	sh(t, m, fmt.Sprintf("echo '%[1]s rbps=max wbps=max' | sudo tee %[2]s || ! test -e %[2]s", majMin, file))
}

// testThrottle limits a disk beneath the guest: of two writes, the one to the
// limited disk is the later, although it began first. Seen to fail without a
// limit.
func testThrottle(t *testing.T, m *Machine) {
	disks := lsblkOf(t, m)
	if err := m.QMP().Throttle(t.Context(), "side", Limits{WriteBytes: 4096}); err != nil {
		t.Fatal(err)
	}
	write := "sudo dd if=/dev/zero of=/dev/%s bs=16k count=%d oflag=direct status=none; echo %[1]s >>/tmp/order"
	sh(t, m, fmt.Sprintf("rm -f /tmp/order; (%s) </dev/null >/dev/null 2>&1 & %s", fmt.Sprintf(write, disks["side"].Name, 4), fmt.Sprintf(write, disks["bulk"].Name, 4)))
	if got := sh(t, m, "cat /tmp/order"); got != disks["bulk"].Name {
		t.Errorf("order %q, want %s alone at first", got, disks["bulk"].Name)
	}
	if err := m.QMP().Throttle(t.Context(), "side", Limits{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the limited write arrives", func() bool {
		return sh(t, m, "cat /tmp/order") == disks["bulk"].Name+"\n"+disks["side"].Name
	})
}

// testReset boots again in the same QEMU, at the same port.
func testReset(t *testing.T, m *Machine) {
	addr, state := m.SSHAddr(), "cat /proc/sys/kernel/random/boot_id; cat /run/memory 2>/dev/null || true"
	sh(t, m, "echo memory | sudo tee /run/memory")
	before := sh(t, m, state)
	ctx, cancel := context.WithTimeout(t.Context(), bootMax)
	defer cancel()
	began := time.Now()
	if err := m.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("back after %s", time.Since(began).Round(time.Second))
	if after := sh(t, m, state); after == before || strings.Contains(after, "memory") || m.SSHAddr() != addr {
		t.Errorf("before %q at %s, after %q at %s", before, addr, after, m.SSHAddr())
	}
}

// testPowerCut loses the guest's memory, and nothing that was synced.
func testPowerCut(t *testing.T, m *Machine) {
	mount(t, m, "bulk", "xfs", "/bulk")
	ids := "cat /etc/machine-id; ls -l /etc/ssh/ssh_host_ed25519_key"
	before, boot := sh(t, m, ids), sh(t, m, "cat /proc/sys/kernel/random/boot_id")
	sh(t, m, "echo kept | sudo dd of=/bulk/f conv=fsync status=none; sudo sync /bulk; echo memory | sudo tee /run/memory")
	if err := m.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.QMP().Status(t.Context()); !errors.Is(err, errOver) {
		t.Errorf("without power, QEMU says %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootMax)
	defer cancel()
	began := time.Now()
	if err := m.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("back after %s", time.Since(began).Round(time.Second))
	if sh(t, m, ids) != before || sh(t, m, "cat /proc/sys/kernel/random/boot_id") == boot {
		t.Error("it is another machine, or the same boot")
	}
	if got := sh(t, m, "sudo mount LABEL=bulk /bulk; cat /bulk/f; cat /run/memory 2>/dev/null || true"); got != "kept" {
		t.Errorf("after the power cut: %q", got)
	}
	testDisks(t, m)
}
