// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

// bench is a machine with a system disk, two blank disks, and a spec for both.
type bench struct {
	spec    Spec
	machine Machine
}

func newBench() *bench {
	disk := func(name string, minor uint32, size uint64) blockdev.Device {
		return blockdev.Device{Name: name, KName: name, Path: "/dev/" + name, Major: 8, Minor: minor, Type: blockdev.TypeDisk, Size: size, Serial: "S-" + name}
	}
	b := &bench{}
	system := disk("sda", 0, 10*gib)
	system.Partitions = []string{"sda1"}
	root := disk("sda1", 1, 10*gib-mib)
	root.Type, root.Serial, root.Parents, root.MountPoints = blockdev.TypePart, "", []string{"sda"}, []string{"/"}
	b.machine = Machine{
		Devices: []blockdev.Device{system, root, disk("sdb", 16, 100*gib), disk("sdc", 32, 25*gib)},
		Content: map[string]Content{"sda": {PartTable: "gpt"}, "sda1": {Signature: Signature{Type: "ext4", Label: "root", UUID: "u-root"}, FSSize: 10*gib - mib}},
		Points:  map[string]Point{"/data/1": {Missing: true}, "/side": {Missing: true}},
		Mounts:  mountinfo.Table{{ID: 1, Parent: 0, Major: 8, Minor: 1, Root: "/", Point: "/", Options: "rw", SuperOptions: "rw", FSType: "ext4", Source: "/dev/sda1"}},
	}
	b.spec = Spec{Disks: []Disk{
		{
			Field: "stores.0", Match: Match{Serial: "S-sdb"}, FSType: Ext4, Label: "hf-data-1", Mount: "/data/1", MinSize: 50 * gib,
			Directories: []Directory{{Path: "store", UID: 900, GID: 900, Mode: 0o700}},
			Store:       &store.Identity{Cluster: "orders", ClusterID: "c1", Node: "a", NodeID: "n1"}, StoreDir: "store",
		},
		{Field: "side_disk", Match: Match{OnlyBlank: true, MinSize: 25 * gib}, FSType: XFS, Label: "hf-side", Mount: "/side"},
	}}
	return b
}

func (b *bench) dev(kname string) *blockdev.Device {
	i := slices.IndexFunc(b.machine.Devices, func(d blockdev.Device) bool { return d.KName == kname })
	return &b.machine.Devices[i]
}

func (b *bench) content(kname string, edit func(*Content)) {
	c := b.machine.Content[kname]
	edit(&c)
	b.machine.Content[kname] = c
}

// made is the machine as an apply leaves it, not mounted.
func (b *bench) made() {
	b.machine.Content["sdb"] = Content{Signature: Signature{"ext4", "hf-data-1", "u-1"}, FSSize: 100 * gib}
	b.machine.Content["sdc"] = Content{Signature: Signature{"xfs", "hf-side", "u-2"}, FSSize: 25 * gib}
}

// mounted is the machine as an apply leaves it.
func (b *bench) mounted() {
	b.made()
	for i, d := range b.spec.Disks {
		dev := b.dev([]string{"sdb", "sdc"}[i])
		dev.MountPoints = []string{d.Mount}
		b.machine.Mounts = append(b.machine.Mounts, mountinfo.Mount{
			ID: 10 + i, Parent: 1, Major: dev.Major, Minor: dev.Minor, Root: "/", Point: d.Mount, FSType: d.FSType, Source: dev.Path,
			Options: "rw,noatime,nodev,nosuid,noexec", SuperOptions: "rw",
		})
	}
	b.machine.Points["/data/1"] = Point{Dirs: map[string]Dir{"store": {UID: 900, GID: 900, Mode: 0o700}}}
	b.content("sdb", func(c *Content) {
		c.Store = &store.Identity{Cluster: "orders", ClusterID: "c1", Node: "a", NodeID: "n1", StoreID: "s1"}
	})
}

func (b *bench) plan() (Plan, error) {
	n := 0
	return Make(b.spec, b.machine, func() string { n++; return fmt.Sprintf("new-%d", n) })
}

const blankPlan = `
stores.0, /dev/sdb
   1. make ext4 on /dev/sdb (100G (107374182400 bytes))
   2. label /dev/sdb "hf-data-1"
   3. make the directory /data/1
   4. mount /dev/sdb on /data/1, options noatime,nodev,nosuid,noexec,errors=remount-ro
   5. directory /data/1/store, owner 900:900, mode 0700
side_disk, /dev/sdc
   6. make xfs on /dev/sdc (25G (26843545600 bytes))
   7. label /dev/sdc "hf-side"
   8. make the directory /side
   9. mount /dev/sdc on /side, options noatime,nodev,nosuid,noexec
`

// TestPlan goes through the states that a machine can be in, and what is done.
func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*bench)
		want string // steps, without the numbers
	}{
		{"blank disks", func(*bench) {}, blankPlan},
		{"all there", (*bench).mounted, "Nothing to do: the disks are what the spec says.\n"},
		{"rebooted", (*bench).made, `
stores.0, /dev/sdb
   1. make the directory /data/1
   2. mount /dev/sdb on /data/1, options noatime,nodev,nosuid,noexec,errors=remount-ro
   3. directory /data/1/store, owner 900:900, mode 0700
side_disk, /dev/sdc
   4. make the directory /side
   5. mount /dev/sdc on /side, options noatime,nodev,nosuid,noexec
`},
		{"half made", func(b *bench) {
			b.mounted()
			b.machine.Mounts = b.machine.Mounts[:2]
			b.dev("sdc").MountPoints = nil
			b.content("sdc", func(c *Content) { c.Signature.Label = HalfMade })
			b.machine.Points["/side"] = Point{}
		}, `
side_disk, /dev/sdc
   1. destroy xfs labelled "hf-making" with UUID u-2 on /dev/sdc
   2. make xfs on /dev/sdc (25G (26843545600 bytes))
   3. label /dev/sdc "hf-side"
   4. mount /dev/sdc on /side, options noatime,nodev,nosuid,noexec
`},
		{"grown", func(b *bench) { b.mounted(); b.dev("sdb").Size = 200 * gib }, `
stores.0, /dev/sdb
   1. grow the ext4 of /dev/sdb from 100G (107374182400 bytes) to 200G (214748364800 bytes)
`},
		{"grown by less than a group", func(b *bench) { b.mounted(); b.dev("sdb").Size += 8 * mib }, "Nothing to do: the disks are what the spec says.\n"},
		{"other options", func(b *bench) { b.mounted(); b.machine.Mounts[2].Options = "rw,relatime,nodev,nosuid,noexec" }, `
side_disk, /dev/sdc
   1. mount /dev/sdc on /side again, options noatime,nodev,nosuid,noexec
`},
		{"owner changed", func(b *bench) {
			b.mounted()
			b.machine.Points["/data/1"].Dirs["store"] = Dir{UID: 0, GID: 900, Mode: 0o700}
		}, `
stores.0, /dev/sdb
   1. directory /data/1/store, owner 900:900, mode 0700
`},
		{"wipe what was named", func(b *bench) {
			b.mounted()
			b.machine.Mounts = b.machine.Mounts[:2]
			b.dev("sdc").MountPoints = nil
			b.machine.Content["sdc"] = Content{Signature: Signature{"btrfs", "old", "u-old"}}
			b.spec.Disks[1].Match = Match{Name: "sdc"}
			b.spec.Disks[1].Wipe, b.spec.Disks[1].WipeOnly = true, &Signature{Type: "btrfs", UUID: "u-old"}
			b.machine.Points["/side"] = Point{}
		}, `
side_disk, /dev/sdc
   1. destroy btrfs labelled "old" with UUID u-old on /dev/sdc
   2. make xfs on /dev/sdc (25G (26843545600 bytes))
   3. label /dev/sdc "hf-side"
   4. mount /dev/sdc on /side, options noatime,nodev,nosuid,noexec
`},
		{"wiped before", func(b *bench) {
			b.mounted()
			b.spec.Disks[1].Wipe, b.spec.Disks[1].WipeOnly = true, &Signature{Type: "btrfs", UUID: "u-old"}
		}, "Nothing to do: the disks are what the spec says.\n"},
		{"a foreign disk hangs, and the rule's own is known", func(b *bench) {
			b.mounted()
			b.machine.Devices = append(b.machine.Devices, blockdev.Device{KName: "sdd", Path: "/dev/sdd", Major: 8, Minor: 48, Type: blockdev.TypeDisk, Size: 30 * gib})
			b.machine.Content["sdd"] = Content{Err: "it hangs"}
		}, "Nothing to do: the disks are what the spec says.\n"},
		{"a rule passes over what is not blank", func(b *bench) {
			b.machine.Devices = append(b.machine.Devices, blockdev.Device{KName: "sdd", Path: "/dev/sdd", Major: 8, Minor: 48, Type: blockdev.TypeDisk, Size: 30 * gib})
			b.machine.Content["sdd"] = Content{Signature: Signature{"ext4", "photos", "u-p"}}
		}, blankPlan},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench()
			tc.edit(b)
			if err := b.spec.Validate(); err != nil {
				t.Fatal(err)
			}
			plan, err := b.plan()
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := plan.text(&text); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), text.String()); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			data, err := json.Marshal(plan)
			if err != nil || !bytes.Contains(data, []byte(`"where":"/side"`)) {
				t.Errorf("%s %v", data, err)
			}
		})
	}
}

// TestRefusals names the field and both values, and plans nothing, not even
// for the disk that is as it should be.
func TestRefusals(t *testing.T) {
	add := func(b *bench, d blockdev.Device) { b.machine.Devices = append(b.machine.Devices, d) }
	for _, tc := range []struct {
		name string
		edit func(*bench)
		want string
	}{
		{"foreign file system", func(b *bench) { b.machine.Content["sdb"] = Content{Signature: Signature{"btrfs", "x", "u"}} },
			`stores.0.fstype (/dev/sdb): want ext4, found btrfs labelled "x" with UUID u`},
		{"another label", func(b *bench) { b.machine.Content["sdb"] = Content{Signature: Signature{"ext4", "hf-data-2", "u"}} },
			`stores.0.label (/dev/sdb): want "hf-data-1", found "hf-data-2"`},
		{"encrypted", func(b *bench) {
			b.machine.Content["sdb"] = Content{Signature: Signature{Type: "crypto_LUKS", UUID: "u"}}
		},
			`stores.0.fstype (/dev/sdb): want ext4, found crypto_LUKS with UUID u`},
		{"partition table", func(b *bench) {
			b.machine.Content["sdb"] = Content{PartTable: "dos"}
			b.dev("sdb").PartTableType = "dos"
		},
			`stores.0.match (/dev/sdb): want a device without a partition table, found a table of the type dos`},
		{"partitions", func(b *bench) { b.dev("sdb").Partitions = []string{"sdb1"} },
			`stores.0.match (/dev/sdb): want a device without partitions, found the partitions sdb1`},
		{"partition table, and told to wipe", func(b *bench) {
			b.machine.Content["sdb"] = Content{PartTable: "dos", Signature: Signature{"ext4", "", "u"}}
			b.spec.Disks[0].Wipe, b.spec.Disks[0].WipeOnly = true, &Signature{Type: "ext4", UUID: "u"}
		}, `stores.0.match (/dev/sdb): want a device without a partition table, found a table of the type dos`},
		{"told to wipe something else", func(b *bench) {
			b.machine.Content["sdb"] = Content{Signature: Signature{"btrfs", "", "u-new"}}
			b.spec.Disks[0].Wipe, b.spec.Disks[0].WipeOnly = true, &Signature{Type: "btrfs", UUID: "u-old"}
		}, `stores.0.wipe_only (/dev/sdb): want btrfs with UUID u-old, found btrfs with UUID u-new`},
		{"mounted elsewhere", func(b *bench) { b.made(); b.dev("sdb").MountPoints = []string{"/mnt"} },
			`stores.0.mount (/dev/sdb): want /data/1, found a device that is mounted on /mnt`},
		{"swap", func(b *bench) { b.dev("sdb").MountPoints = []string{blockdev.Swap} },
			`stores.0.match (/dev/sdb): want a device that is not in use, found one that is swapped to`},
		{"a holder", func(b *bench) { b.dev("sdb").Holders = []string{"dm-0"} },
			`stores.0.match (/dev/sdb): want a device that nothing lies on, found one that holds dm-0`},
		{"read-only", func(b *bench) { b.dev("sdb").ReadOnly = true },
			`stores.0.match (/dev/sdb): want a writable device, found a read-only one`},
		{"too small", func(b *bench) { b.dev("sdb").Size = 20 * gib },
			`stores.0.min_size (/dev/sdb): want 50G (53687091200 bytes) or more, found 20G (21474836480 bytes)`},
		{"too small for xfs", func(b *bench) {
			b.dev("sdc").Size = 100 * mib
			b.spec.Disks[1].Match = Match{Name: "sdc"}
		}, `side_disk.fstype (/dev/sdc): want 300M (314572800 bytes) or more for xfs, found 100M (104857600 bytes)`},
		{"missing", func(b *bench) { b.spec.Disks[0].Match = Match{Serial: "S-9"} },
			`stores.0.match: want a device: serial S-9, found none among /dev/sda of 10G (10737418240 bytes) (serial S-sda), /dev/sdb of 100G (107374182400 bytes) (serial S-sdb), /dev/sdc of 25G (26843545600 bytes) (serial S-sdc)`},
		{"two match", func(b *bench) { b.dev("sdc").Serial = "S-sdb" },
			`stores.0.match: want a device: serial S-sdb, found 2 of them: /dev/sdb of 100G (107374182400 bytes) (serial S-sdb), /dev/sdc of 25G (26843545600 bytes) (serial S-sdb)`},
		{"two blank ones", func(b *bench) {
			add(b, blockdev.Device{KName: "sdd", Path: "/dev/sdd", Type: blockdev.TypeDisk, Size: 30 * gib})
		}, `side_disk.match: want a device: the only blank one of 25G (26843545600 bytes) or more, found 2 of them: /dev/sdc of 25G (26843545600 bytes) (serial S-sdc), /dev/sdd of 30G (32212254720 bytes)`},
		{"no blank one", func(b *bench) { b.dev("sdc").Size = 24 * gib },
			`side_disk.match: want a device: the only blank one of 25G (26843545600 bytes) or more, found none among /dev/sda of 10G (10737418240 bytes) (serial S-sda), /dev/sdb of 100G (107374182400 bytes) (serial S-sdb), /dev/sdc of 24G (25769803776 bytes) (serial S-sdc)`},
		{"one that may be blank", func(b *bench) { b.machine.Content["sdc"] = Content{Err: "it hangs"} },
			`side_disk.match (/dev/sdc): want a device: the only blank one of 25G (26843545600 bytes) or more, found a device of which nobody can say whether it is blank: it hangs`},
		{"both the same", func(b *bench) { b.spec.Disks[1].Match = Match{Name: "/dev/sdb"} },
			`side_disk.match (/dev/sdb): want a device of its own, found the one that stores.0 has`},
		{"does not answer", func(b *bench) { b.machine.Content["sdb"] = Content{Err: "signatures of several file systems"} },
			`stores.0.match (/dev/sdb): want a device that says what is on it, found signatures of several file systems`},
		{"swapped with node b", func(b *bench) {
			b.made()
			b.content("sdb", func(c *Content) { c.Store = &store.Identity{Cluster: "orders", ClusterID: "c1", Node: "b"} })
		},
			`stores.0.store.node (/dev/sdb): want a, found b`},
		{"of another cluster", func(b *bench) {
			b.made()
			b.content("sdb", func(c *Content) { c.Store = &store.Identity{ClusterID: "c9"} })
		},
			`stores.0.store.cluster_id (/dev/sdb): want c1, found c9`},
		{"a file system of nobody knows whose", func(b *bench) {
			b.made()
			b.content("sdb", func(c *Content) { c.Beside = []string{"dumps", "node7"} })
		}, `stores.0.match (/dev/sdb): want a file system with a store of this node in store, or with nothing in it, found dumps, node7`},
		{"damaged identity", func(b *bench) { b.made(); b.content("sdb", func(c *Content) { c.StoreErr = "it was edited" }) },
			`stores.0.store (/dev/sdb): want the identity of a store in store, found it was edited`},
		{"a store was here, and the disk is blank", func(b *bench) { b.spec.Disks[0].Store.StoreID = "s1" },
			`stores.0.store.store_id (/dev/sdb): want s1, found no file system, which would be made anew`},
		{"a blank disk where one was made before", func(b *bench) { b.spec.Disks[0].Made = true },
			`stores.0.made (/dev/sdb): want the ext4 labelled "hf-data-1" that was made before, found no file system, which would be made anew`},
		{"a store was here, and the disk is half made", func(b *bench) {
			b.machine.Content["sdb"] = Content{Signature: Signature{"ext4", HalfMade, "u"}}
			b.spec.Disks[0].Store.StoreID = "s1"
		}, `stores.0.store.store_id (/dev/sdb): want s1, found ext4 labelled "hf-making" with UUID u, which would be made anew`},
		{"a store was here, and told to wipe it", func(b *bench) {
			b.made()
			b.spec.Disks[0].Store.StoreID = "s1"
			b.spec.Disks[0].Wipe, b.spec.Disks[0].WipeOnly = true, &Signature{Type: "ext4", UUID: "u-1"}
		}, `stores.0.store.store_id (/dev/sdb): want s1, found ext4 labelled "hf-data-1" with UUID u-1, which would be made anew`},
		{"a store was here, and the file system is empty", func(b *bench) {
			b.mounted()
			b.content("sdb", func(c *Content) { c.Store = nil })
			b.spec.Disks[0].Store.StoreID = "s1"
		}, `stores.0.store.store_id (/dev/sdb): want s1, found no store in store`},
		{"a copy of the disk", func(b *bench) { b.made(); b.content("sda", func(c *Content) { c.Signature.UUID = "u-1" }) },
			`stores.0.match (/dev/sdb): want a file system that is on one device, found UUID u-1 on /dev/sda too`},
		{"shrunk", func(b *bench) { b.made(); b.dev("sdb").Size = 90 * gib },
			`stores.0.match (/dev/sdb): want a device as large as its file system, 100G (107374182400 bytes), found 90G (96636764160 bytes)`},
		{"something else is mounted there", func(b *bench) {
			b.made()
			b.machine.Mounts = append(b.machine.Mounts, mountinfo.Mount{ID: 9, Parent: 1, Minor: 40, Root: "/", Point: "/data/1", FSType: "tmpfs", Source: "none"})
		}, `stores.0.mount (/dev/sdb): want nothing but this device on /data/1, found none (0:40, tmpfs)`},
		{"the mount point is in use", func(b *bench) { b.machine.Points["/data/1"] = Point{Err: "a directory with 1 entries"} },
			`stores.0.mount (/dev/sdb): want an empty directory /data/1, or none, found a directory with 1 entries`},
		{"mounted read-only after an error", func(b *bench) { b.mounted(); b.machine.Mounts[1].SuperOptions = "ro" },
			`stores.0.mount (/dev/sdb): want a mount for writing on /data/1, found a read-only one, as after an error of the file system`},
		{"a file in place of a directory", func(b *bench) { b.mounted(); b.machine.Points["/data/1"].Dirs["store"] = Dir{NotDir: true} },
			`stores.0.directories.0.path (/dev/sdb): want a directory, found something else, store`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench()
			tc.edit(b)
			plan, err := b.plan()
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if len(plan.Steps) > 0 {
				t.Errorf("a refused plan has %d steps", len(plan.Steps))
			}
			for _, r := range Refusals(err) {
				if r.Next == "" {
					t.Errorf("%v does not say what to do", r)
				}
			}
		})
	}
}

// Both disks are wrong, and a person is told of both.
func TestAllRefusals(t *testing.T) {
	b := newBench()
	b.spec.Disks[0].Match.Serial = "none"
	b.spec.Disks[1].Match = Match{ByID: "scsi-none"}
	_, err := b.plan()
	if got := len(Refusals(fmt.Errorf("in a file: %w", err))); got != 2 {
		t.Errorf("%d refusals, want 2: %v", got, err)
	}
}

func TestMatch(t *testing.T) {
	d := blockdev.Device{
		Name: "vg-data", KName: "dm-3", Path: "/dev/mapper/vg-data", Type: "lvm", Size: 30 * gib, WWN: "0x5000C5",
		ByID: []string{"/dev/disk/by-id/dm-name-vg-data"},
	}
	for _, tc := range []struct {
		m    Match
		want bool
	}{
		{Match{Name: "vg-data"}, true},
		{Match{Name: "dm-3"}, true},
		{Match{Name: "/dev/dm-3"}, true},
		{Match{Name: "/dev/mapper/vg-data"}, true},
		{Match{Name: "data"}, false},
		{Match{ByID: "dm-name-vg-data"}, true},
		{Match{ByID: "/dev/disk/by-id/dm-name-vg-data", Size: 30 * gib}, true},
		{Match{ByID: "dm-name-vg-data", Size: 31 * gib}, false},
		{Match{WWN: "0x5000c5", Type: "lvm"}, true},
		{Match{WWN: "0x5000c5"}, false}, // only disks, unless it says otherwise
		{Match{Size: 30 * gib, Type: "disk"}, false},
		{Match{OnlyBlank: true, MinSize: 31 * gib, Type: "lvm"}, false},
	} {
		if got := tc.m.fits(&d); got != tc.want {
			t.Errorf("%s: %v", tc.m, got)
		}
	}
}

// text prints the plan for a person.
func (p Plan) text(w io.Writer) error {
	var b strings.Builder
	if len(p.Steps) == 0 {
		b.WriteString("Nothing to do: the disks are what the spec says.\n")
	}
	field := ""
	for i, s := range p.Steps {
		if s.Field != field {
			field = s.Field
			fmt.Fprintf(&b, "%s, %s\n", field, s.Device)
		}
		fmt.Fprintf(&b, "  %2d. %s\n", i+1, s)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
