// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hierarchies are where systemd's cgroups may be: the one of version 2, and with version 1
// its own, with one of version 2 beside it or without.
var hierarchies = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}

// Processes are those of a service, also such that systemd has given up: killed, and held
// by a disk.
func Processes(ctx context.Context, run Runner, name string) ([]int, error) {
	out, err := run.Run(ctx, "systemctl", "show", "--property=ControlGroup", "--", name)
	if err != nil {
		return nil, err
	}
	u, err := parseUnit(out)
	if err != nil {
		return nil, err
	}
	return processesOf(hierarchies, groupOf(u, name)), nil
}

// groupOf is the cgroup of a unit. systemd may not name one that it has given up.
func groupOf(u unitState, name string) string {
	if u.group != "" {
		return u.group
	}
	return "/system.slice/" + name
}

func processesOf(hierarchies []string, group string) []int {
	var pids []int
	for _, h := range hierarchies {
		b, err := os.ReadFile(filepath.Join(h, group, "cgroup.procs"))
		if err != nil {
			continue // it has none there
		}
		for _, word := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(word); err == nil && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
