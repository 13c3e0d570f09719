// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import "strings"

// Read answers a query from the last entry that was applied. Safe for
// concurrent use; it takes no lock.
func (m *StateMachine) Read(q Query) Answer {
	return m.view.Load().read(q)
}

func (v *view) read(q Query) Answer {
	switch q.Kind {
	case QueryGet:
		return v.get(q.Key)
	case QueryList:
		return v.list(q.Key)
	case QueryKeys:
		return v.listKeys(q.Key, q.Separator)
	}
	return Answer{Index: v.lastChange()}
}

func (v *view) get(key string) Answer {
	it, ok := v.tree.Get([]byte(key))
	if !ok {
		return Answer{Index: v.lastChange()}
	}
	return Answer{Found: true, Entries: []Entry{it.entry(key)}, Index: it.modify}
}

func (v *view) list(prefix string) Answer {
	var a Answer
	last := uint64(0)
	v.tree.Root().WalkPrefix([]byte(prefix), func(k []byte, it *item) bool {
		a.Entries = append(a.Entries, it.entry(string(k)))
		last = max(last, it.modify)
		return false
	})
	a.Found = len(a.Entries) > 0
	a.Index = v.prefixIndex(prefix, last)
	return a
}

func (v *view) listKeys(prefix, separator string) Answer {
	var a Answer
	last, cut := uint64(0), ""
	v.tree.Root().WalkPrefix([]byte(prefix), func(k []byte, it *item) bool {
		last = max(last, it.modify)
		// Keys come in order, so those that are cut to one folder are neighbours
		// and the last one is all there is to compare with.
		if cut != "" && strings.HasPrefix(string(k), cut) {
			return false
		}
		key := string(k)
		if separator != "" {
			if i := strings.Index(key[len(prefix):], separator); i >= 0 {
				key = key[:len(prefix)+i+len(separator)]
				cut = key
			}
		}
		a.Keys = append(a.Keys, key)
		return false
	})
	a.Found = len(a.Keys) > 0
	a.Index = v.prefixIndex(prefix, last)
	return a
}

// prefixIndex is Consul's index of a list: the last change under the prefix,
// and where there was none that we know of, of any key. last is the highest
// ModifyIndex of the keys that are there.
func (v *view) prefixIndex(prefix string, last uint64) uint64 {
	if prefix == "" {
		return v.lastChange()
	}
	if last = max(last, v.stone.last(prefix)); last == 0 {
		return v.lastChange()
	}
	return last
}

// lastChange is never 0: with ?index=0 a client asks not to wait.
func (v *view) lastChange() uint64 { return max(v.changed, 1) }

func (it *item) entry(key string) Entry {
	e := Entry{Key: key, Flags: it.flags, LockIndex: it.lock, CreateIndex: it.create, ModifyIndex: it.modify}
	if len(it.value) > 0 {
		e.Value = it.value
	}
	return e
}
