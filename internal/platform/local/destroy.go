// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

var (
	errInUse    = errors.New("its device is still in use") // by somebody else
	errLink     = errors.New("it is a symbolic link")
	errNoAnswer = errors.New("the disk does not answer")
)

// Bounds of what a destroy waits for.
const (
	engineGentle = 10 * time.Second // an engine's end, before it is killed
	unmountBound = 10 * time.Second // what still holds a mount
)

// Destroy implements platform.Platform.
func (l *Local) Destroy(ctx context.Context, id string, progress func(string)) (err error) {
	say := steps(progress)
	if rec, err := l.look(); err != nil {
		return err
	} else if _, serr := os.Lstat(l.lockPath()); rec == nil && errors.Is(serr, os.ErrNotExist) {
		return nil // nothing is made where nothing is
	}
	unlock, err := l.lock(ctx, say)
	if errors.Is(err, os.ErrNotExist) { // another run has just ended it
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }() // which removes the directory
	rec, err := l.look()
	if err != nil || rec == nil {
		return err
	}
	if rec.ID != id {
		return &platform.Error{What: "the cluster in " + l.dir + " is not destroyed",
			Err:  fmt.Errorf("%w: its id is %s, asked for is %s", errOther, rec.ID, id),
			Next: "It belongs to another state; destroy it from there. To forget this one, use terraform state rm."}
	}
	return l.dismantle(ctx, rec, say)
}

// dismantle removes everything of a cluster: agents first, so that none starts
// an engine again, then engines, mounts, and the files that were made here. The
// record goes last: until then an interrupted run is ended by the next. What is
// not ours stops it before anything is unmounted or removed.
func (l *Local) dismantle(ctx context.Context, rec *record, say say) error {
	if !rec.Destroying {
		rec = rec.clone()
		rec.Destroying = true
		// A full disk must not keep us from emptying it. Without the mark, who
		// goes on after an interruption is told that disks are lost.
		if err := l.save(rec); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			return err
		}
	}
	if err := l.endAll(ctx, roleAgent, say); err != nil {
		return err
	}
	if err := l.checkForeign(rec); err != nil {
		return err
	}
	// A frozen file system holds its engine, and would outlive its unmount.
	err := l.eachNode(ctx, rec.names(), func(ctx context.Context, node string) error {
		for _, v := range l.volumes(rec, node) {
			if err := v.thaw(ctx, say); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.endAll(ctx, roleEngine, say); err != nil {
		return err
	}
	err = l.eachNode(ctx, rec.names(), func(ctx context.Context, node string) error {
		for _, v := range l.volumes(rec, node) {
			if err := v.unmount(ctx, say); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	// A mount that came meanwhile would lose its files.
	if err := l.checkForeign(rec); err != nil {
		return err
	}
	for _, n := range rec.names() {
		if err := l.removeNode(rec, n.Name); err != nil {
			return l.failed("remove node "+n.Name, err)
		}
		say("node %s: removed", n.Name)
	}
	if err := l.removeRest(); err != nil {
		return l.failed("remove the rest of "+l.dir, err)
	}
	say("destroyed cluster %s (%s)", rec.Name, rec.ID)
	return nil
}

// checkForeign refuses where removing would go into what is not ours: a directory
// that was replaced by a link, or a mount below it that is no disk of the cluster.
func (l *Local) checkForeign(rec *record) error {
	refuse := func(err error, next string) error {
		return &platform.Error{What: "the cluster in " + l.dir + " is not removed", Err: err, Next: next + " and destroy again; nothing was removed."}
	}
	trees := []string{l.nodesDir(), l.binDir()} // which are removed with all that is in them
	for _, dir := range append(trees, l.disksDir()) {
		if fi, err := os.Lstat(dir); err == nil && fi.Mode()&os.ModeSymlink != 0 {
			return refuse(fmt.Errorf("%w: %s", errLink, dir), "Put the directory itself in its place")
		}
	}
	var ours []mountinfo.Mount // by point and device
	for node := range rec.Nodes {
		for _, v := range l.volumes(rec, node) {
			attached, err := loopsOf(v.image)
			if err != nil {
				return err
			}
			for _, d := range attached {
				ours = append(ours, mountinfo.Mount{Point: v.point, Major: loopMajor, Minor: uint32(d.number)})
			}
		}
	}
	foreign, err := mounts(func(m mountinfo.Mount) bool {
		inside := slices.ContainsFunc(trees, func(dir string) bool { return m.Point == dir || strings.HasPrefix(m.Point, dir+"/") })
		return inside && !slices.Contains(ours, mountinfo.Mount{Point: m.Point, Major: m.Major, Minor: m.Minor})
	})
	if err != nil || len(foreign) == 0 {
		return err
	}
	return refuse(fmt.Errorf("%w: %s at %s", errMountPoint, foreign[0].Source, foreign[0].Point), "Unmount it with umount "+foreign[0].Point)
}

// removeNode removes the images of a node and its directory, in which nothing is mounted.
func (l *Local) removeNode(rec *record, node string) error {
	for _, v := range l.volumes(rec, node) {
		if v.image == "" {
			continue
		}
		if err := errors.Join(v.removeUnfinished(), remove(v.image)); err != nil {
			return err
		}
	}
	return os.RemoveAll(l.nodeDir(node))
}

// removeRest removes what is not a node's, the record last. A directory that holds
// a file which is not ours stays.
func (l *Local) removeRest() error {
	if err := os.RemoveAll(l.binDir()); err != nil {
		return err
	}
	for _, path := range []string{l.disksDir(), l.nodesDir(), l.recordPath() + ".new", l.recordPath()} {
		if err := remove(path); err != nil {
			return err
		}
	}
	return syncDir(l.dir)
}

// remove removes a file, or a directory that is empty and nobody's mount point.
func remove(path string) error {
	err := os.Remove(path)
	for _, harmless := range []error{os.ErrNotExist, unix.ENOTEMPTY, unix.EBUSY} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	return err
}

// endAll ends the processes of one role on all nodes, at once.
func (l *Local) endAll(ctx context.Context, role string, say say) error {
	all, err := l.processes()
	if err != nil {
		return err
	}
	errs := make(chan error, len(all))
	n := 0
	for _, p := range all {
		if p.role != role {
			continue
		}
		n++
		gentle := agentGentle
		if role == roleEngine {
			gentle = engineGentle
		}
		say("node %s: stopping the %s (pid %d)", p.node, p.role, p.PID)
		go func() { // owned by this call: its answer is waited for
			if err := end(ctx, p, gentle, killBound); err != nil {
				errs <- &platform.Error{What: p.String() + " cannot be stopped", Err: err,
					Next: "Wait for its disk, and destroy again; nothing was removed."}
				return
			}
			errs <- nil
		}()
	}
	var joined error
	for range n {
		joined = errors.Join(joined, <-errs)
	}
	return joined
}

// fiThaw is FITHAW, _IOWR('X', 120, int), as amd64 and arm64 have it; FIFREEZE is one less.
const fiThaw = 0xC0045878

// inTime runs a call that a disk may hold in the kernel, and gives it up after
// bound. It ends then when the kernel lets it.
func inTime(ctx context.Context, bound time.Duration, call func() error) error {
	done := make(chan error, 1) // one result, whether somebody waits or not
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-time.After(bound):
		return errNoAnswer
	case <-ctx.Done():
		return ctx.Err()
	}
}

// thaw thaws the file system of a mounted volume that somebody froze.
func (v volume) thaw(ctx context.Context, say say) error {
	device, err := v.device()
	if err != nil || device == "" {
		return err
	}
	thawed := false
	err = inTime(ctx, killBound, func() error {
		dir, err := os.OpenFile(v.point, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer func() { _ = dir.Close() }() // nothing was written
		err = unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0)
		thawed = err == nil
		if errors.Is(err, unix.EINVAL) { // it was not frozen
			return nil
		}
		return err
	})
	if err != nil {
		return &platform.Error{What: fmt.Sprintf("disk %s of node %s cannot be looked at in %s", v.name, v.node, v.point), Err: err,
			Next: "Wait for the disk, and destroy again; nothing was removed."}
	}
	if thawed {
		say("node %s: thawed %s, which was frozen", v.node, v.point)
	}
	return nil
}

// unmount takes a volume from the machine. The loop device clears itself with
// its last mount; one that was attached by hand is detached.
func (v volume) unmount(ctx context.Context, say say) error {
	stuck := func(err error) error {
		return &platform.Error{What: fmt.Sprintf("disk %s of node %s cannot be unmounted from %s", v.name, v.node, v.point), Err: err,
			Next: fmt.Sprintf("See who holds it with fuser -vm %s, end that, and destroy again.", v.point)}
	}
	at, err := mountsAt(v.point)
	if err != nil {
		return err
	}
	for range at {
		err := inTime(ctx, unmountBound+killBound, func() error {
			_, err := settled(ctx, unmountBound, func() (bool, error) {
				err := unix.Unmount(v.point, unix.UMOUNT_NOFOLLOW)
				if errors.Is(err, unix.EBUSY) {
					return false, nil
				}
				return true, err
			})
			return err
		})
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it is not mounted any more
			return stuck(err)
		}
	}
	if left, err := mountsAt(v.point); err != nil || len(left) > 0 {
		return stuck(errors.Join(err, unix.EBUSY))
	}
	if len(at) > 0 {
		say("node %s: unmounted %s", v.node, v.point)
	}
	attached, err := loopsOf(v.image)
	if err != nil {
		return err
	}
	for _, d := range attached {
		if err := detach(d); err != nil {
			return stuck(err)
		}
	}
	gone, err := settled(ctx, killBound, func() (bool, error) {
		attached, err = loopsOf(v.image)
		return len(attached) == 0, err
	})
	if err == nil && !gone {
		return v.inUse(attached[0])
	}
	return err
}

// inUse says what keeps a device that is not mounted here: another mount, or a file
// system that was frozen when somebody unmounted it.
func (v volume) inUse(d loop) error {
	e := &platform.Error{What: fmt.Sprintf("disk %s of node %s cannot be removed", v.name, v.node), Err: fmt.Errorf("%w: %s", errInUse, d.path()),
		Next: fmt.Sprintf("If it was frozen, mount %s anywhere, thaw it there (fsfreeze -u) and unmount it; else end what has it open (fuser %[1]s). Then destroy again.", d.path())}
	if at, err := mountsOf(d); err == nil && len(at) > 0 {
		e.Err = fmt.Errorf("%w: %s is mounted at %s, too", errInUse, d.path(), at[0].Point)
		e.Next = "Unmount it with umount " + at[0].Point + " and destroy again."
	}
	return e
}
