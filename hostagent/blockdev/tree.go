// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import "slices"

// Node is a device in the tree, with what lies on it.
type Node struct {
	Device *Device
	// Parent is what the device hangs from here, nil at a root.
	Parent   *Device
	Children []Node
}

// Tree arranges devices as lsblk prints them: below a disk its partitions and
// what holds it, each in the order of devices. A device that lies on several
// (a RAID, a multipath map) is below each of them. Devices that lie on
// something are no roots.
func Tree(devices []Device) []Node {
	position := make(map[string]int, len(devices))
	for i := range devices {
		position[devices[i].KName] = i
	}
	var roots []Node
	for i := range devices {
		if len(devices[i].Parents) == 0 {
			roots = append(roots, grow(devices, position, i, nil, nil))
		}
	}
	return roots
}

// grow makes the node of one device. above are the devices on the way to the
// root: a loop in what sysfs says, while a stack is being rebuilt, is cut.
func grow(devices []Device, position map[string]int, at int, parent *Device, above []int) Node {
	d := &devices[at]
	n := Node{Device: d, Parent: parent}
	above = append(slices.Clone(above), at)
	var below []int
	for _, name := range slices.Concat(d.Partitions, d.Holders) {
		if i, ok := position[name]; ok && !slices.Contains(above, i) {
			below = append(below, i)
		}
	}
	slices.Sort(below)
	for _, i := range slices.Compact(below) {
		n.Children = append(n.Children, grow(devices, position, i, d, above))
	}
	return n
}
