// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Requirements are what a machine must be. A zero field asks for nothing.
type Requirements struct {
	KernelMajor, KernelMinor int
	Systemd                  int
	// ClockOff is how far the clock may be off.
	ClockOff time.Duration
	Free     int64
	GOARCH   string
	// Root asks for a user that is root, or becomes it.
	Root bool
}

// DefaultRequirements are those of a node. Linux 5.4 is the first long-term kernel
// whose cgroup v2 has the io controller that engines are accounted by; systemd 252 the first with
// what its units say (hostagent/units). A clock that is a minute off makes a new certificate one of the future.
func DefaultRequirements(arch string) Requirements {
	return Requirements{KernelMajor: 5, KernelMinor: 4, Systemd: 252, ClockOff: time.Minute, Free: 1 << 30, GOARCH: arch, Root: true}
}

// Check returns everything that a person has to mend on the machine at address,
// each a *platform.Error of one class.
func (f Facts) Check(address string, r Requirements) []error {
	var all []error
	problem := func(what string, err error, next string) {
		all = append(all, &platform.Error{What: address + " " + what, Err: err, Next: next})
	}
	if f.System != "Linux" {
		problem("cannot be a node", fmt.Errorf("%w: %s", ErrSystem, f.System), "Use a machine with Linux.")
		return all // nothing else of it can be judged
	}
	if err := architecture(address, r.GOARCH, f.Machine); err != nil {
		all = append(all, err)
	}
	if major, minor := kernelVersion(f.Kernel); major < r.KernelMajor || major == r.KernelMajor && minor < r.KernelMinor {
		problem("cannot be a node", fmt.Errorf("%w: %s, needed is %d.%d", ErrKernel, f.Kernel, r.KernelMajor, r.KernelMinor),
			"Install a newer kernel there and start the machine again.")
	}
	if f.Systemd < r.Systemd {
		is := fmt.Sprint(f.Systemd)
		if f.Systemd == 0 {
			is = "it was not started by systemd"
		}
		problem("cannot be a node", fmt.Errorf("%w: %s, needed is %d", ErrSystemd, is, r.Systemd), "Use a newer release of its distribution.")
	}
	if off := f.Clock.Abs() - f.ClockError; r.ClockOff > 0 && off > r.ClockOff {
		direction := "ahead"
		if f.Clock < 0 {
			direction = "behind"
		}
		problem("has another time", fmt.Errorf("%w: %v %s of this machine's, allowed are %v", ErrClock, f.Clock.Abs().Round(time.Second), direction, r.ClockOff),
			"Have both clocks set by NTP (timedatectl set-ntp true), and look which of them is wrong (timedatectl).")
	}
	if f.Free < r.Free {
		problem("has too little room", fmt.Errorf("%w: %d MiB in %s, needed are %d MiB", ErrDiskFull, f.Free>>20, f.Where, r.Free>>20),
			"Free some space there.")
	}
	switch {
	case !r.Root:
	case f.Root == RootMissing:
		problem("gives no root", ErrNoSudo, "Log in as root, or install sudo there and allow it to the user without a password.")
	case f.Root == RootRefused:
		problem("gives no root", ErrSudoRefused, "Allow sudo to the user without a password, or log in as root.")
	}
	return all
}

// kernelVersion is the 6 and the 1 of "6.1.0-28-amd64".
func kernelVersion(s string) (major, minor int) {
	first, rest, _ := strings.Cut(s, ".")
	return leadingNumber(first), leadingNumber(rest)
}
