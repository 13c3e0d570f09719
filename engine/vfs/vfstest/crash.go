// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is what a power cut never tears, in bytes.
const sector = 512

// A Policy says what a power cut leaves of the changes that were not synced.
type Policy struct {
	name string
	rnd  func() *rand.Rand // nil: keep decides
	keep bool
}

// String names the policy, for messages.
func (p Policy) String() string { return p.name }

// LoseAll leaves what was synced and nothing else.
func LoseAll() Policy { return Policy{name: "lose all"} }

// KeepAll leaves everything.
func KeepAll() Policy { return Policy{name: "keep all", keep: true} }

// Tear draws what stays. Of each file: nothing, everything, the changes up to
// one of them, or of each sector those up to one of its own; of each directory
// a part of its changes in which each name's own are in order. Equal seeds leave
// the same of equal disks.
func Tear(seed uint64) Policy {
	return Policy{name: fmt.Sprintf("tear %d", seed), rnd: func() *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }}
}

// CrashClone returns what a restart after a power cut at this moment finds. The
// original goes on, and shares nothing with its clone, in which nobody holds a
// lock or has a file open.
func (m *Mem) CrashClone(p Policy) *Mem {
	var rnd *rand.Rand
	if p.rnd != nil {
		rnd = p.rnd()
	}
	return m.clone(func(d *dir) map[string]*inode {
		switch {
		case rnd != nil:
			return d.tear(rnd)
		case p.keep:
			return maps.Clone(d.now)
		}
		return maps.Clone(d.durable)
	}, func(n *inode) *inode {
		var left []byte
		switch {
		case rnd != nil:
			left = n.tear(rnd)
		case p.keep:
			left = n.keep(len(n.changes))
		default:
			left = bytes.Clone(n.durable)
		}
		return &inode{now: left, durable: bytes.Clone(left)}
	})
}

// KillClone returns what a restart finds when the process dies now and the
// machine does not: everything as it was written, and as far from durable as
// it is. Nobody holds a lock in it: where the dead process is to hold one still,
// take it there.
func (m *Mem) KillClone() *Mem {
	nodes := map[*inode]*inode{}
	copyNode := func(n *inode) *inode {
		if nodes[n] == nil {
			nodes[n] = &inode{now: bytes.Clone(n.now), durable: bytes.Clone(n.durable), changes: slices.Clone(n.changes)}
		}
		return nodes[n]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	to := NewMem()
	for path, d := range m.dirs {
		c := &dir{now: map[string]*inode{}, durable: map[string]*inode{}}
		for name, n := range d.now {
			c.now[name] = copyNode(n)
		}
		for name, n := range d.durable {
			c.durable[name] = copyNode(n)
		}
		for _, e := range d.changes {
			if e.node != nil {
				e.node = copyNode(e.node)
			}
			c.changes = append(c.changes, e)
		}
		to.dirs[path] = c
	}
	return to
}

// clone copies the disk in an order that depends on nothing but names.
func (m *Mem) clone(entries func(*dir) map[string]*inode, content func(*inode) *inode) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := NewMem()
	for _, path := range slices.Sorted(maps.Keys(m.dirs)) {
		left := entries(m.dirs[path])
		for _, name := range slices.Sorted(maps.Keys(left)) {
			left[name] = content(left[name]) // a file has one name
		}
		to.dirs[path] = &dir{now: left, durable: maps.Clone(left)}
	}
	return to
}

// tear draws which of the directory's changes stay: changes that are connected
// by a name stay in order, others do not wait for one another.
func (d *dir) tear(rnd *rand.Rand) map[string]*inode {
	group := map[string]string{} // union-find over names
	var find func(string) string
	find = func(name string) string {
		if up, ok := group[name]; ok && up != name {
			group[name] = find(up)
			return group[name]
		}
		return name
	}
	for _, c := range d.changes {
		if c.drop != "" && c.put != "" {
			group[find(c.drop)] = find(c.put)
		}
	}
	var groups []string
	count := map[string]int{}
	for _, c := range d.changes {
		g := find(c.name())
		if count[g] == 0 {
			groups = append(groups, g)
		}
		count[g]++
	}
	keep := map[string]int{}
	for _, g := range groups {
		keep[g] = rnd.IntN(count[g] + 1)
	}
	left := maps.Clone(d.durable)
	for _, c := range d.changes {
		if g := find(c.name()); keep[g] > 0 {
			keep[g]--
			c.apply(left)
		}
	}
	return left
}

func (c entryChange) name() string {
	if c.put != "" {
		return c.put
	}
	return c.drop
}

// keep returns the content with the first n changes.
func (n *inode) keep(changes int) []byte {
	left := bytes.Clone(n.durable)
	for _, c := range n.changes[:changes] {
		left = c.apply(left)
	}
	return left
}

func (n *inode) tear(rnd *rand.Rand) []byte {
	all := len(n.changes)
	switch rnd.IntN(4) {
	case 0:
		return n.keep(0)
	case 1:
		return n.keep(all)
	case 2:
		return n.keep(rnd.IntN(all + 1))
	}
	// Length and sectors each go as far as one of the changes.
	length := len(n.keep(rnd.IntN(all + 1)))
	left := bytes.Clone(n.durable)
	last := map[int64]int{} // sector → how many changes it has seen
	for i, c := range n.changes {
		left = grow(left, c.end())
		for at := c.off; at < c.end(); {
			s := at / sector
			end := min((s+1)*sector, c.end())
			if _, drawn := last[s]; !drawn {
				last[s] = rnd.IntN(all + 1)
			}
			if i < last[s] {
				copy(left[at:end], c.data[at-c.off:end-c.off])
			}
			at = end
		}
	}
	return left[:min(length, len(left))]
}
