// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// golden is a checkpoint as it is in logs that exist: never change it.
const golden = "484643484b505400" + "01" + "01" + "000000000000" + // HFCHKPT\0, version, kind, zeros
	"128d040000000000" + // 298258
	"ad75050000000000" + // 357805
	"8c32f276393db85f" + // 5fb83d3976f2328c
	"56598fc9"

func TestCheckpointGolden(t *testing.T) {
	want := Checkpoint{Start: 298258, End: 357805, Sum: 0x5fb83d3976f2328c}
	if got := hex.EncodeToString(encode(kindSum, want)); got != golden {
		t.Errorf("encoded:\n%s, not\n%s", got, golden)
	}
	b, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(&raft.Log{Index: want.End, Extensions: b})
	if err != nil || got != want {
		t.Errorf("decoded: %+v, %v", got, err)
	}
}

// TestEntrySumGolden: leaders and followers of different versions must agree.
func TestEntrySumGolden(t *testing.T) {
	for _, tc := range []struct {
		log  raft.Log
		want uint64
	}{
		{raft.Log{Index: 7, Term: 3, Data: []byte("data"), Extensions: []byte("ext")}, 0xa40be120e0bfefcf},
		{raft.Log{Index: 7, Term: 3, Data: []byte("dat"), Extensions: []byte("aext")}, 0x43993505321d941d},
		{raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("a, b")}, 0xcae8a755ed53aaac},
		{raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("b, a")}, 0xcae8a755ed53aaac},
	} {
		if got := entrySum(&tc.log); got != tc.want {
			t.Errorf("%+v: %#x, not %#x", tc.log, got, tc.want)
		}
	}
}

func TestCheckpointDamaged(t *testing.T) {
	good := encode(kindSum, Checkpoint{Start: 3, End: 9, Sum: 5})
	edit := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	sealed := func(kind byte, c Checkpoint) []byte { return encode(kind, c) }
	for _, tc := range []struct {
		name string
		ext  []byte
		is   bool // still known as a checkpoint
		want error
	}{
		{"empty", nil, false, ErrDamaged},
		{"magic", edit(3, 'x'), false, ErrDamaged},
		{"magic alone", good[:8], true, ErrDamaged},
		{"version", edit(8, 2), true, ErrVersion},
		{"cut off", good[:43], true, ErrDamaged},
		{"too long", append(bytes.Clone(good), 0), true, ErrDamaged},
		{"start", edit(16, 4), true, ErrDamaged},
		{"sum", edit(33, 1), true, ErrDamaged},
		{"crc", edit(43, good[43]^1), true, ErrDamaged},
		{"unknown kind", sealed(3, Checkpoint{Start: 3, End: 9}), true, ErrDamaged},
		{"never filled in", sealed(kindRequest, Checkpoint{Sum: 9}), true, ErrDamaged},
		{"another entry's", sealed(kindSum, Checkpoint{Start: 3, End: 8}), true, ErrDamaged},
		{"backwards", sealed(kindSum, Checkpoint{Start: 10, End: 9}), true, ErrDamaged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &raft.Log{Index: 9, Extensions: tc.ext}
			if got := IsCheckpoint(l); got != tc.is {
				t.Errorf("IsCheckpoint: %v", got)
			}
			if _, err := Decode(l); !errors.Is(err, tc.want) {
				t.Errorf("Decode: %v, not %v", err, tc.want)
			}
		})
	}
	if IsCheckpoint(&raft.Log{Type: raft.LogNoop, Extensions: good}) {
		t.Error("a noop is no checkpoint")
	}
}

// FuzzCheckpoint: whatever the bytes, an answer; and what decodes is what would
// be encoded.
func FuzzCheckpoint(f *testing.F) {
	f.Add(encode(kindSum, Checkpoint{Start: 3, End: 9, Sum: 5}), uint64(9), false)
	f.Add(encode(kindRequest, Checkpoint{Sum: 5}), uint64(9), true)
	f.Add([]byte(checkpointMagic), uint64(0), false)
	f.Fuzz(func(t *testing.T, ext []byte, index uint64, reseal bool) {
		if reseal && len(ext) == checkpointSize { // let the fuzzer past the checksum
			ext = le32(bytes.Clone(ext[:checkpointSize-4]))
		}
		l := &raft.Log{Index: index, Extensions: ext}
		c, err := Decode(l)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Fatalf("an error of no class: %v", err)
			}
			return
		}
		if c.Start > c.End || c.End != index || !IsCheckpoint(l) {
			t.Fatalf("%+v at entry %d", c, index)
		}
		again, err := Decode(&raft.Log{Index: index, Extensions: encode(kindSum, c)})
		if err != nil || cmp.Diff(c, again) != "" {
			t.Fatalf("again: %+v, %v", again, err)
		}
	})
}

func le32(b []byte) []byte {
	sum := crc32.Checksum(b, castagnoli)
	return append(b, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
}
