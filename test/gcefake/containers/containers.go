// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package containers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/world"
	"github.com/holdfastdb/terraform-provider-holdfast/test/vm"
)

// Containers are the machines of one world. Safe for concurrent use as emulator.Machines is called.
type Containers struct {
	world   *world.World
	files   world.Files
	tree    string
	powered world.Powered[*container]
}

var _ emulator.Machines = (*Containers)(nil)

// Prepare builds the image where the cache does not have it: outside of the world, which has no way to Debian's
// packages. Its error is vm.ErrMissing where this machine lacks something.
func Prepare(ctx context.Context) error {
	if err := vm.Need("systemd-nspawn", "nsenter", "ip"); err != nil {
		return err
	}
	_, err := tree(ctx)
	return err
}

// New returns the machines of a world.
func New(ctx context.Context, w *world.World) (*Containers, error) {
	t, err := tree(ctx)
	if err != nil {
		return nil, err
	}
	files, err := w.Files()
	if err != nil {
		return nil, err
	}
	return &Containers{world: w, files: files, tree: t}, nil
}

// Close ends all machines. Nothing of them is left but files of the world.
func (c *Containers) Close() error {
	var errs []error
	for _, m := range c.powered.TakeAll() {
		m.end()
		errs = append(errs, m.release())
	}
	return errors.Join(append(errs, c.files.Close())...)
}

var errImage = errors.New("machines of this kind begin as projects/debian-cloud/global/images/family/debian-12, or as an image of such a one's disk")

// imagePath is where the content of an image is kept: what its disk had changed of the first image.
func (c *Containers) imagePath(link string) string {
	sum := sha256.Sum256([]byte(link))
	return c.files.Aside("image-" + hex.EncodeToString(sum[:8]))
}

// CreateImage implements emulator.Machines.
func (c *Containers) CreateImage(ctx context.Context, image string, of emulator.Disk) error {
	if of.Image == "" {
		return fmt.Errorf("%w: a blank disk", errImage)
	}
	return copyTree(ctx, filepath.Join(c.files.Path(of), "upper"), c.imagePath(image))
}

// DeleteImage implements emulator.Machines.
func (c *Containers) DeleteImage(_ context.Context, image string) error {
	return os.RemoveAll(c.imagePath(image))
}

// copyTree copies a directory with all that an overlay's has: owners, devices, attributes.
func copyTree(ctx context.Context, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", "--archive", "--no-target-directory", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, bytes.TrimSpace(out))
	}
	return nil
}

// CreateDisk implements emulator.Machines.
func (c *Containers) CreateDisk(ctx context.Context, d emulator.Disk) error {
	if d.Image == "" {
		return c.files.Create(d)
	}
	made := c.imagePath(d.Image)
	_, err := os.Lstat(made)
	if err != nil && !isImage(d.Image) {
		return fmt.Errorf("%w: not %s", errImage, d.Image)
	}
	for _, name := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(c.files.Path(d), name), 0o755); err != nil {
			return err
		}
	}
	if err == nil {
		return copyTree(ctx, made, filepath.Join(c.files.Path(d), "upper"))
	}
	return nil
}

// ResizeDisk implements emulator.Machines.
func (c *Containers) ResizeDisk(_ context.Context, d emulator.Disk, m *emulator.Machine) error {
	if d.Image != "" {
		return nil // a directory is as large as what is in it
	}
	if err := c.files.Grow(d); err != nil {
		return err
	}
	if m == nil {
		return nil
	}
	k, err := c.powered.Find(*m)
	if err != nil {
		return err
	}
	return k.grown(d.ID)
}

// DeleteDisk implements emulator.Machines.
func (c *Containers) DeleteDisk(_ context.Context, d emulator.Disk) error {
	return c.files.Delete(d)
}

// Start implements emulator.Machines. It returns when the machine has power.
func (c *Containers) Start(ctx context.Context, m emulator.Machine) error {
	k, err := c.start(ctx, m)
	if err != nil {
		return err
	}
	c.powered.Add(m, k, k.done)
	return nil
}

// Stop implements emulator.Machines.
func (c *Containers) Stop(ctx context.Context, m emulator.Machine) error {
	k, ok := c.powered.Take(m)
	if !ok {
		return nil // it ended by itself
	}
	k.shutDown(ctx)
	k.end()
	return k.release()
}

// Reset implements emulator.Machines.
func (c *Containers) Reset(ctx context.Context, m emulator.Machine) error {
	if err := c.cut(m); err != nil {
		return err
	}
	return c.Start(ctx, m)
}

// cut takes the power from a machine.
func (c *Containers) cut(m emulator.Machine) error {
	k, ok := c.powered.Take(m)
	if !ok {
		return nil
	}
	k.end()
	return k.release()
}

// Delete implements emulator.Machines.
func (c *Containers) Delete(_ context.Context, m emulator.Machine) error { return c.cut(m) }

// AttachDisk implements emulator.Machines.
func (c *Containers) AttachDisk(ctx context.Context, m emulator.Machine, a emulator.Attachment) error {
	k, err := c.powered.Find(m)
	if err != nil {
		return err
	}
	return k.plug(ctx, c.files.Path(a.Disk), a)
}

// DetachDisk implements emulator.Machines.
func (c *Containers) DetachDisk(ctx context.Context, m emulator.Machine, a emulator.Attachment) error {
	k, err := c.powered.Find(m)
	if err != nil {
		return err
	}
	return k.unplug(ctx, a.Disk.ID)
}

// SetMetadata implements emulator.Machines.
func (c *Containers) SetMetadata(_ context.Context, m emulator.Machine) error {
	k, err := c.powered.Find(m)
	if err == nil {
		c.world.Metadata.Set(k.address, m)
	}
	return err
}

// Exec runs a command as root in the machine of a name, as from its console, and returns what it said. It is for tests
// that look at a machine, or do something to it.
func (c *Containers) Exec(ctx context.Context, name string, argv ...string) (string, error) {
	k, err := c.powered.Any(func(k *container) bool { return k.name == name })
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return k.exec(ctx, argv...)
}

// unmount takes a mount away that may be gone.
func unmount(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}
