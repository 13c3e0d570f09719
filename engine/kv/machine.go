// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"errors"
	"fmt"
	"sync/atomic"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// item is what the tree keeps of one key. Immutable once its batch is
// published; value shares an allocation with the key in the tree.
type item struct {
	value                []byte
	flags                uint64
	lock, create, modify uint64
}

// view is the state after some log entry. Immutable: readers hold one for as
// long as they like while later entries are applied to others.
type view struct {
	tree  *iradix.Tree[*item]
	stone graveyard
	// index is the partition's index: the number of commands applied.
	index uint64
	// changed is the index of the last change of any key.
	changed  uint64
	keys     int64
	settings Settings
}

// StateMachine holds one partition. Apply, Snapshot and Restore are called by
// one goroutine at a time, as raft does; everything else by any goroutine at
// any time, and never waits.
type StateMachine struct {
	view  atomic.Pointer[view]
	fatal atomic.Pointer[error] // sticky: the first entry that failed

	// dedup belongs to the goroutine that applies.
	dedup dedup
}

// New returns an empty state machine.
func New() *StateMachine {
	m := &StateMachine{dedup: newDedup()}
	m.view.Store(&view{tree: iradix.New[*item](), stone: newGraveyard()})
	return m
}

// Index is the partition's index: one step per command ever applied.
func (m *StateMachine) Index() uint64 { return m.view.Load().index }

// Keys is the number of keys.
func (m *StateMachine) Keys() int64 { return m.view.Load().keys }

// Settings are the cluster settings that somebody set.
func (m *StateMachine) Settings() Settings { return m.view.Load().settings }

// Err is why the machine stopped, nil while it is well.
func (m *StateMachine) Err() error {
	if err := m.fatal.Load(); err != nil {
		return *err
	}
	return nil
}

// Apply applies one log entry, made by AppendBatch, and returns one result
// per command. The entry is not kept.
//
// An entry that does not decode stops the machine for good: nothing of the
// entry is applied, and this and every later call returns an error that wraps
// ErrStopped. Every replica stops at the same entry; to skip it on one and
// not on another would be to diverge in silence.
func (m *StateMachine) Apply(entry []byte) ([]Result, error) {
	if err := m.Err(); err != nil {
		return nil, err
	}
	results, err := m.apply(entry)
	if err != nil {
		err = fmt.Errorf("%w after index %d: %w", ErrStopped, m.Index(), err)
		m.fatal.Store(&err)
		return nil, err
	}
	return results, nil
}

func (m *StateMachine) apply(entry []byte) ([]Result, error) {
	b, err := batchBody(entry)
	if err != nil {
		return nil, err
	}
	// Two passes: the first proves that all of the entry decodes, so that the
	// second cannot stop half-way with the dedup table ahead of the keys.
	var f frame
	n := 0
	for rest := b; len(rest) > 0; n++ {
		if rest, err = f.decode(rest); err != nil {
			return nil, fmt.Errorf("command %d of the entry: %w", n, err)
		}
	}
	results := make([]Result, 0, n)
	t := begin(m.view.Load())
	for len(b) > 0 {
		if b, err = f.decode(b); err != nil {
			return nil, err
		}
		results = append(results, m.once(t, &f))
	}
	m.view.Store(t.commit())
	return results, nil
}

// once applies a command that was not applied before and remembers its result.
func (m *StateMachine) once(t *txn, f *frame) Result {
	var o *origin
	if f.id.Origin != 0 {
		o = m.dedup.origin(f.id)
		if res, seen := o.lookup(f.id.Seq, t.index); seen {
			return res
		}
	}
	res := t.apply(f)
	if o != nil {
		o.remember(f.id.Seq, res)
	}
	m.dedup.expire(t.index)
	return res
}

// txn applies commands to a private copy of a view.
type txn struct {
	view // tree is the one that the transaction started from
	tree *iradix.Txn[*item]
}

func begin(v *view) *txn {
	return &txn{view: *v, tree: v.tree.Txn()}
}

func (t *txn) commit() *view {
	v := t.view
	v.tree = t.tree.CommitOnly()
	v.stone.commit()
	return &v
}

// apply is the meaning of every operation.
func (t *txn) apply(f *frame) Result {
	t.index++
	res := Result{Index: t.index, OK: true}
	switch f.op {
	case OpPut:
		t.put(f)
	case OpCAS:
		old, exists := t.tree.Get(f.key)
		if res.OK = exists == (f.index != 0) && (!exists || old.modify == f.index); res.OK {
			t.put(f)
		}
	case OpDelete:
		t.delete(f.key)
	case OpDeleteCAS:
		old, exists := t.tree.Get(f.key)
		if res.OK = !exists || old.modify == f.index; res.OK && exists {
			t.delete(f.key)
		}
	case OpDeleteTree:
		t.deleteTree(f.key)
	case OpSettings:
		next, err := t.settings.change(f.settings, t.index)
		if err != nil {
			res.OK, res.Message = false, err.Error()
			res.Code = CodeBadValue
			if errors.Is(err, ErrUnknownSetting) {
				res.Code = CodeUnknownSetting
			}
			break
		}
		t.settings = next
	case OpBarrier:
	}
	return res
}

func (t *txn) put(f *frame) {
	// Key and value are copied out of the entry, which else would stay in
	// memory whole for as long as one of its values does.
	buf := make([]byte, len(f.key)+len(f.value))
	n := copy(buf, f.key)
	copy(buf[n:], f.value)
	it := &item{value: buf[n:], flags: f.flags, create: t.index, modify: t.index}
	if old, existed := t.tree.Insert(buf[:n:n], it); existed {
		it.create, it.lock = old.create, old.lock
	} else {
		t.keys++
	}
	t.changed = t.index
}

func (t *txn) delete(key []byte) {
	if _, existed := t.tree.Delete(key); !existed {
		return
	}
	t.keys--
	t.changed = t.index
	t.stone.insert(string(key), t.index)
}

func (t *txn) deleteTree(prefix []byte) {
	// The transaction's own count of what DeletePrefix removed leaves out
	// what the same transaction inserted; so the keys are counted first.
	n := int64(0)
	t.tree.Root().WalkPrefix(prefix, func([]byte, *item) bool { n++; return false })
	if n == 0 {
		return
	}
	t.tree.DeletePrefix(prefix)
	t.keys -= n
	t.changed = t.index
	if len(prefix) > 0 {
		t.stone.insert(string(prefix), t.index)
	}
}
