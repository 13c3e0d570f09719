// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package containers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/metadata"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/world"
)

// container is a machine that has power.
type container struct {
	name    string
	address netip.Addr
	root    string // its root file system, mounted
	world   *world.World
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended

	mu struct {
		sync.Mutex
		disks map[uint64]*loop // by the disk's ID
	}
}

// nspawn is the program, and what it is always told: the kernel's file systems as a machine has them, so that udev runs.
var nspawn = []string{"systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=pipe", "--capability=all", "--system-call-filter=@mount @raw-io", "--network-bridge=" + world.Bridge}

var errBoot = errors.New("the first disk has no image to boot from")

// start gives power to an instance.
func (c *Containers) start(ctx context.Context, m emulator.Machine) (_ *container, err error) {
	if len(m.Disks) == 0 || m.Disks[0].Disk.Image == "" || len(m.Interfaces) == 0 {
		return nil, errBoot
	}
	boot := c.files.Path(m.Disks[0].Disk)
	k := &container{name: m.Name, root: filepath.Join(boot, "root"), world: c.world, done: make(chan struct{})}
	k.mu.disks = map[uint64]*loop{}
	if k.address, err = netip.ParseAddr(m.Interfaces[0].Address); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.release())
		}
	}()
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", c.tree, filepath.Join(boot, "upper"), filepath.Join(boot, "work"))
	if err := unix.Mount("overlay", k.root, "overlay", 0, layers); err != nil {
		return nil, fmt.Errorf("mount the boot disk: %w", err)
	}
	if err := errors.Join(k.configure(m), udev(filepath.Join(boot, "udev"))); err != nil {
		return nil, err
	}
	argv := append(append([]string{}, nspawn...), "--directory="+k.root, "--machine="+m.Name, "--bind="+filepath.Join(boot, "udev")+":/run/udev")
	for _, a := range m.Disks[1:] {
		l, err := k.insert(c.files.Path(a.Disk), a)
		if err != nil {
			return nil, err
		}
		argv = append(argv, "--bind="+l.path)
	}
	c.world.Metadata.Set(k.address, m)
	return k, k.power(ctx, m, argv)
}

// udev makes the directory that is to be /run/udev, blank but for a file where udev's socket will be: without it,
// systemd takes the container for one without udev when it starts, and hears of no device.
func udev(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // as on any machine
		return err
	}
	return os.WriteFile(filepath.Join(dir, "control"), nil, 0o600)
}

// configure writes what a machine learns from its host.
func (k *container) configure(m emulator.Machine) error {
	network := "[Match]\nName=host0\n\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nAddress=" + k.address.String() + world.Internal + "\nGateway=" + metadata.Gateway + "\n"
	if external := m.Interfaces[0].External; external != "" {
		network += "\n[Address]\nAddress=" + external + world.External + "\nPreferredLifetime=0\n"
	}
	for name, text := range map[string]string{
		"etc/hostname": m.Name + "\n", "etc/systemd/network/10-gce.network": network,
		"etc/hosts": fmt.Sprintf("127.0.0.1 localhost\n%s %s\n169.254.169.254 metadata.google.internal metadata\n", k.address, m.Name),
	} {
		if err := os.WriteFile(filepath.Join(k.root, name), []byte(text), 0o644); err != nil { //nolint:gosec // as on any machine
			return err
		}
	}
	disks := filepath.Join(k.root, disksDir)
	return errors.Join(os.RemoveAll(disks), os.Mkdir(disks, 0o755)) //nolint:gosec // as above
}

// power starts the container in a control group of its own: its systemd takes the group for the machine's root.
func (k *container) power(ctx context.Context, m emulator.Machine, argv []string) error {
	var enter strings.Builder
	for _, h := range world.Hierarchies() {
		group := filepath.Join(h, k.world.Group(), m.Name+"-"+strconv.FormatUint(m.ID, 10))
		if err := os.MkdirAll(group, 0o755); err != nil { //nolint:gosec // as all control groups
			return err
		}
		fmt.Fprintf(&enter, "echo $$ >%s/cgroup.procs\n", group)
	}
	serial := m.Guest.Serial(1)
	k.cmd = exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", append([]string{"-euc", enter.String() + `exec "$@"`, "sh"}, argv...)...)
	k.cmd.Stdout, k.cmd.Stderr = serial, serial
	k.cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes")
	k.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	k.cmd.WaitDelay = time.Second
	if err := k.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = k.cmd.Wait() // how it ended, its console tells
		close(k.done)
	}()
	return nil
}

// shutDown presses the power button, and waits for as long as Compute Engine does.
func (k *container) shutDown(ctx context.Context) {
	const patience = 90 * time.Second
	if pid, err := k.leader(); err == nil {
		_ = unix.Kill(pid, unix.Signal(34+4)) // SIGRTMIN+4: systemd powers off
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-k.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// end takes the power away.
func (k *container) end() {
	for _, pid := range k.children() {
		kill(pid) // the first process of its namespace: all others go with it
	}
	if k.cmd != nil && k.cmd.Process != nil {
		_ = unix.Kill(-k.cmd.Process.Pid, unix.SIGKILL)
		<-k.done
	}
}

// release gives back what a machine without power has no use for.
func (k *container) release() error {
	k.world.Metadata.Forget(k.address)
	k.mu.Lock()
	defer k.mu.Unlock()
	err := unmount(k.root)
	for id, l := range k.mu.disks {
		err = errors.Join(err, l.detach())
		delete(k.mu.disks, id)
	}
	return err
}

var errNoLeader = errors.New("its systemd does not run yet, or no more")

// kill ends a process and returns when it has ended.
func kill(pid int) {
	const patience = 10 * time.Second
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer func() { _ = unix.Close(fd) }()
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())) // what is left after that, nobody ends
	}
}

// children are the processes that systemd-nspawn has started: the container's first one.
func (k *container) children() (pids []int) {
	if k.cmd == nil || k.cmd.Process == nil {
		return nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", k.cmd.Process.Pid))
	if err != nil {
		return nil // it has ended
	}
	for _, field := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// leader is the container's first process: systemd-nspawn's child.
func (k *container) leader() (int, error) {
	for _, pid := range k.children() {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(comm)) == "systemd" {
			return pid, nil
		}
	}
	return 0, errNoLeader
}

// exec runs a command inside.
func (k *container) exec(ctx context.Context, argv ...string) (string, error) {
	pid, err := k.leader()
	if err != nil {
		return "", fmt.Errorf("machine %s: %w", k.name, err)
	}
	args := append([]string{"--target", strconv.Itoa(pid), "--all", "--"}, argv...)
	out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("machine %s: %s: %w: %s", k.name, strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
