// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// A checkpoint is a log entry whose Extensions hold, little endian:
//
//	0       8         9      10     16      24     32     40       44
//	┌───────┬─────────┬──────┬──────┬───────┬──────┬──────┬────────┐
//	│ magic │ version │ kind │ zero │ start │ end  │ sum  │ crc32c │
//	└───────┴─────────┴──────┴──────┴───────┴──────┴──────┴────────┘
//
// kindSum: sum is that of the entries start ≤ i < end; end is the entry's own
// index. start = end: the leader knew nothing of what is before, and the range
// that begins here is the first that it vouches for.
//
// kindRequest: raft is on the way to the leader's own Log with it, which fills
// it in; sum is that Log's nonce, so that no other one does: entries must be
// the same bytes everywhere. start and end are 0. It is in no log.
//
// crc32c is that of the bytes before it.
const (
	checkpointMagic   = "HFCHKPT\x00"
	checkpointVersion = 1
	checkpointSize    = 44

	kindSum     = 1
	kindRequest = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Errors of Decode, wrapped.
var (
	// ErrDamaged is returned for a checkpoint that no Log wrote.
	ErrDamaged = errors.New("the checkpoint is damaged")
	// ErrVersion is returned for a checkpoint that a newer version wrote.
	ErrVersion = errors.New("the checkpoint was written by a newer version")
)

// Checkpoint is what a leader says of the entries Start ≤ i < End.
type Checkpoint struct {
	Start, End uint64
	Sum        uint64
}

// IsCheckpoint tells whether a log entry is a checkpoint, readable or not. A
// state machine does nothing about it.
func IsCheckpoint(l *raft.Log) bool {
	return l.Type == raft.LogCommand && len(l.Extensions) >= len(checkpointMagic) &&
		string(l.Extensions[:len(checkpointMagic)]) == checkpointMagic
}

// Decode reads the checkpoint of a log entry for which IsCheckpoint is true.
func Decode(l *raft.Log) (Checkpoint, error) {
	kind, c, err := decode(l.Extensions)
	switch {
	case err != nil:
		return Checkpoint{}, fmt.Errorf("entry %d: %w", l.Index, err)
	case kind != kindSum:
		return Checkpoint{}, fmt.Errorf("entry %d: %w: it was never filled in", l.Index, ErrDamaged)
	case c.End != l.Index:
		return Checkpoint{}, fmt.Errorf("entry %d: %w: it says that it is entry %d", l.Index, ErrDamaged, c.End)
	case c.Start > c.End:
		return Checkpoint{}, fmt.Errorf("entry %d: %w: its range begins at %d", l.Index, ErrDamaged, c.Start)
	}
	return c, nil
}

func decode(b []byte) (kind byte, c Checkpoint, err error) {
	const at = len(checkpointMagic)
	if len(b) <= at || string(b[:at]) != checkpointMagic {
		return 0, c, fmt.Errorf("%w: no magic", ErrDamaged)
	}
	if b[at] != checkpointVersion {
		return 0, c, fmt.Errorf("%w: version %d, this program reads version %d", ErrVersion, b[at], checkpointVersion)
	}
	le := binary.LittleEndian
	if len(b) != checkpointSize {
		return 0, c, fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	if got, want := crc32.Checksum(b[:checkpointSize-4], castagnoli), le.Uint32(b[checkpointSize-4:]); got != want {
		return 0, c, fmt.Errorf("%w: crc %08x, computed %08x", ErrDamaged, want, got)
	}
	kind = b[at+1]
	if kind != kindSum && kind != kindRequest {
		return 0, c, fmt.Errorf("%w: unknown kind %d", ErrDamaged, kind)
	}
	return kind, Checkpoint{Start: le.Uint64(b[16:]), End: le.Uint64(b[24:]), Sum: le.Uint64(b[32:])}, nil
}

func encode(kind byte, c Checkpoint) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, checkpointSize)
	b = append(b, checkpointMagic...)
	b = append(b, checkpointVersion, kind, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint64(b, c.Start)
	b = le.AppendUint64(b, c.End)
	b = le.AppendUint64(b, c.Sum)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// isRequest tells whether the Log with this nonce is to fill the entry in.
func isRequest(l *raft.Log, nonce uint64) bool {
	if !IsCheckpoint(l) {
		return false
	}
	kind, c, err := decode(l.Extensions)
	return err == nil && kind == kindRequest && c.Sum == nonce
}
