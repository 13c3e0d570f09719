// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// A journal record, little endian:
//
//	0        4        8        16       24        32     33     36       40
//	┌────────┬────────┬────────┬────────┬─────────┬──────┬──────┬────────┬─────────┐
//	│ crc    │ prev   │ epoch  │ seq    │ durable │ kind │ zero │ length │ payload │
//	└────────┴────────┴────────┴────────┴─────────┴──────┴──────┴────────┴─────────┘
//
// crc is CRC-32C of everything behind it, payload included, begun with the
// log's id, so that a record of another log never checks. prev is the crc of
// the record before it in the chain; the first of a chain has the id's own
// sum there. durable is the newest operation known to be durable in this
// journal when the record was written: recovery that cannot read that far has
// met damage, not a torn tail.
//
// Payloads:
//
//	opAppend     count u32, then per entry: index u64, term u64, type u8,
//	             appended at i64 (ns, 0: none), len u32, data, len u32, extensions
//	opTruncate   index u64
//	opReset      –
//	opSet*       len u32, key, value
const recordHeader = 40

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logSum is what the checksums of a log's records begin with.
func logSum(logID string) uint32 { return crc32.Checksum([]byte(logID), castagnoli) }

// errTorn is returned for bytes that are no record: the end of a chain, a
// write that never completed, or zeros.
var errTorn = errors.New("no record")

const entryOverhead = 8 + 8 + 1 + 8 + 4 + 4

// recordSize is the size of o's record in bytes.
func recordSize(o *op) int {
	n := recordHeader
	switch o.kind {
	case opAppend:
		n += 4
		for _, l := range o.logs {
			n += entryOverhead + len(l.Data) + len(l.Extensions)
		}
	case opTruncate:
		n += 8
	case opSet, opSetUint64:
		n += 4 + len(o.key) + len(o.value)
	case opReset:
	}
	return n
}

// appendRecord appends o's record to dst and returns its checksum, the next
// record's prev.
func appendRecord(dst []byte, o *op, sum, prev uint32, epoch uint64, durable seq) ([]byte, uint32) {
	le := binary.LittleEndian
	at := len(dst)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint32(dst, prev)
	dst = le.AppendUint64(dst, epoch)
	dst = le.AppendUint64(dst, uint64(o.seq))
	dst = le.AppendUint64(dst, uint64(durable))
	dst = append(dst, byte(o.kind), 0, 0, 0)
	dst = le.AppendUint32(dst, uint32(o.size-recordHeader)) //nolint:gosec // bounded by the journal file's size
	switch o.kind {
	case opAppend:
		dst = le.AppendUint32(dst, uint32(len(o.logs)))
		for _, l := range o.logs {
			dst = appendEntry(dst, l)
		}
	case opTruncate:
		dst = le.AppendUint64(dst, o.index)
	case opSet, opSetUint64:
		dst = le.AppendUint32(dst, uint32(len(o.key)))
		dst = append(dst, o.key...)
		dst = append(dst, o.value...)
	case opReset:
	}
	crc := crc32.Update(sum, castagnoli, dst[at+4:])
	le.PutUint32(dst[at:], crc)
	return dst, crc
}

func appendEntry(dst []byte, l *raft.Log) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, l.Index)
	dst = le.AppendUint64(dst, l.Term)
	dst = append(dst, byte(l.Type))
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	dst = le.AppendUint64(dst, uint64(at)) //nolint:gosec // the bits, read back the same way
	dst = le.AppendUint32(dst, uint32(len(l.Data)))
	dst = append(dst, l.Data...)
	dst = le.AppendUint32(dst, uint32(len(l.Extensions)))
	return append(dst, l.Extensions...)
}

// A record is one decoded journal record.
type record struct {
	op      op
	crc     uint32
	prev    uint32
	epoch   uint64
	durable seq
}

// decodeRecord reads the record at the start of b. errTorn (wrapped) where
// there is none; the op shares no memory with b.
func decodeRecord(b []byte, sum uint32) (record, error) {
	var r record
	if len(b) < recordHeader {
		return r, fmt.Errorf("%w: %d bytes left", errTorn, len(b))
	}
	le := binary.LittleEndian
	n := int(le.Uint32(b[36:]))
	if n > len(b)-recordHeader {
		return r, fmt.Errorf("%w: a length of %d with %d bytes left", errTorn, n, len(b)-recordHeader)
	}
	b = b[:recordHeader+n]
	r.crc = le.Uint32(b)
	if got := crc32.Update(sum, castagnoli, b[4:]); got != r.crc {
		return r, fmt.Errorf("%w: checksum %08x, computed %08x", errTorn, r.crc, got)
	}
	r.prev = le.Uint32(b[4:])
	r.epoch = le.Uint64(b[8:])
	r.op.seq = seq(le.Uint64(b[16:]))
	r.durable = seq(le.Uint64(b[24:]))
	r.op.kind = opKind(b[32])
	r.op.size = len(b)
	if err := decodePayload(&r.op, b[recordHeader:]); err != nil {
		return r, fmt.Errorf("record %d of epoch %d: %w", r.op.seq, r.epoch, err)
	}
	return r, nil
}

// errPayload is returned for a record whose checksum is right and whose
// contents are not: written by another version, or a defect. Never a torn write.
var errPayload = errors.New("the record's contents do not decode")

func decodePayload(o *op, b []byte) error {
	d := decoder{b: b}
	switch o.kind {
	case opAppend:
		count := int(d.u32())
		if count == 0 || count > len(b)/entryOverhead {
			return fmt.Errorf("%w: %d entries in %d bytes", errPayload, count, len(b))
		}
		o.logs = make([]*raft.Log, count)
		for i := range o.logs {
			o.logs[i] = d.entry()
			if i > 0 && o.logs[i].Index != o.logs[i-1].Index+1 {
				return fmt.Errorf("%w: entry %d follows entry %d", errPayload, o.logs[i].Index, o.logs[i-1].Index)
			}
		}
	case opTruncate:
		o.index = d.u64()
	case opReset:
	case opSet, opSetUint64:
		o.key = d.bytes(int(d.u32()))
		o.value = d.bytes(len(d.b))
		if o.kind == opSetUint64 && len(o.value) != 8 {
			return fmt.Errorf("%w: a number of %d bytes", errPayload, len(o.value))
		}
	default:
		return fmt.Errorf("%w: unknown kind %d", errPayload, o.kind)
	}
	if d.short || len(d.b) != 0 {
		return fmt.Errorf("%w: length", errPayload)
	}
	return nil
}

// A decoder reads from the front of b; short is set once b was too short.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.short, d.b = true, nil
		return make([]byte, 8)
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

// bytes returns a copy of the next n bytes, nil where n is 0.
func (d *decoder) bytes(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.short, d.b = true, nil
		return nil
	}
	return append([]byte(nil), d.take(n)...)
}

func (d *decoder) entry() *raft.Log {
	l := &raft.Log{Index: d.u64(), Term: d.u64(), Type: raft.LogType(d.take(1)[0])}
	if at := int64(d.u64()); at != 0 { //nolint:gosec // the bits, as they were written
		l.AppendedAt = time.Unix(0, at)
	}
	l.Data = d.bytes(int(d.u32()))
	l.Extensions = d.bytes(int(d.u32()))
	return l
}
