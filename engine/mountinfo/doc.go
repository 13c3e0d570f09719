// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package mountinfo reads /proc/self/mountinfo and says which mount a path
// lies on, in the terms that lsblk and cgroup's io.max use: mount point,
// source and MAJ:MIN.
//
// The kernel's table is a tree, not a list: a later mount on /srv hides an
// earlier one on /srv/data, so the longest prefix alone can name a mount that
// no path reaches. [Table.Of] walks the tree by mount and parent id, as the
// kernel does.
//
// It writes nothing, and opens nothing but the table and the links of a path:
// it never waits for a disk that hangs, except where a symbolic link on the
// path has to be read from it.
package mountinfo
