// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/test/wait"
)

// digest is of what is on a disk, read on this host beneath the guest. Blocks of zeros
// do not count, so that a sparse disk is read in no time.
func (n *node) digest(t *testing.T, serial string) string {
	t.Helper()
	sh(t, n.Machine, "sync; echo 1 | sudo tee /proc/sys/vm/drop_caches >/dev/null")
	f, err := os.Open(n.file(serial + ".disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	const seekData, seekHole, block = 3, 4, 64 << 10
	h, zeros, buf := sha256.New(), make([]byte, block), make([]byte, block)
	for at := int64(0); ; {
		from, err := f.Seek(at, seekData)
		if err != nil { // ENXIO: no more data
			return hex.EncodeToString(h.Sum(nil))
		}
		to, err := f.Seek(from, seekHole)
		if err != nil {
			t.Fatal(err)
		}
		for at = from / block * block; at < to; at += block {
			got, err := f.ReadAt(buf, at)
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if !bytes.Equal(buf[:got], zeros[:got]) {
				h.Write(binary.BigEndian.AppendUint64(nil, uint64(at)))
				h.Write(buf[:got])
			}
		}
	}
}

// blank tells whether there is no signature of anything on a disk.
func (n *node) blank(t *testing.T, serial string) bool {
	t.Helper()
	return sh(t, n.Machine, "sudo wipefs /dev/"+lsblkOf(t, n.Machine)[serial].Name) == ""
}

// testRefusedDisks asks the agent of one node for another side disk, which is not what it
// should be: it is refused, with the field and both values, and nothing is written to it.
func (s *site) testRefusedDisks(t *testing.T) {
	n := s.node("c")
	for _, d := range []Disk{{Kind: SCSI, Serial: "odd", Size: 26 * GiB}, {Kind: SCSI, Serial: "tiny", Size: 2 * GiB}} {
		ctx, cancel := context.WithTimeout(t.Context(), waitMax)
		if err := n.Plug(ctx, d); err != nil {
			t.Fatal(err)
		}
		cancel()
		until(t, "the guest sees "+d.Serial, func() bool { return lsblkOf(t, n.Machine)[d.Serial].Size == d.Size })
	}
	odd := "/dev/" + lsblkOf(t, n.Machine)["odd"].Name
	for _, tc := range []struct {
		name, serial string
		spoil, mend  string // commands in the guest
		words        []string
	}{
		{name: "foreign file system", serial: "odd", spoil: "sudo mkfs.xfs -q -f -L photos " + odd,
			words: []string{"side_disk", "xfs", "photos"}},
		{name: "foreign label", serial: "odd", spoil: "sudo mkfs.ext4 -q -F -L photos " + odd,
			words: []string{"side_disk", "photos"}},
		{name: "partition table", serial: "odd", spoil: "printf 'label: gpt\nsize=1GiB\n' | sudo sfdisk -q " + odd + " && sudo udevadm settle",
			words: []string{"side_disk", "partition table"}},
		{name: "mounted", serial: "odd", spoil: "sudo mkfs.ext4 -q -F " + odd + " && sudo mkdir -p /photos && sudo mount -o ro,noload " + odd + " /photos",
			mend: "sudo umount /photos", words: []string{"side_disk", "mounted", "/photos"}},
		{name: "read-only", serial: "odd", spoil: "sudo blockdev --setro " + odd, mend: "sudo blockdev --setrw " + odd,
			words: []string{"side_disk", "read-only"}},
		{name: "too small", serial: "tiny", words: []string{"side_disk", "25G", "2G"}},
		{name: "missing", serial: "nowhere", words: []string{"side_disk", "nowhere"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sh(t, n.Machine, "sudo wipefs -qa "+odd)
			if tc.spoil != "" {
				sh(t, n.Machine, tc.spoil)
			}
			if tc.mend != "" {
				defer sh(t, n.Machine, tc.mend)
			}
			before := n.digest(t, "odd")
			said := n.dryRun(t, func(spec *agentapi.Spec) {
				spec.SideDisk = &agentapi.SideDisk{Path: "/srv/holdfast/other/store", Disk: &agentapi.Disk{
					Match: agentapi.DiskMatch{Serial: tc.serial}, FileSystem: "ext4", Mount: "/srv/holdfast/other", MinSizeBytes: 25 * GiB}}
			})
			for _, w := range tc.words {
				if !strings.Contains(said, w) {
					t.Errorf("it does not say %q: %s", w, said)
				}
			}
			t.Log(said)
			if after := n.digest(t, "odd"); after != before {
				t.Error("something was written to the disk")
			}
		})
	}
	for _, serial := range []string{"odd", "tiny"} {
		ctx, cancel := context.WithTimeout(t.Context(), waitMax)
		if err := n.Unplug(ctx, serial); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	s.tf.Settles(t)
}

// dryRun asks the agent what it would do for a changed spec, and returns why it would not.
func (n *node) dryRun(t *testing.T, change func(*agentapi.Spec)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	st, err := n.agent.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	change(st.Spec)
	result, err := n.agent.DryRun(ctx, st.Spec, nil)
	if refusal, ok := errors.AsType[*agentapi.Error](err); ok {
		return fmt.Sprintf("%s: %v", refusal.Field, refusal)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Problems) == 0 {
		t.Errorf("nothing is refused: %+v", result)
	}
	b, err := json.Marshal(result.Problems)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// testForeignDisk has a disk with somebody's file system where a blank one is expected:
// the apply is refused and nothing is written. Once it is blank the next apply goes on.
func (s *site) testForeignDisk(t *testing.T) {
	n := s.node("a")
	dev := "/dev/" + lsblkOf(t, n.Machine)[dataSerial].Name
	sh(t, n.Machine, "sudo mkfs.ext4 -q -F -L photos "+dev)
	defer sh(t, n.Machine, "sudo wipefs -qa "+dev)
	before := n.digest(t, dataSerial)
	s.tf.Refused(t, "stores", "photos")
	if after := n.digest(t, dataSerial); after != before {
		t.Error("something was written to the disk")
	}
}

// testSwappedDisks has two nodes start with each other's data disk: neither engine
// starts, and nothing is written. With their own disks they are well again.
func (s *site) testSwappedDisks(t *testing.T) {
	a, c := s.node("a"), s.node("c")
	l := drive(t, s, "swap/")
	swap := func() {
		l.Stop()
		s.all(func(n *node) {
			if n == a || n == c {
				n.cutPower(t)
			}
		})
		x, y := a.file(dataSerial+".disk"), c.file(dataSerial+".disk")
		if err := errors.Join(os.Rename(x, x+".other"), os.Rename(y, x), os.Rename(x+".other", y)); err != nil {
			t.Fatal(err)
		}
		s.all(func(n *node) {
			if n == a || n == c {
				n.boot(t)
			}
		})
	}
	swap()
	for _, n := range []*node{a, c} {
		var said string
		wait.Within(t, bootMax, "the agent of "+n.Name+" refuses the disk", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), askMax)
			defer cancel()
			st, err := n.agent.Status(ctx)
			said = fmt.Sprintf("%+v, %v", st.Problems, err)
			return err == nil && len(st.Problems) > 0 && st.Engine.PID == 0
		}, &said)
		t.Log(said)
	}
	before := [2]string{a.digest(t, dataSerial), c.digest(t, dataSerial)}
	s.tf.Refused(t, "stores", "node a", "node c")
	if after := [2]string{a.digest(t, dataSerial), c.digest(t, dataSerial)}; after != before {
		t.Error("something was written to the disks")
	}
	swap()
	s.well(t)
	l.NothingLost(t)
	s.tf.Settles(t)
}

// testGrow has QEMU grow a data disk under a running engine: the plan says so, the apply
// grows the file system, and the engine does not notice.
func (s *site) testGrow(t *testing.T) {
	n := s.node("b") // its data disk is SCSI
	engine := n.property(t, engineName, "MainPID")
	l := drive(t, s, "grow/")
	const grown = dataSize + 2*GiB
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	if err := n.Resize(ctx, dataSerial, grown); err != nil {
		t.Fatal(err)
	}
	until(t, "the guest sees the size", func() bool { return lsblkOf(t, n.Machine)[dataSerial].Size == grown })
	if out := s.tf.Must(t, 2, "plan", "-detailed-exitcode", "-input=false"); !strings.Contains(out, "grow") {
		t.Errorf("the plan does not say that a file system grows:\n%s", out)
	}
	s.tf.Apply(t)
	size, err := strconv.ParseInt(sh(t, n.Machine, "df --output=size -B1 /srv/holdfast/data1 | tail -1"), 10, 64)
	if err != nil || size < grown-GiB {
		t.Errorf("the file system has %d bytes of %d, %v", size, grown, err)
	}
	if now := n.property(t, engineName, "MainPID"); now != engine {
		t.Errorf("the engine was process %s, and is %s", engine, now)
	}
	l.NoneFailed(t)
	l.NothingLost(t)
	s.tf.Settles(t)
}
