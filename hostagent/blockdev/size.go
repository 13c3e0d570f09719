// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import "fmt"

// HumanSize prints a size as lsblk does: "64M", "54.7M", "0B".
//
// lsblk's decimal is not the nearest one. It takes the 1024ths of the
// remainder for 1000ths and rounds those: 1.5 KiB less one byte is "1.5K",
// and 1 MiB less one byte "1024K".
func HumanSize(bytes uint64) string {
	shift, suffix := 0, byte('B')
	for _, s := range []byte("KMGTPE") {
		if bytes>>(shift+10) == 0 {
			break
		}
		shift += 10
		suffix = s
	}
	if shift == 0 {
		return fmt.Sprintf("%d%c", bytes, suffix)
	}
	whole := bytes >> shift
	thousandths := (bytes & (1<<shift - 1)) >> (shift - 10)
	tenths := (thousandths + 50) / 100
	if tenths == 10 {
		whole, tenths = whole+1, 0
	}
	if tenths == 0 {
		return fmt.Sprintf("%d%c", whole, suffix)
	}
	return fmt.Sprintf("%d.%d%c", whole, tenths, suffix)
}
