// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/test/scratch"
)

// Machine is one guest with its disks. Its methods are for one goroutine at a
// time; SSH and QMP may be used from several.
type Machine struct {
	launch
	own   *scratch.Dir
	seed  seed
	shell *Shell
	run   *process // the newest
}

// Start makes a machine and boots it; when it returns, the guest answers over
// SSH. Close removes it.
func Start(ctx context.Context, c Config) (*Machine, error) {
	m, err := New(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := m.Boot(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// New makes a machine that has no power yet. Close removes it.
func New(ctx context.Context, c Config) (*Machine, error) {
	c = c.defaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	if err := dirs.Sweep(); err != nil {
		return nil, err
	}
	own, err := dirs.Make()
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	c.Disks = slices.Clone(c.Disks)
	m := &Machine{launch: launch{Config: c, dir: own.Path, kvm: os.Getenv("HOLDFAST_VM_ACCEL") == "kvm"}, own: own}
	if err := m.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("machine %s: %w", c.Name, err), m.Close())
	}
	return m, nil
}

// prepare writes what is the machine's own: seed, overlay and disks.
func (m *Machine) prepare(ctx context.Context) (err error) {
	if m.seed, err = newSeed(m.Config); err != nil {
		return err
	}
	m.mac = m.seed.lanMAC
	if err := m.seed.writeInitrd(m.file("initrd.img"), m.Image.initrd()); err != nil {
		return err
	}
	if err := Run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", m.Image.root(), m.file("root.qcow2")); err != nil {
		return err
	}
	for _, d := range m.Disks {
		if err := m.makeDisk(d); err != nil {
			return err
		}
	}
	m.Insert(m.Disks)
	return nil
}

// Insert has a machine without power find disks at its next start, and no others. They are where
// their files say.
func (m *Machine) Insert(disks []Disk) {
	m.Disks, m.slots = slices.Clone(disks), make([]string, spareSlots)
	for _, d := range disks {
		if d.Kind != SCSI {
			m.slots = append(m.slots, d.Serial)
		}
	}
}

func (m *Machine) makeDisk(d Disk) error {
	if d.File != "" {
		return nil
	}
	f, err := os.OpenFile(m.content(d), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("disk %s: %w", d.Serial, err)
	}
	if err := errors.Join(f.Truncate(d.Size), f.Close()); err != nil {
		return fmt.Errorf("disk %s: %w", d.Serial, err)
	}
	return nil
}

// PowerOn gives power to a machine that has none, and waits for nothing.
func (m *Machine) PowerOn(ctx context.Context) error {
	if m.Runs() {
		return fmt.Errorf("machine %s runs already", m.Name)
	}
	started, err := begin(ctx, m.launch, m.file("qemu.log"))
	if err != nil {
		return m.wrap("starting QEMU", err)
	}
	m.run = started
	return nil
}

// Runs tells whether it has power.
func (m *Machine) Runs() bool { return m.run != nil && m.run.running() }

// Off is closed when the machine that has power now has none any more, whoever took it.
func (m *Machine) Off() <-chan struct{} { return m.run.done }

// Boot gives power to a machine that has none, and waits until the guest
// answers over SSH. A guest of Compute Engine has no such way.
func (m *Machine) Boot(ctx context.Context) (err error) {
	if err := m.PowerOn(ctx); err != nil {
		return err
	}
	if m.sshPort == 0 {
		if m.sshPort, err = m.forwardedPort(ctx); err != nil {
			return m.wrap("the port of SSH", err)
		}
		m.shell = newShell(m)
	}
	return m.WaitBoot(ctx, "")
}

// WaitBoot waits until the guest answers over SSH, with another boot id than
// the one given: "" takes any.
func (m *Machine) WaitBoot(ctx context.Context, before string) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	on, off := context.WithCancel(ctx)
	defer off()
	go func(dead <-chan struct{}) { // it ends with off
		select {
		case <-dead:
			off()
		case <-on.Done():
		}
	}(m.run.done)
	for patience := answerMin; ; {
		id, err := m.bootID(on, patience)
		switch {
		case err == nil && id != before:
			return nil
		case err == nil:
			// Still the old boot: the next question gets a connection of its own.
			m.shell.Drop()
		case errors.Is(err, ErrHostKey):
			return m.wrap("waiting for SSH", err)
		default:
			patience = min(2*patience, answerMax) // it is slow, or it was a boot that has ended
		}
		select {
		case <-tick.C:
		case <-m.run.done:
			said, _ := os.ReadFile(m.file("qemu.log"))
			return m.wrap("waiting for SSH", fmt.Errorf("%w: %s: %s", errOver, m.run.cmd.ProcessState, tail(string(said), 5)))
		case <-ctx.Done():
			return m.wrap("waiting for SSH", errors.Join(context.Cause(ctx), err))
		}
	}
}

// How long a guest that boots may take to answer one question, at first and in the end.
const (
	answerMin = 4 * time.Second
	answerMax = time.Minute
)

// bootID is the kernel's name for this boot. Patience begins when sshd answers.
func (m *Machine) bootID(ctx context.Context, patience time.Duration) (string, error) {
	if err := greeting(ctx, m.SSHAddr()); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := m.shell.run(ctx, "cat /proc/sys/kernel/random/boot_id", nil)
	return strings.TrimSpace(out), err
}

// forwardedPort asks QEMU which port of loopback the kernel chose.
func (m *Machine) forwardedPort(ctx context.Context) (int, error) {
	table, err := m.run.qmp.Human(ctx, "info usernet")
	if err != nil {
		return 0, err
	}
	// TCP[HOST_FORWARD]  13       127.0.0.1 41234       10.0.2.15    22     0     0
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 3 && strings.Contains(f[0], "HOST_FORWARD") {
			return strconv.Atoi(f[3])
		}
	}
	return 0, fmt.Errorf("no forwarded port in %q", table)
}

// PowerOff cuts the power: what the guest had not written to its disks is
// gone. The disks stay for the next Boot.
func (m *Machine) PowerOff() error {
	if m.run == nil {
		return nil
	}
	err := m.run.kill()
	if m.shell != nil {
		m.shell.Drop()
	}
	return err
}

// Reset presses the reset button and waits for the next boot.
func (m *Machine) Reset(ctx context.Context) error {
	before, err := m.bootID(ctx, answerMax)
	if err != nil {
		return m.wrap("reset", err)
	}
	if err := m.QMP().SystemReset(ctx); err != nil {
		return m.wrap("reset", err)
	}
	m.shell.Drop()
	return m.WaitBoot(ctx, before)
}

// Close cuts the power and removes all that the machine has on this host.
func (m *Machine) Close() error {
	return errors.Join(m.PowerOff(), m.own.Remove())
}

// SSH runs commands in the guest.
func (m *Machine) SSH() *Shell { return m.shell }

// QMP is the monitor of the newest run of QEMU; while the power is off it
// refuses everything.
func (m *Machine) QMP() *QMP { return m.run.qmp }

// SSHAddr is where the guest's sshd answers this host: a port of loopback,
// which stays for the machine's life.
func (m *Machine) SSHAddr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.sshPort))
}

// HostKey is the guest's.
func (m *Machine) HostKey() ssh.PublicKey { return m.seed.hostKey.public }

// Identity is the private key that lets User in, as OpenSSH writes it.
func (m *Machine) Identity() []byte { return m.seed.client.private }

// Addr is the machine's address on its Network.
func (m *Machine) Addr() netip.Addr { return m.seed.lan }

// Disk is the disk with this serial as it is now.
func (m *Machine) Disk(serial string) (Disk, bool) {
	i := slices.IndexFunc(m.Disks, func(d Disk) bool { return d.Serial == serial })
	if i < 0 {
		return Disk{}, false
	}
	return m.Disks[i], true
}

// colour is what a terminal takes for colours and moves of the cursor.
var colour = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\x1b[A-Z]|\r`)

// Console is all that the guest said on its serial line, over all boots,
// without its colours.
func (m *Machine) Console() string {
	b, err := os.ReadFile(filepath.Join(m.dir, "console.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(colour.ReplaceAll(b, nil))
}

// wrap adds to an error which machine, what was done, and the console's end.
func (m *Machine) wrap(doing string, err error) error {
	said := tail(m.Console(), 15)
	if said == "" {
		said = "(nothing)"
	}
	return fmt.Errorf("machine %s: %s: %w\nits console said last:\n%s", m.Name, doing, err, said)
}
