// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// TestCheck: entries 2 to 20 with checkpoints at 8 and 16, damaged in every way.
func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name    string
		damage  func(d *disk)
		o       CheckOptions
		want    []Finding
		summary Summary
	}{
		{name: "well", damage: func(*disk) {}, summary: Summary{Entries: 19, Checkpoints: 2, RangesOK: 2, Unchecked: 5}},
		{name: "a bit", damage: func(d *disk) { d.flip(11) },
			want:    []Finding{{Kind: Mismatch, Start: 8, End: 16}},
			summary: Summary{Entries: 19, Checkpoints: 2, RangesOK: 1, Unchecked: 13}},
		{name: "a bit behind the last checkpoint", damage: func(d *disk) { d.flip(18) },
			summary: Summary{Entries: 19, Checkpoints: 2, RangesOK: 2, Unchecked: 5}},
		{name: "a hole", damage: func(d *disk) { delete(d.logs, 5); delete(d.logs, 6) },
			want:    []Finding{{Kind: Missing, Start: 5, End: 7}},
			summary: Summary{Entries: 17, Checkpoints: 2, RangesOK: 1, Unchecked: 11}},
		{name: "a hole that a snapshot explains", damage: func(d *disk) { delete(d.logs, 5); delete(d.logs, 6) }, o: CheckOptions{Snapshot: 6},
			summary: Summary{Entries: 17, Checkpoints: 2, RangesOK: 1, Unchecked: 11, Skipped: map[Reason]uint64{Snapshot: 1}}},
		{name: "compacted", damage: func(d *disk) { _ = d.DeleteRange(2, 4) },
			summary: Summary{First: 5, Entries: 16, Checkpoints: 2, RangesOK: 1, Unchecked: 8, Skipped: map[Reason]uint64{Compacted: 1}}},
		{name: "terms", damage: func(d *disk) {
			e := d.logs[19]
			e.Term = 0
			d.logs[19] = e
		},
			want:    []Finding{{Kind: Backwards, Start: 19, End: 20}},
			summary: Summary{Entries: 19, Checkpoints: 2, RangesOK: 2, Unchecked: 5}},
		{name: "unreadable", damage: func(d *disk) {
			d.spoil = func(i uint64) error {
				if i == 9 {
					return errors.New("input/output error")
				}
				return nil
			}
		},
			want:    []Finding{{Kind: Unreadable, Start: 9, End: 10}},
			summary: Summary{Entries: 18, Checkpoints: 2, RangesOK: 1, Unchecked: 13}},
		{name: "panic", damage: func(d *disk) { d.spoil = func(i uint64) error { return panicAt(i, 9) } },
			want:    []Finding{{Kind: Unreadable, Start: 9, End: 10}},
			summary: Summary{Entries: 18, Checkpoints: 2, RangesOK: 1, Unchecked: 13}},
		{name: "no meaning", damage: func(*disk) {}, o: CheckOptions{Decode: func(l *raft.Log) error {
			if l.Index == 3 {
				return errors.New("unknown operation")
			}
			return panicAt(l.Index, 4)
		}},
			want:    []Finding{{Kind: Meaningless, Start: 3, End: 4}, {Kind: Meaningless, Start: 4, End: 5}},
			summary: Summary{Entries: 19, Checkpoints: 2, RangesOK: 2, Unchecked: 5}},
		{name: "checkpoint", damage: func(d *disk) { d.logs[16].Extensions[40] ^= 1 },
			want:    []Finding{{Kind: BadCheckpoint, Start: 16, End: 17}},
			summary: Summary{Entries: 19, Checkpoints: 2, RangesOK: 1, Unchecked: 13}},
		{name: "a newer checkpoint", damage: func(d *disk) { d.logs[16].Extensions[8]++ },
			summary: Summary{Entries: 19, Checkpoints: 2, RangesOK: 1, Unchecked: 13, Skipped: map[Reason]uint64{Version: 1}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDisk(false)
			l := open(t, d, Options{})
			store(t, l, entries(2, 8, 1)...)
			checkpoint(t, l, 8, 1)
			store(t, l, entries(9, 16, 2)...)
			checkpoint(t, l, 16, 2)
			store(t, l, entries(17, 21, 2)...)
			tc.damage(d)
			got, err := Check(t.Context(), d, tc.o)
			if err != nil {
				t.Fatal(err)
			}
			want := tc.summary
			if want.First == 0 {
				want.First = 2
			}
			want.Last, want.Found, want.Findings = 20, uint64(len(tc.want)), append([]Finding{}, tc.want...)
			want.FirstTerm, want.LastTerm, want.Bytes = 1, 2, got.Bytes
			if want.Skipped == nil {
				want.Skipped = map[Reason]uint64{}
			}
			for i := range got.Findings {
				if got.Findings[i].Text == "" {
					t.Error("a finding without words")
				}
				got.Findings[i].Text = ""
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckEmptyAndEnded(t *testing.T) {
	got, err := Check(t.Context(), newDisk(true), CheckOptions{})
	if err != nil || got.Entries != 0 || got.First != 0 {
		t.Errorf("an empty log: %+v, %v", got, err)
	}
	d := newDisk(true)
	if err := d.StoreLogs(entries(1, 9, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, d, CheckOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	// More than a list can hold.
	bad, err := Check(t.Context(), newManyBad(t), CheckOptions{})
	if err != nil || bad.Found != 300 || len(bad.Findings) != maxFindings {
		t.Errorf("%d found, %d listed, %v", bad.Found, len(bad.Findings), err)
	}
}

func newManyBad(t *testing.T) *disk {
	d := newDisk(true)
	if err := d.StoreLogs(entries(1, 301, 1)); err != nil {
		t.Fatal(err)
	}
	d.spoil = func(uint64) error { return errors.New("input/output error") }
	return d
}
