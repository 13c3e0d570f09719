// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// What a disk is to its node: the value of labelDisk, and the device name by which the
// guest finds it, as /dev/disk/by-id/google-<role>.
const (
	bootRole = "boot"
	sideRole = "side"
)

// dataRole is the role of the i-th data disk, from 0: data-1.
func dataRole(i int) string { return fmt.Sprintf("data-%d", i+1) }

const (
	maxName = 63 // Google's
	// room is what is left for the name of an instance, so that the names of its disks fit.
	room = maxName - len("-data-999")
)

// fit is name, or where that is longer than most, its beginning and a hash of the whole.
func fit(name string, most int) string {
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	tail := "-" + hex.EncodeToString(sum[:4])
	return strings.TrimRight(name[:most-len(tail)], "-") + tail
}

func instanceName(cluster, node string) string { return fit(cluster+"-"+node, room) }

func diskName(cluster, node, role string) string {
	if role == bootRole {
		return instanceName(cluster, node)
	}
	return instanceName(cluster, node) + "-" + role
}

// tagOf is the network tag of a cluster's machines, and the stem of its firewall rules' names.
func tagOf(cluster string) string { return fit("holdfast-"+cluster, room) }

// last is the name at the end of a link.
func last(link string) string { return link[strings.LastIndexByte(link, '/')+1:] }
