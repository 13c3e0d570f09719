// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// CheckOptions say what a log is checked against.
type CheckOptions struct {
	// Snapshot is the last index of the newest snapshot beside the log: what is
	// missing up to there was never lost. 0: there is none.
	Snapshot uint64
	// Decode reads what an entry means, and says why it does not parse; nil: any
	// bytes will do.
	Decode func(*raft.Log) error
}

// Kind classes what is wrong with a log.
type Kind string

const (
	// Unreadable: the store does not answer for an entry, or with another one.
	Unreadable Kind = "unreadable"
	// Missing: entries between the first and the last are not there.
	Missing Kind = "missing"
	// Backwards: an entry has a lower term than the one before.
	Backwards Kind = "term_goes_back"
	// Meaningless: an entry's data does not decode.
	Meaningless Kind = "does_not_decode"
	// BadCheckpoint: a checkpoint that no leader wrote.
	BadCheckpoint Kind = "damaged_checkpoint"
	// Mismatch: a range is not what the leader's checkpoint says.
	Mismatch Kind = "checksum_mismatch"
)

// Finding is one thing that is wrong, with the entries Start ≤ i < End.
type Finding struct {
	Kind  Kind   `json:"kind"`
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
	Text  string `json:"text"`
}

// maxFindings bounds what a summary lists; the others are counted.
const maxFindings = 100

// Summary is what Check found.
type Summary struct {
	// First and Last are 0 where the log is empty.
	First     uint64 `json:"first"`
	Last      uint64 `json:"last"`
	Entries   uint64 `json:"entries"`
	Bytes     uint64 `json:"bytes"` // of data
	FirstTerm uint64 `json:"first_term"`
	LastTerm  uint64 `json:"last_term"`
	// Checkpoints are those in the log. RangesOK of their ranges are what the
	// leader wrote; Skipped ones could not be compared.
	Checkpoints uint64            `json:"checkpoints"`
	RangesOK    uint64            `json:"ranges_ok"`
	Skipped     map[Reason]uint64 `json:"ranges_skipped"`
	// Unchecked entries lie in no range that was compared: those behind the last
	// checkpoint among them.
	Unchecked uint64 `json:"entries_not_covered"`
	// Findings are the first of them, Found is how many there are.
	Findings []Finding `json:"findings"`
	Found    uint64    `json:"found"`
}

// Check reads a log from end to end, changing nothing: that its indexes follow
// each other, terms never go back, entries decode, and every range is what its
// checkpoint says. It holds eight bytes of memory per entry. The only error is
// that of ctx, or that the log does not say where it begins and ends.
func Check(ctx context.Context, log Reader, o CheckOptions) (Summary, error) {
	c := check{o: o}
	c.Skipped, c.Findings = map[Reason]uint64{}, []Finding{}
	var err error
	if c.First, err = log.FirstIndex(); err != nil {
		return c.Summary, err
	}
	if c.Last, err = log.LastIndex(); err != nil || c.First == 0 {
		return c.Summary, err
	}
	c.before = append(c.before, 0)
	for i := c.First; i <= c.Last; i++ {
		if err := ctx.Err(); err != nil {
			return c.Summary, err
		}
		c.read(log, i)
	}
	c.endGap(c.Last + 1)
	return c.Summary, nil
}

// check is a Check under way.
type check struct {
	Summary
	o CheckOptions
	// before has the sum of everything before each entry from First on.
	before []uint64
	// bad is the last entry that is missing or was not read, gap where a run of
	// missing ones began; 0: none.
	bad, gap uint64
	// jumped: the entry before is missing, and a snapshot has it.
	jumped  bool
	covered uint64 // the end of the last range that was compared
}

func (c *check) find(kind Kind, start, end uint64, format string, args ...any) {
	c.Found++
	if len(c.Findings) < maxFindings {
		c.Findings = append(c.Findings, Finding{kind, start, end, fmt.Sprintf(format, args...)})
	}
}

// read looks at entry i.
func (c *check) read(log Reader, i uint64) {
	var e raft.Log
	err := get(log, i, &e)
	sum := uint64(0)
	switch {
	case errors.Is(err, raft.ErrLogNotFound):
		c.bad = i
		if c.gap == 0 {
			c.gap = i
		}
	case err != nil:
		c.endGap(i)
		c.bad = i
		c.find(Unreadable, i, i+1, "entry %d cannot be read: %v", i, err)
	default:
		c.endGap(i)
		c.entry(&e)
		sum = entrySum(&e)
	}
	c.before = append(c.before, c.before[len(c.before)-1]+sum)
	c.Unchecked++
}

// endGap ends a run of missing entries below i.
func (c *check) endGap(i uint64) {
	if c.gap == 0 {
		return
	}
	if c.jumped = i-1 <= c.o.Snapshot; !c.jumped {
		c.find(Missing, c.gap, i, "entries %d to %d are missing", c.gap, i-1)
	}
	c.gap = 0
}

func (c *check) entry(e *raft.Log) {
	c.Entries++
	c.Bytes += uint64(len(e.Data))
	switch {
	case c.FirstTerm == 0:
		c.FirstTerm = e.Term
	case e.Term < c.LastTerm && !c.jumped: // what a snapshot jumps over may be of a later term
		c.find(Backwards, e.Index, e.Index+1, "entry %d has term %d, the one before it term %d", e.Index, e.Term, c.LastTerm)
	}
	c.LastTerm, c.jumped = e.Term, false
	if c.o.Decode != nil {
		if err := decodes(c.o.Decode, e); err != nil {
			c.find(Meaningless, e.Index, e.Index+1, "entry %d does not decode: %v", e.Index, err)
		}
	}
	if IsCheckpoint(e) {
		c.checkpoint(e)
	}
}

// decodes runs decode, which may panic over damaged bytes.
func decodes(decode func(*raft.Log) error, e *raft.Log) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return decode(e)
}

// checkpoint compares the range of a checkpoint.
func (c *check) checkpoint(e *raft.Log) {
	c.Checkpoints++
	p, err := Decode(e)
	switch {
	case errors.Is(err, ErrVersion):
		c.Skipped[Version]++
		return
	case err != nil:
		c.find(BadCheckpoint, e.Index, e.Index+1, "%v", err)
		return
	case p.Start == p.End:
		return
	case p.Start < c.First:
		c.Skipped[Compacted]++
		return
	case p.Start <= c.bad && c.bad <= c.o.Snapshot:
		c.Skipped[Snapshot]++
		return
	case p.Start <= c.bad:
		return // found already
	}
	got := c.before[p.End-c.First] - c.before[p.Start-c.First]
	if got != p.Sum {
		c.find(Mismatch, p.Start, p.End, "entries %d to %d are not what the leader wrote: its checksum is %016x, the log's is %016x", p.Start, p.End-1, p.Sum, got)
		return
	}
	c.RangesOK++
	c.Unchecked -= p.End - max(p.Start, c.covered)
	c.covered = p.End
}
