// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"fmt"
	"math/bits"
)

// HumanSize prints a size as lsblk does: "64M", "54.7M", "0B". The decimal is
// rounded from thousandths that were cut off, so 1 MiB less one byte is "1024K".
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
	whole, rest := bytes>>shift, bytes&(1<<shift-1)
	hi, lo := bits.Mul64(rest, 1000) // of exbibytes, more than 64 bits
	thousandths, _ := bits.Div64(hi, lo, 1<<shift)
	tenths := (thousandths + 50) / 100
	if tenths == 10 {
		whole, tenths = whole+1, 0
	}
	if tenths == 0 {
		return fmt.Sprintf("%d%c", whole, suffix)
	}
	return fmt.Sprintf("%d.%d%c", whole, tenths, suffix)
}
