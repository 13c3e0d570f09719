// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout"
)

// toolEnv is what the tools see: messages in English, and where they are.
var toolEnv = []string{"LC_ALL=C", "PATH=/usr/sbin:/sbin:/usr/bin:/bin"}

// system does steps with the machine's tools.
type system struct {
	roots   blockdev.Roots
	lock    *os.File
	mounter Mounter
}

func newSystem(h Host, lock *os.File) *system {
	s := &system{roots: h.Roots, lock: lock, mounter: h.Mounter}
	if s.mounter == nil {
		s.mounter = command{run: s.run}
	}
	return s
}

// runner runs a tool to its end.
type runner func(ctx context.Context, name string, args ...string) error

// tool hands the lock to the tool: see lock.
func (s *system) tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = toolEnv
	cmd.WaitDelay = time.Second
	cmd.ExtraFiles = []*os.File{s.lock}
	return cmd
}

func (s *system) run(ctx context.Context, name string, args ...string) error {
	if out, err := s.tool(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

func (s *system) do(ctx context.Context, step Step) error {
	switch step.Do {
	case Wipe:
		return s.alone(ctx, step, *step.Signature, "wipefs", "--all", "--types", step.Signature.Type, step.Device)
	case MakeFS:
		return s.alone(ctx, step, Signature{}, mkfs[step.FSType], append(mkfsOptions(step), step.Device)...)
	case Label:
		half := Signature{Type: step.FSType, Label: HalfMade, UUID: step.UUID}
		if step.FSType == XFS {
			return s.alone(ctx, step, half, "xfs_admin", "-L", step.Label, step.Device)
		}
		return s.alone(ctx, step, half, "e2label", step.Device, step.Label)
	case MountPoint:
		return mountPoint(step.Path)
	case MountFS:
		return s.mount(ctx, step)
	case Remount:
		return s.mounter.Remount(ctx, *step.Mount)
	case Grow:
		if err := s.mounted(step.Path, step.Number); err != nil {
			return err
		}
		if step.FSType == XFS {
			return s.run(ctx, "xfs_growfs", step.Path)
		}
		return s.run(ctx, "resize2fs", step.Device)
	case MakeDir:
		if err := s.mounted(step.Root, step.Number); err != nil {
			return err
		}
		return makeDir(step.Root, *step.Directory)
	}
	return fmt.Errorf("step %q: %w", step.Do, errors.ErrUnsupported)
}

var mkfs = map[string]string{Ext4: "mkfs.ext4", XFS: "mkfs.xfs"}

// mkfsOptions suit a log: few and large files. With ext4 all inode tables are
// written now, and not by the kernel beside the first weeks' writes; an inode
// per MiB keeps them small; no block is kept for root, who writes nothing here.
func mkfsOptions(s Step) []string {
	if s.FSType == XFS {
		return []string{"-q", "-L", HalfMade, "-m", "uuid=" + s.UUID}
	}
	return []string{"-q", "-b", "4096", "-m", "0", "-i", "1048576", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-L", HalfMade, "-U", s.UUID}
}

// alone runs a tool that writes to a device which nobody uses and which still
// has what the plan saw on it, and waits until what it wrote is durable.
func (s *system) alone(ctx context.Context, step Step, expect Signature, name string, args ...string) (err error) {
	f, err := os.OpenFile(step.Device, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil { // the kernel refuses a device that is mounted or has a holder
		return fmt.Errorf("the device is in use: %w", err)
	}
	if err := f.Close(); err != nil { // the tool wants it alone, too
		return err
	}
	if f, err = os.Open(step.Device); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := lockDevice(ctx, f); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)); number != step.Number {
		return &Refusal{Field: step.Field + ".match", Device: step.Device, Want: "device " + step.Number, Found: number, Next: "Devices changed meanwhile: run it again."}
	}
	now := probe(ctx, s.roots, &blockdev.Device{Path: step.Device, Size: 1})
	if now.Err != "" || now.PartTable != "" || now.Signature != expect {
		return &Refusal{Field: step.Field + ".match", Device: step.Device, Want: expect.String() + ", as when the plan was made", Found: now.Signature.String() + now.PartTable + now.Err, Next: "Somebody else writes to it: find out who."}
	}
	return errors.Join(s.run(ctx, name, args...), f.Sync())
}

// mount mounts and makes sure of what is mounted: another device may have got
// the same UUID, and a journal may have hidden the identity of a store. What
// is wrong is unmounted again.
func (s *system) mount(ctx context.Context, step Step) error {
	if err := s.mounter.Mount(ctx, *step.Mount); err != nil {
		return err
	}
	err := s.mounted(step.Mount.Where, step.Number)
	if w := step.want; err == nil && w.Store != nil {
		var c Content
		c.inside(w)
		err = sameStore(w, step.Device, c)
	}
	if err != nil {
		return errors.Join(err, s.mounter.Unmount(context.WithoutCancel(ctx), *step.Mount))
	}
	return nil
}

// mounted makes sure that what is written below point goes to that device.
func (s *system) mounted(point, number string) error {
	table, err := mounts(s.roots)
	if err != nil {
		return err
	}
	if top, ok := table.Of(point); !ok || top.Point != point || top.MajMin() != number {
		return fmt.Errorf("%s is not the mount of device %s but of %s", point, number, top.MajMin())
	}
	return nil
}

// mountPoint makes a directory. While nothing is mounted there, only root can
// put something into it.
func mountPoint(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(path))
}

// makeDir makes a directory below a mount point, which no link leads out of,
// and gives it, and what is in it, owner and mode. It returns once that is durable.
func makeDir(mount string, d Directory) (err error) {
	root, err := os.OpenRoot(mount)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.MkdirAll(filepath.Dir(d.Path), 0o755); err != nil { // an owner below has to get there
		return err
	}
	if err := root.Mkdir(d.Path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if d.Path == "." { // what is below the root of a file system has owners of its own
		err = root.Chown(d.Path, d.UID, d.GID)
	} else {
		err = layout.Give(root, d.Path, layout.Owner{UID: d.UID, GID: d.GID})
	}
	if err != nil {
		return err
	}
	if err := root.Chmod(d.Path, os.FileMode(d.Mode)); err != nil {
		return err
	}
	for path := filepath.Join(mount, d.Path); ; path = filepath.Dir(path) {
		if err := (vfs.OS{}).SyncDir(path); err != nil || path == mount {
			return err
		}
	}
}
