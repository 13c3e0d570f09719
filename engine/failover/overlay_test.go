// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// TestOverlayModel runs an overlay over a primary that lags behind, beside a
// plain map: whatever the lag, callers see the log that they made.
func TestOverlayModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var o overlay
		want := map[uint64]string{} // the log as it should look
		primary := map[uint64]string{}
		type pending struct {
			by seq
			do func()
		}
		var queue []pending
		var next seq
		var first, last uint64

		content := func(l *raft.Log) string { return string(l.Data) }
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				from := last + 1
				if last == 0 {
					from = rapid.Uint64Range(1, 5).Draw(rt, "start")
				} else {
					from -= rapid.Uint64Range(0, last-first+1).Draw(rt, "back")
				}
				n := rapid.Uint64Range(1, 3).Draw(rt, "n")
				next++
				var logs []*raft.Log
				for i := range n {
					logs = append(logs, entry(from+i, uint64(next), string(rune('a'+next%26))))
				}
				if err := o.append(next, logs); err != nil {
					rt.Fatal(err)
				}
				for i := range want {
					if i >= from {
						delete(want, i)
					}
				}
				if len(want) == 0 {
					first = from
				}
				for _, l := range logs {
					want[l.Index] = content(l)
				}
				last = from + n - 1
				queue = append(queue, pending{next, func() {
					for i := range primary {
						if i >= from {
							delete(primary, i)
						}
					}
					for _, l := range logs {
						primary[l.Index] = content(l)
					}
				}})
			},
			"truncate the suffix": func(rt *rapid.T) {
				if last == 0 {
					rt.Skip()
				}
				at := rapid.Uint64Range(first, last).Draw(rt, "at")
				next++
				o.truncate(at)
				for i := range want {
					if i >= at {
						delete(want, i)
					}
				}
				if last = at - 1; last < first {
					first, last = 0, 0
				}
				queue = append(queue, pending{next, func() {
					for i := range primary {
						if i >= at {
							delete(primary, i)
						}
					}
				}})
			},
			"truncate the prefix": func(rt *rapid.T) {
				if last == 0 {
					rt.Skip()
				}
				to := rapid.Uint64Range(first, last).Draw(rt, "to")
				o.truncatePrefix(to)
				for i := range want {
					if i < to {
						delete(want, i)
					}
				}
				first = to
			},
			"the primary applies": func(rt *rapid.T) {
				if len(queue) == 0 {
					rt.Skip()
				}
				n := rapid.IntRange(1, len(queue)).Draw(rt, "n")
				for _, p := range queue[:n] {
					p.do()
				}
				o.applied(queue[n-1].by)
				queue = queue[n:]
			},
			"": func(rt *rapid.T) {
				if o.first != first || o.last != last {
					rt.Fatalf("bounds %d to %d, want %d to %d", o.first, o.last, first, last)
				}
				bytes := 0
				for _, e := range o.mem {
					bytes += entryBytes(e.log)
				}
				if bytes != o.bytes || !o.empty() && o.base+uint64(len(o.mem)) != o.last+1 {
					rt.Fatalf("base %d, %d in memory (%d bytes, counted %d), last %d", o.base, len(o.mem), bytes, o.bytes, o.last)
				}
				for i := uint64(0); i <= last+2; i++ {
					l, inPrimary, err := o.get(i)
					text, ok := want[i]
					switch {
					case !ok && !errors.Is(err, raft.ErrLogNotFound):
						rt.Fatalf("entry %d: %v, want not found", i, err)
					case ok && err != nil:
						rt.Fatalf("entry %d: %v", i, err)
					case ok && inPrimary && primary[i] != text:
						rt.Fatalf("entry %d: the primary has %q, want %q", i, primary[i], text)
					case ok && !inPrimary && content(l) != text:
						rt.Fatalf("entry %d: memory has %q, want %q", i, content(l), text)
					}
				}
			},
		})
	})
}
