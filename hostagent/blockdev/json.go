// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Report is the answer to "which devices are there" as JSON: a tree below
// "blockdevices", with the keys and the types of `lsblk --json --bytes
// --output-all`. What lsblk does not have comes last: "by-id", "by-path",
// "holders", "back-file" and "disk-name".
type Report []Device

// MarshalJSON implements json.Marshaler.
func (r Report) MarshalJSON() ([]byte, error) { return report(r, false) }

// JSON writes a Report. With human, sizes are strings ("54.7M") as lsblk
// prints them without --bytes.
func JSON(w io.Writer, devices []Device, human bool) error {
	data, err := report(devices, human)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "   "); err != nil {
		return fmt.Errorf("printing devices: %w", err)
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

func report(devices []Device, human bool) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"blockdevices":`)
	if err := writeNodes(&b, Tree(devices), human); err != nil {
		return nil, fmt.Errorf("printing devices: %w", err)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func writeNodes(b *bytes.Buffer, nodes []Node, human bool) error {
	b.WriteByte('[')
	for i, n := range nodes {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeNode(b, n, human); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

// writeNode writes an object whose keys come in the order of the list: a
// person reads it too.
func writeNode(b *bytes.Buffer, n Node, human bool) error {
	for i, f := range fields(n, human) {
		b.WriteByte("{,"[min(i, 1)])
		key, err := json.Marshal(f.key)
		if err != nil {
			return err
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	if len(n.Children) > 0 {
		b.WriteString(`,"children":`)
		if err := writeNodes(b, n.Children, human); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

type field struct {
	key   string
	value any
}

func fields(n Node, human bool) []field {
	d := n.Device
	size := func(v uint64) any {
		if human {
			return HumanSize(v)
		}
		return v
	}
	var fsSize, fsUsed, fsAvail, fsPercent any
	if u := d.Usage; u != nil {
		fsSize, fsUsed, fsAvail, fsPercent = size(u.Size), size(u.Used), size(u.Available), u.percent()
	}
	var parent, start any
	if n.Parent != nil {
		parent = n.Parent.KName
	}
	if d.Type == TypePart {
		start = number(d.Start)
	}
	return []field{
		{"name", text(d.Name)}, {"kname", text(d.KName)}, {"path", text(d.Path)},
		{"maj:min", d.MajMin()}, {"pkname", parent}, {"type", text(d.Type)},
		{"size", size(d.Size)}, {"ro", d.ReadOnly}, {"rm", d.Removable}, {"rota", d.Rotational},
		{"fstype", text(d.FSType)}, {"fsver", text(d.FSVersion)}, {"label", text(d.Label)}, {"uuid", text(d.UUID)},
		{"fssize", fsSize}, {"fsused", fsUsed}, {"fsavail", fsAvail}, {"fsuse%", fsPercent},
		{"mountpoints", list(d.MountPoints)},
		{"model", text(d.Model)}, {"serial", text(d.Serial)}, {"vendor", text(d.Vendor)}, {"rev", text(d.Revision)},
		{"wwn", text(d.WWN)}, {"tran", text(d.Transport)},
		{"sched", text(d.Scheduler)}, {"rq-size", number(d.QueueDepth)},
		{"log-sec", number(d.LogicalSector)}, {"phy-sec", number(d.PhysicalSector)},
		{"min-io", d.MinimumIO}, {"opt-io", d.OptimalIO},
		{"pttype", text(d.PartTableType)}, {"ptuuid", text(d.PartTableUUID)},
		{"parttype", text(d.PartType)}, {"partuuid", text(d.PartUUID)}, {"partlabel", text(d.PartLabel)},
		{"partflags", text(d.PartFlags)}, {"start", start},
		{"by-id", list(d.ByID)}, {"by-path", list(d.ByPath)}, {"holders", list(d.Holders)}, {"back-file", text(d.BackingFile)},
		{"disk-name", text(d.DiskName)},
	}
}

func (u *Usage) percent() string {
	if u.Size == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", float64(u.Used)/float64(u.Size)*100)
}

func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func number(v uint64) any {
	if v == 0 {
		return nil
	}
	return v
}

// list is lsblk's way with a column of several values: no value is one null.
func list(values []string) any {
	if len(values) == 0 {
		return []any{nil}
	}
	return values
}
