// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/raft"
)

func entry(index, term uint64, data string) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: []byte(data), AppendedAt: time.Unix(0, 1764000000000000123)}
}

// sampleOps are one of each kind.
func sampleOps() []*op {
	ops := []*op{
		{kind: opAppend, logs: []*raft.Log{entry(7, 2, "x"), {Index: 8, Term: 2, Type: raft.LogConfiguration, Extensions: []byte("ext")}}},
		{kind: opTruncate, index: 8},
		{kind: opReset},
		{kind: opSet, key: []byte("LastVoteCand"), value: []byte("b")},
		{kind: opSetUint64, key: []byte("CurrentTerm"), value: binary.BigEndian.AppendUint64(nil, 3)},
	}
	for i, o := range ops {
		o.seq = seq(41 + i)
		o.size = recordSize(o)
	}
	return ops
}

var compareOps = cmp.Options{
	cmp.AllowUnexported(op{}), cmpopts.IgnoreFields(op{}, "done", "since"), cmpopts.EquateEmpty(),
}

func TestRecordRoundTrip(t *testing.T) {
	sum := logSum("log")
	prev := sum
	var buf []byte
	for _, o := range sampleOps() {
		at := len(buf)
		var crc uint32
		buf, crc = appendRecord(buf, o, sum, prev, 9, 40)
		if got := len(buf) - at; got != o.size {
			t.Errorf("operation %d: recordSize %d, encoded %d", o.seq, o.size, got)
		}
		got, err := decodeRecord(buf[at:], sum)
		if err != nil {
			t.Fatalf("operation %d: %v", o.seq, err)
		}
		if diff := cmp.Diff(o, &got.op, compareOps); diff != "" {
			t.Errorf("operation %d (-want +got):\n%s", o.seq, diff)
		}
		if got.prev != prev || got.crc != crc || got.epoch != 9 || got.durable != 40 {
			t.Errorf("operation %d: prev %x crc %x epoch %d durable %d", o.seq, got.prev, got.crc, got.epoch, got.durable)
		}
		if _, err := decodeRecord(buf[at:], logSum("another log")); !errors.Is(err, errTorn) {
			t.Errorf("operation %d decodes for another log: %v", o.seq, err)
		}
		prev = crc
	}
}

// Every byte that is flipped, and every cut, is a torn record and nothing else.
func TestRecordDamage(t *testing.T) {
	sum := logSum("log")
	for _, o := range sampleOps() {
		whole, _ := appendRecord(nil, o, sum, sum, 1, 0)
		for i := range whole {
			b := append([]byte(nil), whole...)
			b[i] ^= 0x40
			if _, err := decodeRecord(b, sum); !errors.Is(err, errTorn) {
				t.Fatalf("kind %d with byte %d flipped: %v", o.kind, i, err)
			}
			if _, err := decodeRecord(whole[:i], sum); !errors.Is(err, errTorn) {
				t.Fatalf("kind %d cut at %d: %v", o.kind, i, err)
			}
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	sum := logSum("log")
	for _, o := range sampleOps() {
		b, _ := appendRecord(nil, o, sum, sum, 1, 0)
		f.Add(b[4:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		// The checksum is made right, so that the decoder behind it is what is fuzzed.
		b := append(make([]byte, 4), body...)
		if len(b) >= recordHeader {
			binary.LittleEndian.PutUint32(b[36:], uint32(len(b)-recordHeader))
		}
		binary.LittleEndian.PutUint32(b, crc32.Update(sum, castagnoli, b[4:]))
		got, err := decodeRecord(b, sum)
		if err != nil {
			return
		}
		again, _ := appendRecord(nil, &got.op, sum, got.prev, got.epoch, got.durable)
		if len(again) != len(b) {
			t.Fatalf("a record of %d bytes is written as %d", len(b), len(again))
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	b, err := encodeHeader(journalHeader{Identity{Cluster: "c", Node: "a", Store: "s", Partition: "default", Log: "l"}, "j"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHeader(b)
		if err != nil {
			return
		}
		if _, err := encodeHeader(h); err != nil && !strings.Contains(err.Error(), "too long") {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeFence(f *testing.F) {
	f.Add(make([]byte, fenceSize))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _, _ = decodeFence(b, 1) // must not panic
	})
}

func TestHeaderVersion(t *testing.T) {
	b, err := encodeHeader(journalHeader{Identity: Identity{Log: "l"}})
	if err != nil {
		t.Fatal(err)
	}
	b[len(journalMagic)] = 2
	if _, err := decodeHeader(b); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("a newer version is not told apart from damage: %v", err)
	}
}

// pieces builds runs from records written one after the other, split into files.
type pieces struct {
	sum   uint32
	epoch uint64
	prev  uint32
}

func (p *pieces) start(epoch uint64) { p.epoch, p.prev = epoch, p.sum }

func (p *pieces) run(t *testing.T, durable seq, seqs ...seq) run {
	t.Helper()
	var r run
	for _, s := range seqs {
		o := &op{kind: opTruncate, seq: s, index: uint64(s)}
		o.size = recordSize(o)
		b, crc := appendRecord(nil, o, p.sum, p.prev, p.epoch, durable)
		rec, err := decodeRecord(b, p.sum)
		if err != nil {
			t.Fatal(err)
		}
		p.prev = crc
		r.records = append(r.records, rec)
	}
	return r
}

func TestChain(t *testing.T) {
	sum := logSum("l")
	type built struct {
		runs   []run
		fenced fence
	}
	for name, tc := range map[string]struct {
		build func(p *pieces) built
		want  []seq
		err   error
	}{
		"nothing": {func(*pieces) built { return built{} }, nil, nil},
		"above the fence only": {func(p *pieces) built {
			p.start(1)
			return built{[]run{p.run(t, 0, 1, 2, 3)}, fence{1, 2}}
		}, []seq{3}, nil},
		"over several files, in any order": {func(p *pieces) built {
			p.start(1)
			a, b, c := p.run(t, 0, 1, 2), p.run(t, 2, 3), p.run(t, 3, 4, 5)
			return built{[]run{c, a, b}, fence{0, 0}}
		}, []seq{1, 2, 3, 4, 5}, nil},
		"a torn tail between two files: what is behind it was never durable": {func(p *pieces) built {
			p.start(1)
			a := p.run(t, 0, 1, 2, 3)
			b := p.run(t, 0, 4)
			a.records = a.records[:2]
			return built{[]run{a, b}, fence{0, 0}}
		}, []seq{1, 2}, nil},
		"a hole where something was durable": {func(p *pieces) built {
			p.start(1)
			a := p.run(t, 0, 1, 2, 3)
			b := p.run(t, 3, 4)
			a.records = a.records[:2]
			return built{[]run{a, b}, fence{0, 0}}
		}, nil, ErrDamaged},
		"the first file of a durable chain is gone": {func(p *pieces) built {
			p.start(1)
			_ = p.run(t, 0, 1)
			return built{[]run{p.run(t, 1, 2)}, fence{0, 0}}
		}, nil, ErrDamaged},
		"the same, wholly fenced": {func(p *pieces) built {
			p.start(1)
			_ = p.run(t, 0, 1)
			return built{[]run{p.run(t, 1, 2)}, fence{1, 2}}
		}, nil, nil},
		"the first file was used again by the same epoch": {func(p *pieces) built {
			p.start(1)
			_ = p.run(t, 0, 1, 2)
			b := p.run(t, 2, 3, 4)
			return built{[]run{p.run(t, 4, 5, 6), b}, fence{1, 3}}
		}, []seq{4, 5, 6}, nil},
		"the same, and nothing says that the rest was durable": {func(p *pieces) built {
			p.start(1)
			_ = p.run(t, 0, 1, 2, 3, 4)
			return built{[]run{p.run(t, 4, 5)}, fence{1, 4}}
		}, []seq{5}, nil},
		"a file in the middle was used again": {func(p *pieces) built {
			p.start(1)
			a := p.run(t, 0, 1, 2)
			_ = p.run(t, 2, 3, 4)
			return built{[]run{a, p.run(t, 4, 5, 6)}, fence{1, 4}}
		}, []seq{5, 6}, nil},
		"a hole above the fence, and what is behind it was durable": {func(p *pieces) built {
			p.start(1)
			_ = p.run(t, 0, 1, 2, 3, 4)
			return built{[]run{p.run(t, 5, 5, 6)}, fence{1, 3}}
		}, nil, ErrDamaged},
		"a hole above the fence, and what is behind it was not": {func(p *pieces) built {
			p.start(1)
			_ = p.run(t, 0, 1, 2, 3, 4)
			return built{[]run{p.run(t, 0, 5, 6)}, fence{1, 3}}
		}, nil, nil},
		"an older copy of the side": {func(p *pieces) built {
			p.start(1)
			old := p.run(t, 0, 1, 2)
			return built{[]run{old}, fence{3, 9}}
		}, nil, nil},
		"an older epoch whose numbers are above: not of this history": {func(p *pieces) built {
			p.start(1)
			old := p.run(t, 0, 10, 11)
			return built{[]run{old}, fence{2, 9}}
		}, nil, nil},
		"two epochs": {func(p *pieces) built {
			p.start(1)
			a := p.run(t, 0, 1, 2)
			p.start(2)
			return built{[]run{p.run(t, 0, 4, 5), a}, fence{1, 2}}
		}, []seq{4, 5}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := tc.build(&pieces{sum: sum})
			got, err := chain(b.runs, sum, b.fenced)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			var seqs []seq
			for _, r := range got {
				seqs = append(seqs, r.op.seq)
			}
			if diff := cmp.Diff(tc.want, seqs); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
