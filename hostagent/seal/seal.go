// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package seal takes from a machine what is its alone, so that an image can be made of
// its disk: host keys, the machine's id, the seed of its random numbers, its journal,
// and the keys of whoever logged in to prepare it. What a machine makes again at its
// next start is removed; nothing else is touched. A machine that is a node is refused.
//
//	holdfast image seal ─▶ Seal(root, users)
package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// own are patterns of what a machine makes again, below its root.
var own = []string{
	"etc/ssh/ssh_host_*",
	"var/lib/dbus/machine-id",
	"var/lib/systemd/random-seed",
	"var/lib/systemd/credential.secret",
	"var/log/journal/*",
	"var/lib/dhcp/*.leases",
	"run/holdfast-image",
}

// machineID is emptied, as machine-id(5) says of an image: systemd fills it at the first start.
const machineID = "etc/machine-id"

// nodes is where an agent has what makes a machine a node.
var nodes = []string{"var/lib/holdfast/node.json", "etc/systemd/system/holdfast-agent.service"}

// errNode: an image of a node would be that node again, twice.
var errNode = errors.New("this machine is a node")

// Seal removes what is the machine's alone from the file system at root, and the keys of
// the users, whose home directories are given relative to it. It returns what it
// removed, sorted. It can be repeated; what is gone is no error. Durable once synced.
func Seal(root string, homes []string) ([]string, error) {
	at, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = at.Close() }() // only looked through
	for _, name := range nodes {
		if _, err := at.Lstat(name); err == nil {
			return nil, &agentapi.Error{What: "the machine is not sealed", Why: fmt.Sprintf("%v: there is /%s", errNode, name),
				Next: "Make images of machines that were never one; holdfast agent remove ends a node."}
		}
	}
	patterns := slices.Clone(own)
	for _, home := range homes {
		patterns = append(patterns, path.Join(strings.Trim(filepath.Clean(home), "/"), ".ssh/authorized_keys"))
	}
	var removed []string
	var failed []error
	for _, pattern := range patterns {
		found, err := fs.Glob(at.FS(), pattern)
		failed = append(failed, err)
		for _, name := range found {
			if err := at.RemoveAll(name); err != nil {
				failed = append(failed, err)
				continue
			}
			removed = append(removed, "/"+name)
		}
	}
	if fi, err := at.Stat(machineID); err == nil && fi.Size() > 0 {
		if err := at.WriteFile(machineID, nil, fi.Mode().Perm()); err != nil {
			failed = append(failed, err)
		} else {
			removed = append(removed, "/"+machineID)
		}
	}
	slices.Sort(removed)
	return removed, errors.Join(failed...)
}
