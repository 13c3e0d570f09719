// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"bufio"
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

func TestFrame(t *testing.T) {
	cmd := kv.AppendCommand(nil, &kv.Command{ID: kv.ID{Origin: 7, Seq: 9, Floor: 3}, Op: kv.OpPut, Key: "k", Value: make([]byte, 300)})
	query := kv.AppendQuery(nil, &kv.Query{Kind: kv.QueryGet, Key: "k"})
	f := beginFrame(nil)
	f = appendRequest(f, 1, callApply, cmd)
	f = appendRequest(f, 1<<40, callConsistentRead, query)
	sealFrame(f)
	rest, err := readFrame(bufio.NewReader(bytes.NewReader(f)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []request{{1, callApply, cmd}, {1 << 40, callConsistentRead, query}} {
		var got request
		if got, rest, err = nextRequest(rest); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
			t.Error(diff)
		}
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes are left", len(rest))
	}
	f[len(f)-1] ^= 1
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(f)), nil); !errors.Is(err, errFrame) {
		t.Errorf("a flipped bit: %v", err)
	}
}

func TestReply(t *testing.T) {
	for _, tc := range []struct {
		kind callKind
		want reply
	}{
		{callApply, reply{out: outcomeOK, result: kv.Result{Index: 12, OK: true}}},
		{callApply, reply{out: outcomeOK, result: kv.Result{Index: 12, Code: kv.CodeBadValue, Message: strings.Repeat("long", 100)}}},
		{callRead, reply{out: outcomeOK, answer: kv.Answer{Found: true, Index: 3, Entries: []kv.Entry{{Key: "k", Value: []byte("v"), ModifyIndex: 3}}}}},
		{callRead, reply{out: outcomeNotLeader}},
		{callApply, reply{out: outcomeRefused, text: "why"}},
	} {
		id, out, body, rest, err := nextReply(appendReply(nil, 99, tc.kind, &tc.want))
		if err != nil || id != 99 || len(rest) != 0 {
			t.Fatalf("%+v: id %d, rest %d, %v", tc.want, id, len(rest), err)
		}
		got, err := decodeReply(tc.kind, out, body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(reply{})); diff != "" {
			t.Error(diff)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendRequest(nil, 1, callRead, kv.AppendQuery(nil, &kv.Query{Kind: kv.QueryGet, Key: "k"})))
	f.Add(appendReply(nil, 1, callApply, &reply{out: outcomeOK, result: kv.Result{Index: 1, OK: true}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		for rest := data; len(rest) > 0; {
			req, next, err := nextRequest(rest)
			if err != nil {
				break
			}
			if len(next) >= len(rest) || len(req.body) > len(rest) {
				t.Fatal("a request took nothing")
			}
			rest = next
		}
		for rest := data; len(rest) > 0; {
			_, out, body, next, err := nextReply(rest)
			if err != nil {
				break
			}
			for _, kind := range []callKind{callApply, callRead} {
				_, _ = decodeReply(kind, out, body) // must not panic
			}
			rest = next
		}
		_, _ = readFrame(bufio.NewReader(bytes.NewReader(data)), nil)
		_, _ = readPreamble(bytes.NewReader(data))
	})
}

func TestPreamble(t *testing.T) {
	want := preamble{kind: connForward, clusterID: "c", partition: "p2", from: "a", to: ""}
	b, err := want.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readPreamble(bytes.NewReader(append(b, "raft's"...)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(preamble{})); diff != "" {
		t.Error(diff)
	}
	for at, what := range map[int]string{0: "magic", 4: "version"} {
		bad := bytes.Clone(b)
		bad[at]++
		if _, err := readPreamble(bytes.NewReader(bad)); !errors.Is(err, errHandshake) {
			t.Errorf("another %s: %v", what, err)
		}
	}
}

// TestWindow compares the floor with a plain set of what is under way.
func TestWindow(t *testing.T) {
	w := newWindow()
	rng := rand.New(rand.NewPCG(1, 2))
	underWay := []uint64{}
	for range 200_000 {
		if len(underWay) > 0 && (rng.IntN(2) == 0 || len(underWay) > 500) {
			i := rng.IntN(len(underWay))
			w.end(underWay[i])
			underWay[i] = underWay[len(underWay)-1]
			underWay = underWay[:len(underWay)-1]
			continue
		}
		seq, floor, ok := w.begin()
		if !ok {
			if len(underWay) == 0 {
				t.Fatal("full, and nothing is under way")
			}
			w.end(underWay[0])
			underWay = underWay[1:]
			continue
		}
		low := seq
		for _, s := range underWay {
			low = min(low, s)
		}
		if floor != low {
			t.Fatalf("floor %d with %d as the lowest under way", floor, low)
		}
		underWay = append(underWay, seq)
	}
}

func TestWindowIsBounded(t *testing.T) {
	w := newWindow()
	for range maxOutstanding {
		if _, _, ok := w.begin(); !ok {
			t.Fatal("full too early")
		}
	}
	if _, _, ok := w.begin(); ok {
		t.Fatal("never full")
	}
	w.end(2) // not the oldest: the window cannot move
	if _, _, ok := w.begin(); ok {
		t.Fatal("the floor passed a write that is under way")
	}
	w.end(1)
	if seq, floor, ok := w.begin(); !ok || floor != 3 || seq != maxOutstanding+1 {
		t.Fatal(seq, floor, ok)
	}
}

func TestLease(t *testing.T) {
	now := time.Now()
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	l := newLease("a")
	if !l.since(1, now).IsZero() {
		t.Error("a lease without voters")
	}
	l.setVoters([]raft.ServerID{"a", "b", "c"})
	l.acked("b", 3, ago(40), 10)
	l.acked("c", 3, ago(90), 10)
	l.acked("b", 3, ago(60), 9) // an older answer that comes late
	l.acked("x", 3, now, 10)    // not a voter
	if got := l.since(3, now); !got.Equal(ago(40)) {
		t.Errorf("the majority is from %v ago", now.Sub(got))
	}
	if !l.since(4, now).IsZero() {
		t.Error("acknowledgements of another term count")
	}
	l.acked("c", 4, ago(10), 11)
	if got := l.since(4, now); !got.Equal(ago(10)) {
		t.Errorf("term 4: %v ago", now.Sub(got))
	}
	l.acked("b", 3, now, 11) // of a term that is over
	l.setVoters([]raft.ServerID{"a", "b", "c", "d", "e"})
	if !l.since(4, now).IsZero() {
		t.Error("two of five are a majority")
	}
}
