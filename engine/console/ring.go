// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"math"
	"time"
)

// ring keeps the newest rows of samples, in columns. Not safe for concurrent use.
type ring struct {
	step  time.Duration // between two rows
	times []int64       // Unix ms, ascending from the oldest row
	cols  [][]float64   // NaN: no data
	head  int           // the oldest row
	n     int
}

func newRing(step time.Duration, rows, columns int) *ring {
	r := &ring{step: step, times: make([]int64, rows), cols: make([][]float64, columns)}
	for i := range r.cols {
		r.cols[i] = make([]float64, rows)
	}
	return r
}

// push adds a row. Where the process did not run for a while, a row without
// data comes before it, so that no line is drawn across the gap.
func (r *ring) push(at int64, row []float64) {
	if r.n > 0 {
		if last := r.times[r.index(r.n-1)]; at-last > 5*r.step.Milliseconds()/2 {
			r.put(last+r.step.Milliseconds(), nil)
		}
	}
	r.put(at, row)
}

func (r *ring) put(at int64, row []float64) {
	i := r.index(r.n)
	if r.n < len(r.times) {
		r.n++
	} else {
		r.head = (r.head + 1) % len(r.times)
	}
	r.times[i] = at
	for c := range r.cols {
		r.cols[c][i] = math.NaN()
		if row != nil {
			r.cols[c][i] = row[c]
		}
	}
}

func (r *ring) index(row int) int { return (r.head + row) % len(r.times) }

// after copies the rows that are newer than a time.
func (r *ring) after(at int64) (times []int64, cols [][]float64) {
	first := r.n
	for first > 0 && r.times[r.index(first-1)] > at {
		first--
	}
	times, cols = make([]int64, 0, r.n-first), make([][]float64, len(r.cols))
	for c := range cols {
		cols[c] = make([]float64, 0, r.n-first)
	}
	for row := first; row < r.n; row++ {
		i := r.index(row)
		times = append(times, r.times[i])
		for c := range cols {
			cols[c] = append(cols[c], r.cols[c][i])
		}
	}
	return times, cols
}

// last is the newest value of a column, NaN where there is none.
func (r *ring) last(column int) float64 {
	if r.n == 0 {
		return math.NaN()
	}
	return r.cols[column][r.index(r.n-1)]
}
