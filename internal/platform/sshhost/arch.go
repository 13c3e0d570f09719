// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"debug/elf"
	"fmt"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// goarch is what a program must be built for to run on a machine, by what
// uname -m says of it; empty for what Go does not build for.
func goarch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "i386", "i486", "i586", "i686":
		return "386"
	case "armv6l", "armv7l", "armv8l":
		return "arm"
	case "ppc64le", "riscv64", "s390x":
		return machine
	case "loongarch64":
		return "loong64"
	}
	return ""
}

// BinaryGOARCH reads what a Linux program is built for.
func BinaryGOARCH(file string) (string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return "", fmt.Errorf("%s is no Linux program: %w", file, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	little := f.Data == elf.ELFDATA2LSB
	switch {
	case f.Machine == elf.EM_X86_64:
		return "amd64", nil
	case f.Machine == elf.EM_AARCH64 && little:
		return "arm64", nil
	case f.Machine == elf.EM_386:
		return "386", nil
	case f.Machine == elf.EM_ARM && little:
		return "arm", nil
	case f.Machine == elf.EM_PPC64 && little:
		return "ppc64le", nil
	case f.Machine == elf.EM_RISCV && f.Class == elf.ELFCLASS64:
		return "riscv64", nil
	case f.Machine == elf.EM_S390:
		return "s390x", nil
	case f.Machine == elf.EM_LOONGARCH:
		return "loong64", nil
	}
	return "", fmt.Errorf("%w: %s is for %v", ErrArchitecture, file, f.Machine)
}

func (h *Host) checkArchitecture(want, machine string) error {
	return architecture(h.cfg.Address, want, machine)
}

// architecture compares a program with a machine; want is empty where there is no program.
func architecture(address, want, machine string) error {
	if want == "" || goarch(machine) == want {
		return nil
	}
	next := "Use a machine of another kind; Go does not build for this one."
	if is := goarch(machine); is != "" {
		next = "Build it for that machine (GOARCH=" + is + " make build), and name that binary."
	}
	return &platform.Error{What: "the holdfast binary does not run on " + address,
		Err: fmt.Errorf("%w: it is for %s, the machine is %s", ErrArchitecture, want, machine), Next: next}
}
