// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// ErrUnsafe: the disk is one that a drill must not freeze. Nothing was done.
var ErrUnsafe = errors.New("this disk is not frozen")

// facts are what this machine says of a disk; guard decides over them.
type facts struct {
	directory string // the cluster's
	table     mountinfo.Table
	backing   string   // the file below the device; "" where it is no loop device
	nested    []string // files on the disk that are loop devices themselves
	users     []user   // processes with something open on it, the node's own left out
}

type user struct {
	pid  int
	name string
	what string // a path
}

// guard refuses a disk whose hanging could harm anything but its node.
func guard(d Disk, f facts) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrUnsafe}, args...)...)
	}
	root, _ := f.table.Of("/")
	m, ok := f.table.Of(d.Path)
	switch {
	case d.Mountpoint == "" || d.Path == "":
		return refuse("its agent does not say where it is mounted")
	case !ok || m.Point != d.Mountpoint || m.MajMin() != d.MajMin:
		return refuse("the agent sees %s as %s at %s, this machine as %s at %s", d.Path, d.MajMin, d.Mountpoint, m.MajMin(), m.Point)
	case m.Point == "/" || m.MajMin() == root.MajMin():
		return refuse("%s lies on the root file system: this machine would hang with it", d.Path)
	case f.backing == "":
		return refuse("%s is no loop device: it is not the local platform's", cmp.Or(m.Device(), m.MajMin()))
	case !below(f.backing, f.directory) || !below(m.Point, f.directory):
		return refuse("%s is mounted at %s over %s, which is not below the cluster's directory %s", m.Device(), m.Point, f.backing, f.directory)
	}
	for _, o := range f.table {
		if o.ID == m.ID {
			continue
		}
		if o.MajMin() == m.MajMin() {
			return refuse("it is mounted at %s, too: unmount it there first", o.Point)
		}
		if below(o.Point, m.Point) {
			return refuse("something is mounted on it at %s: unmount that first", o.Point)
		}
	}
	if len(f.nested) > 0 {
		return refuse("%s on it is a disk itself", f.nested[0])
	}
	if len(f.users) > 0 {
		u := f.users[0]
		return refuse("process %d (%s) uses %s: end it, or let it go elsewhere, first", u.pid, u.name, u.what)
	}
	return nil
}

func below(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }

// look gathers the facts about a disk of a node. It reads nothing of the disk.
func look(c *Cluster, n Node, d Disk) (facts, error) {
	f := facts{directory: c.Directory}
	var err error
	if f.table, err = mountinfo.Read(); f.table == nil {
		return f, err
	}
	f.backing = backingFile(filepath.Join("/sys/dev/block", d.MajMin, "loop/backing_file"))
	others, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return f, err
	}
	for _, o := range others {
		if file := backingFile(o); below(file, d.Mountpoint) {
			f.nested = append(f.nested, file)
		}
	}
	f.users = usersOf(d.Mountpoint, n.pids)
	return f, nil
}

func backingFile(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "" // no loop device, or not any more
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), " (deleted)")
}

// usersOf returns the processes that have a working directory, a root or a file
// open at or below point, this one among them.
func usersOf(point string, except []int) (all []user) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || slices.Contains(except, pid) {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		links := []string{filepath.Join(dir, "cwd"), filepath.Join(dir, "root"), filepath.Join(dir, "exe")}
		fds, _ := os.ReadDir(filepath.Join(dir, "fd")) // none of a process that is gone
		for _, fd := range fds {
			links = append(links, filepath.Join(dir, "fd", fd.Name()))
		}
		for _, l := range links {
			if to, err := os.Readlink(l); err == nil && (to == point || below(to, point)) {
				name, _ := os.ReadFile(filepath.Join(dir, "comm"))
				all = append(all, user{pid: pid, name: string(bytes.TrimSpace(name)), what: to})
				break
			}
		}
	}
	return all
}

// leaving is how long somebody who uses a disk may take to leave: the thawer of a
// drill that was killed a moment ago does.
const leaving = 2 * time.Second

// openDisk returns the root directory of a disk that a drill may freeze.
func openDisk(c *Cluster, n Node, d Disk) (*os.File, error) {
	var err error
	for until := time.Now().Add(leaving); ; time.Sleep(leaving / 20) {
		var f facts
		if f, err = look(c, n, d); err == nil {
			err = guard(d, f)
		}
		if len(f.users) == 0 || err == nil || time.Now().After(until) {
			break
		}
	}
	if err != nil {
		return nil, &agentapi.Error{
			What: fmt.Sprintf("disk %s of node %s cannot be made to hang", d.Name, n.Name), Why: err.Error(),
			Next: "Nothing was done. A drill hangs only what `make run`, or holdfast_cluster on the local platform, made as root.",
		}
	}
	dir, err := os.OpenFile(d.Mountpoint, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if got := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)); got != d.MajMin {
		return nil, errors.Join(fmt.Errorf("%w: %s was %s and is %s", ErrUnsafe, d.Mountpoint, d.MajMin, got), dir.Close())
	}
	return dir, nil
}
