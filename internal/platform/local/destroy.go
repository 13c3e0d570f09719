// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Bounds of what a destroy waits for.
const (
	engineGentle = 10 * time.Second // an engine's end, before it is killed
	unmountBound = 10 * time.Second // what still holds a mount
)

// Destroy implements platform.Platform.
func (l *Local) Destroy(ctx context.Context, id string, progress func(string)) error {
	say := steps(progress)
	rec, err := l.look()
	if err != nil || rec == nil {
		return err
	}
	unlock, err := l.lock(ctx, say)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err = l.look()
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
// record goes last: until then an interrupted run is ended by the next.
func (l *Local) dismantle(ctx context.Context, rec *record, say say) error {
	if !rec.Destroying {
		rec = rec.clone()
		rec.Destroying = true
		if err := l.save(rec); err != nil {
			return err
		}
	}
	for _, role := range []string{roleAgent, roleEngine} {
		if err := l.endAll(ctx, role, say); err != nil {
			return err
		}
	}
	err := l.eachNode(ctx, rec.names(), func(ctx context.Context, node string) error {
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
	for node := range rec.Nodes {
		for _, v := range l.volumes(rec, node) {
			if err := v.removeUnfinished(); err != nil {
				return err
			}
			if err := os.Remove(v.image); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		if err := os.RemoveAll(l.nodeDir(node)); err != nil {
			return l.failed("remove "+l.nodeDir(node), err)
		}
		say("node %s: removed", node)
	}
	if err := os.RemoveAll(l.binDir()); err != nil {
		return err
	}
	for _, dir := range []string{l.disksDir(), l.nodesDir()} {
		// Only when empty: a file that is not ours stays.
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	if err := os.Remove(l.recordPath()); err != nil {
		return err
	}
	if err := os.Remove(l.lockPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Remove(l.dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return err
	}
	say("destroyed cluster %s (%s)", rec.Name, rec.ID)
	return syncDir(filepath.Dir(l.dir))
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
					Next: "Thaw its file system (fsfreeze -u) or wait for the disk, and destroy again; nothing was removed."}
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

// unmount takes a volume from the machine. The loop device clears itself with
// its last mount; one that was attached by hand is detached. A file system that
// is frozen holds the call in the kernel: it is given up after a bound.
func (v volume) unmount(ctx context.Context, say say) error {
	stuck := func(err error) error {
		return &platform.Error{What: fmt.Sprintf("disk %s of node %s cannot be unmounted from %s", v.name, v.node, v.point), Err: err,
			Next: fmt.Sprintf("See who holds it with fuser -vm %[1]s; thaw it if it is frozen (fsfreeze -u %[1]s); then destroy again.", v.point)}
	}
	at, err := mountsAt(v.point)
	if err != nil {
		return err
	}
	for range at {
		done := make(chan error, 1)
		go func() { // ends when the kernel lets it; bounded below
			_, err := settled(unmountBound, func() (bool, error) {
				err := unix.Unmount(v.point, unix.UMOUNT_NOFOLLOW)
				if errors.Is(err, unix.EBUSY) {
					return false, nil
				}
				return err == nil || errors.Is(err, unix.EINVAL), err
			})
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, unix.EINVAL) {
				return stuck(err)
			}
		case <-time.After(unmountBound + killBound):
			return stuck(errHeld)
		case <-ctx.Done():
			return stuck(ctx.Err())
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
	_, err = settled(killBound, func() (bool, error) {
		left, err := loopsOf(v.image)
		return len(left) == 0, err
	})
	return err
}
