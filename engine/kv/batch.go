// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// A log entry is a batch: a header and the commands that shared the append,
// oldest first. A command is length-prefixed, so that a forwarder can move it
// from a request into a batch without decoding it.
//
//	batch    0        2         3
//	        ┌────────┬─────────┬───────────┬───────────┬───
//	        │ "HK"   │ version │ command   │ command   │ …
//	        └────────┴─────────┴───────────┴───────────┴───
//
//	command ┌────────┬────┬───────────┬──────┬───────┬───────┬───────┬─────┬───────┬──────────┐
//	        │ length │ op │ origin    │ seq  │ floor │ flags │ index │ key │ value │ settings │
//	        │ uv     │ 1  │ 8, little │ uv   │ uv    │ uv    │ uv    │ str │ str   │          │
//	        └────────┴────┴───────────┴──────┴───────┴───────┴───────┴─────┴───────┴──────────┘
//	                 └ length counts from here
//
// uv is an unsigned varint, str a uv length and its bytes. settings is there
// for OpSettings alone: uv count, then per setting in order of name: str
// name, one byte (0 null, 1 set), str value where it is set.
//
// There is no checksum: the log stores have theirs.
const (
	batchMagic   = "HK"
	batchVersion = 1
	batchHeader  = len(batchMagic) + 1

	// maxSeq keeps the arithmetic on sequence numbers clear of overflow.
	maxSeq = 1<<63 - 1
)

// AppendBatchHeader begins a batch. Encoded commands are appended to it.
func AppendBatchHeader(dst []byte) []byte {
	return append(append(dst, batchMagic...), batchVersion)
}

// AppendBatch encodes a whole batch.
func AppendBatch(dst []byte, cmds ...Command) []byte {
	dst = AppendBatchHeader(dst)
	for i := range cmds {
		dst = AppendCommand(dst, &cmds[i])
	}
	return dst
}

// Size is the number of bytes that AppendCommand appends.
func (c *Command) Size() int {
	n := c.bodySize()
	return uvarintLen(uint64(n)) + n
}

func (c *Command) bodySize() int {
	n := 1 + 8 + uvarintLen(c.ID.Seq) + uvarintLen(c.ID.Floor) + uvarintLen(c.Flags) +
		uvarintLen(c.Index) + stringLen(len(c.Key)) + stringLen(len(c.Value))
	if c.Op == OpSettings {
		n += uvarintLen(uint64(len(c.Settings)))
		for name, v := range c.Settings {
			n += stringLen(len(name)) + 1
			if v != nil {
				n += stringLen(len(*v))
			}
		}
	}
	return n
}

// AppendCommand appends the command as it stands in a batch.
func AppendCommand(dst []byte, c *Command) []byte {
	n := c.bodySize()
	dst = slices.Grow(dst, binary.MaxVarintLen64+n)
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = append(dst, byte(c.Op))
	dst = binary.LittleEndian.AppendUint64(dst, c.ID.Origin)
	dst = binary.AppendUvarint(dst, c.ID.Seq)
	dst = binary.AppendUvarint(dst, c.ID.Floor)
	dst = binary.AppendUvarint(dst, c.Flags)
	dst = binary.AppendUvarint(dst, c.Index)
	dst = appendString(dst, c.Key)
	dst = appendString(dst, c.Value)
	if c.Op == OpSettings {
		dst = binary.AppendUvarint(dst, uint64(len(c.Settings)))
		for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
			dst = appendString(dst, name)
			if v := c.Settings[name]; v == nil {
				dst = append(dst, 0)
			} else {
				dst = appendString(append(dst, 1), *v)
			}
		}
	}
	return dst
}

// DecodeCommand decodes the first command of b and returns what follows it.
// The value aliases b.
func DecodeCommand(b []byte) (Command, []byte, error) {
	var f frame
	rest, err := f.decode(b)
	if err != nil {
		return Command{}, nil, err
	}
	return f.command(), rest, nil
}

// DecodeBatch decodes a log entry. Values alias it.
func DecodeBatch(entry []byte) ([]Command, error) {
	b, err := batchBody(entry)
	if err != nil {
		return nil, err
	}
	var cmds []Command
	for len(b) > 0 {
		var c Command
		if c, b, err = DecodeCommand(b); err != nil {
			return nil, fmt.Errorf("command %d of the batch: %w", len(cmds), err)
		}
		cmds = append(cmds, c)
	}
	return cmds, nil
}

// batchBody checks the header and returns the commands behind it.
func batchBody(entry []byte) ([]byte, error) {
	switch {
	case len(entry) < batchHeader || string(entry[:len(batchMagic)]) != batchMagic:
		return nil, fmt.Errorf("%w: a log entry of %d bytes does not begin with %q", ErrCorrupt, len(entry), batchMagic)
	case entry[len(batchMagic)] != batchVersion:
		return nil, fmt.Errorf("%w: batch version %d, this program knows %d", ErrVersion, entry[len(batchMagic)], batchVersion)
	}
	return entry[batchHeader:], nil
}

// frame is a command as it lies in a batch: its fields alias the entry, so
// that applying one copies the key and the value once and nothing else.
type frame struct {
	id           ID
	op           Op
	flags, index uint64
	key, value   []byte
	settings     map[string]*string
}

// decode fills every field from the first command of b, returning the rest.
func (f *frame) decode(b []byte) ([]byte, error) {
	outer := reader{b: b}
	r := reader{b: outer.bytes()}
	if outer.failed {
		return nil, fmt.Errorf("%w: a command is cut off", ErrCorrupt)
	}
	f.op = Op(r.byte())
	if !r.failed && (f.op == 0 || f.op > maxOp) {
		return nil, fmt.Errorf("%w: unknown operation %d", ErrVersion, byte(f.op))
	}
	f.id.Origin = r.uint64()
	if f.id.Seq = r.uvarint(); f.id.Seq > maxSeq {
		r.fail()
	}
	f.id.Floor = r.uvarint()
	f.flags = r.uvarint()
	f.index = r.uvarint()
	f.key = r.bytes()
	f.value = r.bytes()
	f.settings = nil
	if f.op == OpSettings {
		f.settings = r.settings()
	}
	if r.failed || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: a command of %d bytes does not parse", ErrCorrupt, len(b)-len(outer.b))
	}
	return outer.b, nil
}

func (f *frame) command() Command {
	c := Command{ID: f.id, Op: f.op, Key: string(f.key), Flags: f.flags, Index: f.index, Settings: f.settings}
	if len(f.value) > 0 {
		c.Value = f.value
	}
	return c
}

// settings reads a map of settings: names in order, each once.
func (r *reader) settings() map[string]*string {
	n := r.count(2)
	m := make(map[string]*string, n)
	last := ""
	for i := range n {
		name := string(r.bytes())
		if i > 0 && name <= last {
			r.failed = true
			return nil
		}
		last = name
		switch r.byte() {
		case 0:
			m[name] = nil
		case 1:
			v := string(r.bytes())
			m[name] = &v
		default:
			r.failed = true
			return nil
		}
	}
	return m
}
