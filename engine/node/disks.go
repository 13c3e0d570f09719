// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Disks open what a node keeps of its logs on disk. Implementations are safe
// for concurrent use.
type Disks interface {
	// FS is the file system that dir, a store's or a side's, lies on.
	FS(dir string) vfs.FS
	// OpenLog opens the log in dir, as logstore.Open does.
	OpenLog(dir string, o logstore.Options) (s logstore.Store, warning string, err error)
}

// OSDisks are those of the operating system.
type OSDisks struct{}

// FS implements Disks.
func (OSDisks) FS(string) vfs.FS { return vfs.OS{} }

// OpenLog implements Disks.
func (OSDisks) OpenLog(dir string, o logstore.Options) (logstore.Store, string, error) {
	return logstore.Open(dir, o)
}
