// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// raft-wal's segment format, version 0 (its segment/format.go), as far as
// finding the end of a segment needs it:
//
//	file header   32 bytes
//	frame header   0      1      2      3      4      5      6      7
//	             +------+------+------+------+------+------+------+------+
//	             | type | 0                  | length, or CRC of a commit|
//	             +------+------+------+------+------+------+------+------+
//	payload      length bytes, zero-padded to a multiple of 8; none in a commit
//
// A batch is its entries, in the last batch of a segment an index, and a commit
// whose CRC-32C runs from the end of the commit before (or the start of the
// file) up to the commit's own header.
const (
	fileHeaderLen  = 32
	frameHeaderLen = 8

	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3

	// minSegmentSize is the length of the shortest file that raft-wal could
	// have committed an entry to.
	minSegmentSize = fileHeaderLen + 2*frameHeaderLen
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// tailScan is what is sound in a segment that was not sealed in wal-meta.db.
type tailScan struct {
	end        int64  // first byte behind the last sound commit, 0 if there is none
	entries    uint64 // entries up to end
	indexStart uint64 // offset of the index's payload if end seals the segment, else 0
}

// scanTail reads a segment from its beginning and checks every commit.
//
// Only the last batch can be torn, because each one was synced before the next
// was begun. So a bad commit with a sound one behind it is damage to
// acknowledged entries: that is an error (types.ErrCorrupt) and not an end.
func scanTail(r io.ReaderAt, size int64) (tailScan, error) {
	var (
		sound, cur tailScan
		badAt      int64 = -1
	)
	in := &frameReader{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<20), left: size}
	if err := in.skip(fileHeaderLen); err != nil {
		return sound, endOfScan(err)
	}
	for {
		start := in.off
		typ, value, err := in.header()
		if err != nil {
			return sound, endOfScan(err)
		}
		switch typ {
		case frameEntry:
			cur.entries++
		case frameIndex:
			cur.indexStart = uint64(start + frameHeaderLen)
		case frameCommit:
			cur.end = in.off
			switch {
			case in.crc != value:
				if badAt < 0 {
					badAt = start
				}
			case badAt >= 0:
				return sound, fmt.Errorf("%w: the batch committed at offset %d fails its checksum and is not the last one; restore the file; this server's vote is in the log, so it may not start with an empty one while it is a voter",
					types.ErrCorrupt, badAt)
			default:
				sound = cur
				if sound.indexStart > 0 {
					return sound, nil // nothing is appended to a sealed segment
				}
			}
			in.crc = 0
			continue
		default:
			return sound, nil
		}
		in.sumHeader(typ, value)
		if err := in.skip(int64(value) + padding(int64(value))); err != nil {
			return sound, endOfScan(err)
		}
	}
}

// endOfScan lets the end of the file end the scan, and passes on the rest.
func endOfScan(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func padding(n int64) int64 { return -n & (frameHeaderLen - 1) }

// frameReader reads frames in order and sums what a commit covers.
type frameReader struct {
	r    *bufio.Reader
	left int64
	off  int64
	crc  uint32
}

// header reads a frame header. It is not summed yet: a commit's is not at all.
// What does not look like a header has type 0.
func (f *frameReader) header() (typ byte, value uint32, err error) {
	var h [frameHeaderLen]byte
	if f.left < frameHeaderLen {
		return 0, 0, io.EOF
	}
	if _, err := io.ReadFull(f.r, h[:]); err != nil {
		return 0, 0, err
	}
	f.off += frameHeaderLen
	f.left -= frameHeaderLen
	return h[0], binary.LittleEndian.Uint32(h[4:]), nil
}

func (f *frameReader) sumHeader(typ byte, value uint32) {
	h := [frameHeaderLen]byte{0: typ}
	binary.LittleEndian.PutUint32(h[4:], value)
	f.crc = crc32.Update(f.crc, castagnoli, h[:])
}

// skip reads n bytes and sums them. io.EOF means that the file is too short.
func (f *frameReader) skip(n int64) error {
	if n > f.left {
		return io.EOF
	}
	f.off += n
	f.left -= n
	for n > 0 {
		b, err := f.r.Peek(int(min(n, int64(f.r.Size()))))
		if err != nil {
			return err
		}
		f.crc = crc32.Update(f.crc, castagnoli, b)
		n -= int64(len(b))
		if _, err := f.r.Discard(len(b)); err != nil {
			return err
		}
	}
	return nil
}

// clearFrom overwrites with zeros what is not zero in [from, size), and returns
// how many bytes it wrote. It does not sync.
func clearFrom(file vfs.File, from, size int64) (cleared int64, err error) {
	buf := make([]byte, 256<<10)
	for from < size {
		n, err := file.ReadAt(buf[:min(size-from, int64(len(buf)))], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return cleared, err
		}
		if n == 0 {
			return cleared, nil
		}
		if !allZero(buf[:n]) {
			w, err := writeZeros(file, from, from+int64(n))
			cleared += w
			if err != nil {
				return cleared, err
			}
		}
		from += int64(n)
	}
	return cleared, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
