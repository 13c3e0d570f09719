// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// disk is a log store in memory that keeps copies, as a disk does, and on which
// a bit can be flipped. A monotonic one refuses gaps.
type disk struct {
	monotonic bool

	mu   sync.Mutex
	logs map[uint64]raft.Log
	// first and last are 0 while there is nothing.
	first, last uint64
	// fail, hold and spoil stand for what may happen to a call: an append that
	// fails, a read that waits until it is closed, a read that fails.
	fail  error
	hold  chan struct{}
	spoil func(index uint64) error
}

func newDisk(monotonic bool) *disk { return &disk{monotonic: monotonic, logs: map[uint64]raft.Log{}} }

func (d *disk) IsMonotonic() bool { return d.monotonic }

func (d *disk) FirstIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first, nil
}

func (d *disk) LastIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, nil
}

func (d *disk) GetLog(index uint64, log *raft.Log) error {
	d.mu.Lock()
	hold := d.hold
	d.mu.Unlock()
	if hold != nil {
		<-hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spoil != nil {
		if err := d.spoil(index); err != nil {
			return err
		}
	}
	e, ok := d.logs[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*log = clone(e)
	return nil
}

func (d *disk) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

func (d *disk) StoreLogs(logs []*raft.Log) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	for _, l := range logs {
		if d.monotonic && d.last != 0 && l.Index != d.last+1 {
			return fmt.Errorf("entry %d after %d", l.Index, d.last)
		}
		d.logs[l.Index] = clone(*l)
		if d.first == 0 || l.Index < d.first {
			d.first = l.Index
		}
		d.last = max(d.last, l.Index)
	}
	return nil
}

func (d *disk) DeleteRange(from, to uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := from; i <= to; i++ {
		delete(d.logs, i)
	}
	d.first, d.last = 0, 0
	for i := range d.logs {
		if d.first == 0 || i < d.first {
			d.first = i
		}
		d.last = max(d.last, i)
	}
	return nil
}

// block makes reads wait until the function that it returns is called.
func (d *disk) block() (release func()) {
	hold := make(chan struct{}) // closed by release
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hold = hold
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hold = nil
		close(hold)
	}
}

// flip flips one bit of an entry's data.
func (d *disk) flip(index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.logs[index]
	e.Data[len(e.Data)/2] ^= 4
}

func clone(l raft.Log) raft.Log {
	l.Data, l.Extensions = bytes.Clone(l.Data), bytes.Clone(l.Extensions)
	return l
}

// entries makes entries first ≤ i < end of a term.
func entries(first, end, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i < end; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "entry %d of term %d", i, term)})
	}
	return logs
}
