// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"
	"maps"
	"slices"
)

// A snapshot is a header and records:
//
//	0            8         9
//	┌────────────┬─────────┬────────┬────────┬─────┬─────┐
//	│ "HFKVSNAP" │ version │ record │ record │  …  │ end │
//	└────────────┴─────────┴────────┴────────┴─────┴─────┘
//
//	record ┌────────┬──────┬──────┬────────────────┐
//	       │ length │ kind │ body │ CRC32C, little │
//	       │ uv     │ 1    │      │ 4              │
//	       └────────┴──────┴──────┴────────────────┘
//	                 └ length ───┘
//
// A record's CRC32C covers the kinds and bodies of all records up to and with
// its own, so that a record which is lost, repeated or moved shows as well as
// one that is damaged; the end record shows a file that is cut off.
//
//	kind 1 state    uv index │ uv changed │ uv graveyard floor │ uv settings index   first, once
//	     2 setting  str name │ str value                                             in order of name
//	     3 origin   8 origin │ uv floor │ uv next │ uv heard │ result of each seq    in order of origin
//	                result: 1 state, and unless empty: uv index │ 1 code │ str message
//	     4 key      as in an answer: str key │ str value │ uv flags │ uv lock │ uv create │ uv modify   in order
//	     5 stone    str key │ uv index                                               in order of key
//	     6 end      uv number of records before it                                   last, once
//
// Two replicas with the same index write the same bytes.
const (
	snapshotMagic   = "HFKVSNAP"
	snapshotVersion = 1

	// maxRecord bounds what a damaged length can make Restore allocate: a
	// full dedup window is the largest record.
	maxRecord = 64 << 20
)

type recordKind byte

const (
	recordState   recordKind = 1
	recordSetting recordKind = 2
	recordOrigin  recordKind = 3
	recordKey     recordKind = 4
	recordStone   recordKind = 5
	recordEnd     recordKind = 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot is the state at one index, for good: writing it takes as long as
// it likes while the machine goes on.
type Snapshot struct {
	view  *view
	dedup dedup
}

// Snapshot returns the state as it is. Called by the goroutine that applies.
func (m *StateMachine) Snapshot() *Snapshot {
	return &Snapshot{view: m.view.Load(), dedup: m.dedup.clone()}
}

// Index is the partition's index that the snapshot holds.
func (s *Snapshot) Index() uint64 { return s.view.index }

// WriteTo writes the snapshot; it implements io.WriterTo. Nothing is durable
// before the caller syncs w.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	sw := snapshotWriter{w: bufio.NewWriterSize(w, 256<<10)}
	sw.write([]byte(snapshotMagic))
	sw.write([]byte{snapshotVersion})
	s.writeRecords(&sw)
	if sw.err == nil {
		sw.err = sw.w.Flush()
	}
	return sw.n, sw.err
}

func (s *Snapshot) writeRecords(sw *snapshotWriter) {
	v := s.view
	b := binary.AppendUvarint(nil, v.index)
	b = binary.AppendUvarint(b, v.changed)
	b = binary.AppendUvarint(b, v.stone.floor)
	b = binary.AppendUvarint(b, v.settings.Index)
	sw.record(recordState, b)
	for _, name := range slices.Sorted(maps.Keys(v.settings.Set)) {
		sw.record(recordSetting, appendString(appendString(b[:0], name), v.settings.Set[name]))
	}
	for _, id := range slices.Sorted(maps.Keys(s.dedup.origins)) {
		b = s.dedup.origins[id].append(binary.LittleEndian.AppendUint64(b[:0], id))
		sw.record(recordOrigin, b)
	}
	v.tree.Root().Walk(func(k []byte, it *item) bool {
		b = appendString(b[:0], k)
		b = it.append(b)
		sw.record(recordKey, b)
		return sw.err != nil
	})
	v.stone.stones.Root().Walk(func(k []byte, index uint64) bool {
		b = binary.AppendUvarint(appendString(b[:0], k), index)
		sw.record(recordStone, b)
		return sw.err != nil
	})
	sw.record(recordEnd, binary.AppendUvarint(b[:0], sw.records))
}

func (it *item) append(b []byte) []byte {
	b = appendString(b, it.value)
	b = binary.AppendUvarint(b, it.flags)
	b = binary.AppendUvarint(b, it.lock)
	b = binary.AppendUvarint(b, it.create)
	return binary.AppendUvarint(b, it.modify)
}

func (o *origin) append(b []byte) []byte {
	b = binary.AppendUvarint(b, o.floor)
	b = binary.AppendUvarint(b, o.next)
	b = binary.AppendUvarint(b, o.heard)
	for seq := o.floor; seq < o.next; seq++ {
		s := o.at(seq)
		b = append(b, byte(s.state))
		if s.state != slotEmpty {
			b = binary.AppendUvarint(b, s.index)
			b = append(b, byte(s.code))
			b = appendString(b, o.messages[seq])
		}
	}
	return b
}

// snapshotWriter frames records. After the first error it writes nothing.
type snapshotWriter struct {
	w       *bufio.Writer
	n       int64
	records uint64
	crc     uint32
	head    [binary.MaxVarintLen64 + 1]byte
	err     error
}

func (sw *snapshotWriter) record(kind recordKind, body []byte) {
	head := append(binary.AppendUvarint(sw.head[:0], uint64(1+len(body))), byte(kind))
	sw.crc = crc32.Update(sw.crc, castagnoli, head[len(head)-1:])
	sw.crc = crc32.Update(sw.crc, castagnoli, body)
	sw.write(head)
	sw.write(body)
	sw.write(binary.LittleEndian.AppendUint32(sw.head[:0], sw.crc))
	sw.records++
}

func (sw *snapshotWriter) write(b []byte) {
	if sw.err != nil {
		return
	}
	n, err := sw.w.Write(b)
	sw.n += int64(n)
	sw.err = err
}

// clone copies the window of every origin: what it takes to let the machine
// go on while a snapshot is written.
func (d *dedup) clone() dedup {
	c := dedup{origins: make(map[uint64]*origin, len(d.origins))}
	for id, o := range d.origins {
		n := *o
		n.ring = slices.Clone(o.ring)
		n.messages = maps.Clone(o.messages)
		c.origins[id] = &n
	}
	return c
}
