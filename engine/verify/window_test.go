// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"testing"

	"pgregory.net/rapid"
)

// TestWindow: a window answers what a list of all entries answers, or nothing;
// and it answers for all of its last entries. Seen to fail with cut not taking
// the sum back, and with marks kept above the cut.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		var first uint64    // where the model's entries begin
		var model []uint64  // their sums
		var places []uint64 // marks, as the model has them
		end := func() uint64 { return first + uint64(len(model)) }
		begin := func(i uint64) { first, model, places = i, nil, []uint64{i} }
		// Longer than the ring, now and then.
		grow := func(n int) {
			for range n {
				w.reach(end())
				sum := end() * 0x9e3779b97f4a7c15
				w.add(sum)
				model = append(model, sum)
			}
		}
		w.reach(5)
		begin(5)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) { grow(rapid.IntRange(1, 50).Draw(t, "n")) },
			"add many": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "rarely") == 0 {
					grow(windowSize/2 + 3)
				}
			},
			"mark": func(t *rapid.T) {
				w.reach(end())
				w.mark()
				if places[len(places)-1] != end() {
					places = append(places, end())
				}
			},
			"cut": func(t *rapid.T) {
				if w.next == 0 {
					t.Skip("nothing is known")
				}
				back := min(rapid.Uint64Range(0, 60).Draw(t, "back"), end()-first)
				at := end() - back
				w.cut(at)
				model = model[:at-first]
				for len(places) > 0 && places[len(places)-1] >= at && back > 0 {
					places = places[:len(places)-1]
				}
				if len(places) == 0 {
					places = []uint64{at}
				}
			},
			"gap": func(t *rapid.T) {
				begin(end() + rapid.Uint64Range(1, 9).Draw(t, "gap"))
				w.reach(first)
			},
			"": func(t *rapid.T) {
				if w.next != end() {
					t.Fatalf("the next entry is %d, not %d", w.next, end())
				}
				if got, want := w.begin(), places[len(places)-1]; got != want {
					// Only marks that were evicted may be missing.
					if len(places) <= windowMarks {
						t.Fatalf("a range begins at %d, not %d", got, want)
					}
				}
				near := rapid.Uint64Range(0, 80).Draw(t, "near")
				a := end() - min(near, end()-first)
				b := end() - min(near/2, end()-first)
				var want uint64
				for i := a; i < b; i++ {
					want += model[i-first]
				}
				if got, ok := w.sum(a, b); !ok || got != want {
					t.Fatalf("sum of %d to %d of %d: %x, %v, not %x", a, b, end(), got, ok, want)
				}
				if w.before(end() + 1); first > 0 {
					if _, ok := w.before(first - 1); ok {
						t.Fatal("it knows what is before its beginning")
					}
				}
				last := places[len(places)-1]
				want = 0
				for i := last; i < end(); i++ {
					want += model[i-first]
				}
				if got, ok := w.sum(last, end()); ok && got != want || !ok && len(places) <= windowMarks {
					t.Fatalf("sum since the mark %d: %x, %v, not %x", last, got, ok, want)
				}
			},
		})
	})
}
