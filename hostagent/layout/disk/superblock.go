// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// superblockBytes is how much of a device the sizes below are in.
const superblockBytes = 4096

var errSuperblock = errors.New("not a superblock")

// fsSize reads how large the file system on a device says that it is. Of an
// xfs that is mounted the kernel is asked: what is on the device is older.
func fsSize(fstype, device, point string) (uint64, error) {
	if fstype == XFS && point != "" {
		return xfsGeometry(point)
	}
	f, err := os.Open(device)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [superblockBytes]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return 0, err
	}
	n, err := parseSize(fstype, b[:])
	if err != nil {
		return 0, fmt.Errorf("%s: %w of %s", device, err, fstype)
	}
	return n, nil
}

// parseSize finds the number of blocks and their size:
//
//	ext4, from byte 1024, little-endian    xfs, from byte 0, big-endian
//	  4  blocks, low 32 bits                 0  "XFSB"
//	 24  log2 of block size less 10          4  block size
//	 56  0xef53                              8  blocks, 64 bits
//	 96  incompatible features (0x80: 64 bit)
//	336  blocks, high 32 bits
func parseSize(fstype string, b []byte) (uint64, error) {
	if len(b) < superblockBytes {
		return 0, errSuperblock
	}
	var blocks, size uint64
	switch fstype {
	case Ext4:
		b, le := b[1024:], binary.LittleEndian
		shift := le.Uint32(b[24:])
		if le.Uint16(b[56:]) != 0xef53 || shift > 6 {
			return 0, errSuperblock
		}
		blocks, size = uint64(le.Uint32(b[4:])), 1024<<shift
		if le.Uint32(b[96:])&0x80 != 0 {
			blocks |= uint64(le.Uint32(b[336:])) << 32
		}
	case XFS:
		size, blocks = uint64(binary.BigEndian.Uint32(b[4:])), binary.BigEndian.Uint64(b[8:])
		if string(b[:4]) != "XFSB" || size < 512 || size > 65536 {
			return 0, errSuperblock
		}
	default:
		return 0, errSuperblock
	}
	high, n := bits.Mul64(blocks, size)
	if high != 0 || n == 0 {
		return 0, errSuperblock
	}
	return n, nil
}

// geometry is the kernel's struct xfs_fsop_geom_v1.
type geometry struct {
	BlockSize, _, _, _, _, _, _, _ uint32
	DataBlocks                     uint64
	_                              [3]uint64
	_                              [16]byte
	_                              [8]uint32
}

// xfsGeometryRequest is XFS_IOC_FSGEOMETRY_V1, _IOR('X', 100, 112 bytes).
const xfsGeometryRequest = 0x80705864

func xfsGeometry(point string) (uint64, error) {
	f, err := os.Open(point)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var g geometry
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), xfsGeometryRequest, uintptr(unsafe.Pointer(&g))); errno != 0 {
		return 0, fmt.Errorf("geometry of %s: %w", point, errno)
	}
	return uint64(g.BlockSize) * g.DataBlocks, nil
}
