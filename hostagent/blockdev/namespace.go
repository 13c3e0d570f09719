// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"context"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// adminCommand is the kernel's struct nvme_admin_cmd.
type adminCommand struct {
	opcode, flags      uint8
	_                  uint16
	namespace          uint32
	_, _               uint32
	_                  uint64
	address            uint64
	_, length          uint32
	_                  [6]uint32 // command's own words 10 to 15
	timeoutMS, _result uint32
}

const (
	nvmeNamespaceID = 0x4e40     // NVME_IOCTL_ID
	nvmeAdmin       = 0xc0484e41 // NVME_IOCTL_ADMIN_CMD
	nvmeIdentify    = 0x06       // of a namespace, with 0 in word 10
)

// identify asks an NVMe namespace for its identification, which changes nothing.
func identify(ctx context.Context, path string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	id, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nvmeNamespaceID, 0)
	if errno != 0 {
		return nil, fmt.Errorf("namespace of %s: %w", path, errno)
	}
	b := make([]byte, identificationBytes)
	c := adminCommand{
		opcode: nvmeIdentify, namespace: uint32(id), length: identificationBytes,
		address: uint64(uintptr(unsafe.Pointer(&b[0]))), timeoutMS: uint32(AskTimeout.Milliseconds()),
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nvmeAdmin, uintptr(unsafe.Pointer(&c))); errno != 0 {
		return nil, fmt.Errorf("identifying %s: %w", path, errno)
	}
	return b, nil
}
