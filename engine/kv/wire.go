// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"encoding/binary"
	"math/bits"
)

// reader takes fields off the front of b. After the first one that is not
// there, failed is set and every field is zero, so that a decoder checks once.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) byte() byte {
	if r.failed || len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint64() uint64 {
	if r.failed || len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) uvarint() uint64 {
	if r.failed {
		return 0
	}
	if len(r.b) > 0 && r.b[0] < 0x80 { // most of them
		v := uint64(r.b[0])
		r.b = r.b[1:]
		return v
	}
	v, n := binary.Uvarint(r.b)
	// A number has one encoding: the shortest. Otherwise two byte strings
	// would mean one command, and a golden file would pin only one of them.
	if n <= 0 || n != uvarintLen(v) {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads a length and that many bytes, which alias b.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if r.failed || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// bool reads 0 or 1.
func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail()
	}
	return v == 1 && !r.failed
}

// count reads the number of elements that follow, each at least size bytes
// long: a claim that the bytes cannot hold fails before anything is allocated.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) fail() {
	r.failed, r.b = true, nil
}

func appendString[S string | []byte](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func stringLen(n int) int { return uvarintLen(uint64(n)) + n }
