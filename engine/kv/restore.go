// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Restore replaces the whole state by a snapshot's, and with it the error of
// a machine that stopped. A snapshot that does not read to its end changes
// nothing; the error wraps ErrCorrupt or ErrVersion, or is the reader's own.
func (m *StateMachine) Restore(r io.Reader) error {
	rs := restorer{
		r:    bufio.NewReaderSize(r, 256<<10),
		tree: iradix.New[*item]().Txn(), stones: iradix.New[uint64]().Txn(),
		settings: make(map[string]string), dedup: newDedup(),
	}
	if err := rs.run(); err != nil {
		return fmt.Errorf("the snapshot cannot be restored: %w", err)
	}
	rs.view.tree = rs.tree.CommitOnly()
	rs.view.settings.Set = rs.settings
	rs.view.stone.stones = rs.stones.CommitOnly()
	rs.view.stone.n = rs.view.stone.stones.Len()
	slices.SortFunc(rs.order, func(a, b stone) int { return cmp.Compare(a.index, b.index) })
	rs.view.stone.queue = &stoneQueue{order: rs.order}
	m.dedup = rs.dedup
	m.view.Store(&rs.view)
	m.fatal.Store(nil)
	return nil
}

// restorer collects what the records say.
type restorer struct {
	r       *bufio.Reader
	buf     []byte
	records uint64
	crc     uint32

	view     view
	tree     *iradix.Txn[*item]
	stones   *iradix.Txn[uint64]
	order    []stone
	settings map[string]string
	dedup    dedup
}

func (rs *restorer) run() error {
	var head [len(snapshotMagic) + 1]byte
	if _, err := io.ReadFull(rs.r, head[:]); err != nil {
		return cut("header", err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return fmt.Errorf("%w: it does not begin with %q", ErrCorrupt, snapshotMagic)
	}
	if v := head[len(snapshotMagic)]; v != snapshotVersion {
		return fmt.Errorf("%w: snapshot version %d, this program knows %d", ErrVersion, v, snapshotVersion)
	}
	for {
		kind, body, err := rs.next()
		if err != nil {
			return err
		}
		if kind == recordEnd {
			return rs.end(body)
		}
		if err := rs.record(kind, reader{b: body}); err != nil {
			return err
		}
		rs.records++
	}
}

// next reads one record and checks it. The body is valid until the next call.
func (rs *restorer) next() (recordKind, []byte, error) {
	n, err := binary.ReadUvarint(rs.r)
	if err != nil {
		return 0, nil, cut(fmt.Sprintf("record %d", rs.records), err)
	}
	if n < 1 || n > maxRecord {
		return 0, nil, fmt.Errorf("%w: record %d claims %d bytes", ErrCorrupt, rs.records, n)
	}
	rs.buf = slices.Grow(rs.buf[:0], int(n)+4)[:n+4]
	if _, err := io.ReadFull(rs.r, rs.buf); err != nil {
		return 0, nil, cut(fmt.Sprintf("record %d", rs.records), err)
	}
	payload, sum := rs.buf[:n], binary.LittleEndian.Uint32(rs.buf[n:])
	if rs.crc = crc32.Update(rs.crc, castagnoli, payload); rs.crc != sum {
		return 0, nil, fmt.Errorf("%w: record %d: checksum %08x, want %08x", ErrCorrupt, rs.records, rs.crc, sum)
	}
	return recordKind(payload[0]), payload[1:], nil
}

func (rs *restorer) record(kind recordKind, r reader) error {
	if (kind == recordState) != (rs.records == 0) {
		return fmt.Errorf("%w: record %d is of kind %d", ErrCorrupt, rs.records, kind)
	}
	switch kind {
	case recordState:
		rs.view.index = r.uvarint()
		rs.view.changed = r.uvarint()
		rs.view.stone.floor = r.uvarint()
		rs.view.settings.Index = r.uvarint()
	case recordSetting:
		name := string(r.bytes())
		rs.settings[name] = string(r.bytes())
	case recordOrigin:
		rs.dedup.origins[r.uint64()] = r.origin()
	case recordKey:
		rs.key(&r)
	case recordStone:
		s := stone{key: string(r.bytes()), index: r.uvarint()}
		rs.stones.Insert([]byte(s.key), s.index)
		rs.order = append(rs.order, s)
	default:
		return fmt.Errorf("%w: record %d is of unknown kind %d", ErrVersion, rs.records, kind)
	}
	if r.failed || len(r.b) != 0 {
		return fmt.Errorf("%w: record %d of kind %d does not parse", ErrCorrupt, rs.records, kind)
	}
	return nil
}

func (rs *restorer) key(r *reader) {
	k, v := r.bytes(), r.bytes()
	it := &item{flags: r.uvarint(), lock: r.uvarint(), create: r.uvarint(), modify: r.uvarint()}
	if r.failed {
		return
	}
	buf := make([]byte, len(k)+len(v))
	n := copy(buf, k)
	copy(buf[n:], v)
	it.value = buf[n:]
	if _, twice := rs.tree.Insert(buf[:n:n], it); twice {
		r.fail()
		return
	}
	rs.view.keys++
}

func (r *reader) origin() *origin {
	o := &origin{floor: r.uvarint(), next: r.uvarint(), heard: r.uvarint()}
	if r.failed || o.next < o.floor || o.next > maxSeq+1 || o.next-o.floor > min(dedupWindow, uint64(len(r.b))) {
		r.fail()
		return o
	}
	o.grow()
	for seq := o.floor; seq < o.next; seq++ {
		state := slotState(r.byte())
		if state == slotEmpty {
			continue
		}
		if state > slotNotOK {
			r.fail()
			return o
		}
		res := Result{Index: r.uvarint(), OK: state == slotOK, Code: ResultCode(r.byte()), Message: string(r.bytes())}
		heard := o.heard
		o.remember(seq, res)
		o.heard = heard
	}
	return o
}

// end checks that nothing is missing and nothing follows.
func (rs *restorer) end(body []byte) error {
	r := reader{b: body}
	if n := r.uvarint(); r.failed || len(r.b) != 0 || n != rs.records || n == 0 {
		return fmt.Errorf("%w: the end record does not agree with the %d records before it", ErrCorrupt, rs.records)
	}
	if _, err := rs.r.ReadByte(); err == nil {
		return fmt.Errorf("%w: bytes follow the end record", ErrCorrupt)
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading behind the end record: %w", err)
	}
	return nil
}

// cut tells a snapshot that ends early from one that cannot be read.
func cut(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut off in %s", ErrCorrupt, what)
	}
	return fmt.Errorf("reading %s: %w", what, err)
}
