// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"maps"
	"strconv"
	"strings"
)

// The labels by which a cluster's disks and instances are known. Whatever lacks
// labelCluster is somebody else's, by whatever name.
const (
	labelCluster = "holdfast-cluster" // the cluster's ID
	labelName    = "holdfast-name"    // and its name
	labelNode    = "holdfast-node"
	labelDisk    = "holdfast-disk" // of disks: their role
	// labelStores is the number of data disks that the node was made with. A disk of a
	// lower number that is missing is lost; one of a higher number is to be added.
	labelStores = "holdfast-stores"
	// labelAddress, of disks, is the internal address of the node, 10-128-0-2: a machine that is made
	// anew gets it again.
	labelAddress = "holdfast-address"
	// labelState, of disks, is destroying once the destruction of the cluster was begun.
	labelState = "holdfast-state"

	destroying = "destroying"
)

// Metadata of instances that is the cluster's.
const (
	metaKeys       = "ssh-keys"
	metaAttributes = "enable-guest-attributes"
	metaOSLogin    = "enable-oslogin"
	// metaImage is the image as it was asked for, which may be a family: the one that the
	// boot disk has is a certain image, and a new one of the family is no reason to replace it.
	metaImage = "holdfast-image"
)

func with(labels map[string]string, more ...string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, labels)
	for i := 0; i < len(more); i += 2 {
		if more[i+1] != "" {
			out[more[i]] = more[i+1]
		}
	}
	return out
}

func addressLabel(address string) string { return strings.ReplaceAll(address, ".", "-") }
func addressOf(labels map[string]string) string {
	return strings.ReplaceAll(labels[labelAddress], "-", ".")
}

// storesOf is the number of data disks that labels speak of.
func storesOf(labels map[string]string) int {
	n, err := strconv.Atoi(labels[labelStores])
	if err != nil {
		return 0
	}
	return n
}

// googles tells whether a label is one that Google's own services set and keep.
func googles(key string) bool { return strings.HasPrefix(key, "goog-") }

// sameLabels compares labels, without Google's.
func sameLabels(want, have map[string]string) bool {
	n := 0
	for k, v := range have {
		if googles(k) {
			continue
		}
		if w, ok := want[k]; !ok || w != v {
			return false
		}
		n++
	}
	return n == len(want)
}

// withGoogles is want and those that Google's services had set.
func withGoogles(want, have map[string]string) map[string]string {
	out := maps.Clone(want)
	for k, v := range have {
		if googles(k) {
			out[k] = v
		}
	}
	return out
}

// owner is the first line of the description of a firewall rule: rules have no labels.
func owner(id string) string { return labelCluster + ": " + id }

// ownerOf is the ID of the cluster that a description names.
func ownerOf(description string) string {
	line, _, _ := strings.Cut(description, "\n")
	id, _ := strings.CutPrefix(line, labelCluster+": ")
	if id == line {
		return ""
	}
	return id
}
