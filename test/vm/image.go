// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrMissing is returned where this machine cannot build an image or run a
// guest: a program is not installed, or it is not root who builds.
var ErrMissing = errors.New("test machines need more")

// Image is a root file system with its kernel, in the cache. It is read only.
type Image struct{ dir string }

func (i Image) root() string   { return filepath.Join(i.dir, "root.img") }
func (i Image) kernel() string { return filepath.Join(i.dir, "vmlinuz") }
func (i Image) initrd() string { return filepath.Join(i.dir, "initrd.img") }

// Build returns the image of the recipe, which it makes where the cache does
// not have it: about a minute, and 450 MB. Of several at once, one builds and
// the others wait. Interrupted, it leaves a directory that the next one removes.
func Build(ctx context.Context) (Image, error) {
	if err := Need(program, "qemu-img"); err != nil {
		return Image{}, err
	}
	dir, err := Cached(ctx, recipeHash(), func(ctx context.Context, work string) error {
		if err := Need("mke2fs"); err != nil {
			return err
		}
		return build(ctx, work)
	})
	return Image{dir: dir}, err
}

// made is what a build in the cache leaves in its directory.
const made = "made"

// Cached returns the directory that is in the cache by a key. Where there is none, root makes it: fill is given a
// directory to work in, and leaves what is to be kept as "made" in it. Of several at once, one makes it and
// the others wait. Interrupted, it leaves a directory that the next one removes.
func Cached(ctx context.Context, key string, fill func(ctx context.Context, work string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	lock, err := lockFile(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return "", fmt.Errorf("image cache: %w", err)
	}
	defer func() { _ = lock.Close() }()
	place := filepath.Join(cache, key)
	if _, err := os.Stat(place); err == nil {
		return place, nil
	}
	if err := Need("mmdebstrap"); err != nil {
		return "", err
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("%w: only root builds the image (once: %s)", ErrMissing, place)
	}
	old, err := filepath.Glob(filepath.Join(cache, "building-*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("image cache: %w", err)
		}
	}
	work, err := os.MkdirTemp(cache, "building-")
	if err != nil {
		return "", fmt.Errorf("image cache: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := fill(ctx, work); err != nil {
		return "", fmt.Errorf("building the image: %w", err)
	}
	return place, os.Rename(filepath.Join(work, made), place)
}

// Need is ErrMissing where a program is not installed.
func Need(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%w: %s is not installed (as root: make deps-vm deps-containers)", ErrMissing, p)
		}
	}
	return nil
}

// lockFile waits for the lock on a file, which it makes. Closing gives it back.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for the lock on %s: %w", path, context.Cause(ctx)), f.Close())
		}
	}
}

func cacheDir() (string, error) {
	dir := os.Getenv("HOLDFAST_VM_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no place for images: %w; set HOLDFAST_VM_CACHE", err)
		}
		dir = filepath.Join(user, "holdfast-vm")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("image cache: %w", err)
	}
	return dir, nil
}

// build makes the image.
func build(ctx context.Context, work string) error {
	for name, text := range map[string]string{"essential.sh": essentialScript, "customize.sh": customizeScript} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o700); err != nil {
			return err
		}
	}
	tree := filepath.Join(work, "tree")
	if err := Run(ctx, "mmdebstrap", bootstrap(work, tree)...); err != nil {
		return err
	}
	image := Image{dir: filepath.Join(work, made)}
	if err := os.Mkdir(image.dir, 0o700); err != nil {
		return err
	}
	for pattern, to := range map[string]string{"boot/vmlinuz-*": image.kernel(), "boot/initrd.img-*": image.initrd()} {
		found, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("one %s is expected, there are %d", pattern, len(found))
		}
		if err := os.Rename(found[0], to); err != nil {
			return err
		}
	}
	list, err := exec.CommandContext(ctx, "dpkg-query", "--admindir="+filepath.Join(tree, "var/lib/dpkg"), "--show").Output()
	if err != nil {
		return fmt.Errorf("listing the packages: %w", err)
	}
	if err := os.WriteFile(filepath.Join(image.dir, "packages"), list, 0o600); err != nil {
		return err
	}
	// mke2fs fills the file system from the tree: nothing is mounted.
	if err := Run(ctx, "mke2fs", "-q", "-t", "ext4", "-L", rootLabel, "-d", tree,
		image.root(), strconv.FormatInt(rootSize>>10, 10)+"k"); err != nil {
		return err
	}
	return syncFile(image.root())
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Run runs a program and has the end of its output in the error.
func Run(ctx context.Context, name string, args ...string) error {
	// Pdeathsig watches the thread that starts the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, cmp.Or(context.Cause(ctx), err), tail(string(out), 20))
	}
	return nil
}

// tail is the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\r\n "), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
