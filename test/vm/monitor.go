// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// Limits are of one disk, per second; zero is no limit.
type Limits struct {
	ReadBytes, WriteBytes int64
	ReadIOPS, WriteIOPS   int64
}

// Throttle limits a disk in QEMU, beneath the guest's kernel: the guest knows
// only that its disk is slow.
func (q *QMP) Throttle(ctx context.Context, serial string, l Limits) error {
	return q.Execute(ctx, "block_set_io_throttle", object{"id": serial,
		"bps": 0, "bps_rd": l.ReadBytes, "bps_wr": l.WriteBytes,
		"iops": 0, "iops_rd": l.ReadIOPS, "iops_wr": l.WriteIOPS}, nil)
}

// SystemReset presses the reset button.
func (q *QMP) SystemReset(ctx context.Context) error {
	return q.Execute(ctx, "system_reset", nil, nil)
}

// SystemPowerdown presses the power button: the guest shuts down if it will.
func (q *QMP) SystemPowerdown(ctx context.Context) error {
	return q.Execute(ctx, "system_powerdown", nil, nil)
}

// Status is QEMU's word for how the guest does: running, paused, internal-error.
func (q *QMP) Status(ctx context.Context) (string, error) {
	var answer struct {
		Status string `json:"status"`
	}
	err := q.Execute(ctx, "query-status", nil, &answer)
	return answer.Status, err
}

// Human gives a command of the monitor for people, where QMP has none.
func (q *QMP) Human(ctx context.Context, line string) (string, error) {
	var answer string
	err := q.Execute(ctx, "human-monitor-command", object{"command-line": line}, &answer)
	return answer, err
}

// Plug attaches a disk: a new one, blank, or one that was unplugged.
func (m *Machine) Plug(ctx context.Context, d Disk) error {
	c := m.Config
	c.Disks = append(slices.Clone(c.Disks), d)
	if err := c.validate(); err != nil {
		return m.wrap("plugging a disk in", err)
	}
	slots := slices.Clone(m.slots)
	if d.Kind != SCSI {
		free := slices.Index(slots, "")
		if free < 0 {
			return fmt.Errorf("machine %s: disk %s: all %d slots are taken", m.Name, d.Serial, len(slots))
		}
		slots[free] = d.Serial
	}
	if _, err := os.Stat(m.content(d)); err != nil {
		if err := m.makeDisk(d); err != nil {
			return fmt.Errorf("machine %s: %w", m.Name, err)
		}
	}
	l := m.launch
	l.slots = slots
	if err := m.QMP().Execute(ctx, "blockdev-add", l.node(d), nil); err != nil {
		return m.wrap("plugging disk "+d.Serial+" in", err)
	}
	if err := m.QMP().Execute(ctx, "device_add", l.device(d), nil); err != nil {
		return m.wrap("plugging disk "+d.Serial+" in", err)
	}
	m.Config, m.slots = c, slots
	return nil
}

// Unplug takes a disk out, and waits until the guest let go of it. What is on
// it stays, for a Plug.
func (m *Machine) Unplug(ctx context.Context, serial string) error {
	mark := m.QMP().Mark()
	err := m.QMP().Execute(ctx, "device_del", object{"id": serial}, nil)
	if err == nil {
		_, err = m.QMP().Await(ctx, mark, func(e Event) bool {
			var data struct {
				Device string `json:"device"`
			}
			return e.Name == "DEVICE_DELETED" && json.Unmarshal(e.Data, &data) == nil && data.Device == serial
		})
	}
	if err == nil {
		err = m.QMP().Execute(ctx, "blockdev-del", object{"node-name": nodeName(serial)}, nil)
	}
	if err != nil {
		return m.wrap("taking disk "+serial+" out", err)
	}
	m.Disks = slices.DeleteFunc(slices.Clone(m.Disks), func(d Disk) bool { return d.Serial == serial })
	if i := slices.Index(m.slots, serial); i >= 0 {
		m.slots[i] = ""
	}
	return nil
}

// Resize grows a disk, and the guest sees it. QEMU grows no NVMe disk that is
// plugged in, so that such a disk is taken out and put in again: nothing of it
// may be mounted.
func (m *Machine) Resize(ctx context.Context, serial string, size int64) error {
	d, ok := m.Disk(serial)
	if !ok {
		return fmt.Errorf("machine %s has no disk %s", m.Name, serial)
	}
	if size < d.Size {
		return fmt.Errorf("machine %s: disk %s: %d bytes are less than its %d", m.Name, serial, size, d.Size)
	}
	d.Size = size
	if d.Kind == NVMe {
		if err := m.Unplug(ctx, serial); err != nil {
			return err
		}
		if err := os.Truncate(m.content(d), size); err != nil {
			return m.wrap("resizing disk "+serial, err)
		}
		return m.Plug(ctx, d)
	}
	if err := m.QMP().Execute(ctx, "block_resize", object{"node-name": nodeName(serial), "size": size}, nil); err != nil {
		return m.wrap("resizing disk "+serial, err)
	}
	m.Disks[slices.IndexFunc(m.Disks, func(d Disk) bool { return d.Serial == serial })] = d
	return nil
}
