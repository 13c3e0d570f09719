// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"encoding/binary"
	"fmt"
)

// QueryKind is what a query asks for. The values cross the wire.
type QueryKind byte

const (
	// QueryGet asks for one key.
	QueryGet QueryKind = 1
	// QueryList asks for every entry under a prefix, in order of key.
	QueryList QueryKind = 2
	// QueryKeys asks for the keys under a prefix, each cut after the first
	// Separator beyond the prefix where one is given, and then once.
	QueryKeys QueryKind = 3
)

// Query is one read.
type Query struct {
	Kind      QueryKind
	Key       string // the key, or the prefix of QueryList and QueryKeys
	Separator string
}

// Entry is one key of an answer.
type Entry struct {
	Key         string
	Value       []byte
	Flags       uint64
	LockIndex   uint64
	CreateIndex uint64
	ModifyIndex uint64
}

// Answer is what a query found.
type Answer struct {
	// Found is whether there was any key.
	Found bool
	// Entries of QueryGet (one at most) and QueryList. Values are shared with
	// the state machine: never write to one.
	Entries []Entry
	// Keys of QueryKeys.
	Keys []string
	// Index is what Consul puts into X-Consul-Index: for one key its
	// ModifyIndex; for a prefix the last change under it, deletions included;
	// where there is nothing, the last change of any key; never 0.
	Index uint64
}

// AppendQuery appends the query's encoding:
//
//	1 kind │ str key │ str separator
func AppendQuery(dst []byte, q *Query) []byte {
	dst = append(dst, byte(q.Kind))
	dst = appendString(dst, q.Key)
	return appendString(dst, q.Separator)
}

// DecodeQuery decodes the first query of b and returns what follows it.
func DecodeQuery(b []byte) (Query, []byte, error) {
	r := reader{b: b}
	q := Query{Kind: QueryKind(r.byte()), Key: string(r.bytes()), Separator: string(r.bytes())}
	switch {
	case r.failed:
		return Query{}, nil, fmt.Errorf("%w: a query does not parse", ErrCorrupt)
	case q.Kind < QueryGet || q.Kind > QueryKeys:
		return Query{}, nil, fmt.Errorf("%w: unknown query %d", ErrVersion, q.Kind)
	}
	return q, r.b, nil
}

// AppendAnswer appends the answer's encoding:
//
//	1 found │ uv index │ uv entries │ uv keys │ entry … │ str key …
//
//	entry: str key │ str value │ uv flags │ uv lock │ uv create │ uv modify
func AppendAnswer(dst []byte, a *Answer) []byte {
	dst = appendBool(dst, a.Found)
	dst = binary.AppendUvarint(dst, a.Index)
	dst = binary.AppendUvarint(dst, uint64(len(a.Entries)))
	dst = binary.AppendUvarint(dst, uint64(len(a.Keys)))
	for i := range a.Entries {
		dst = appendEntry(dst, &a.Entries[i])
	}
	for _, k := range a.Keys {
		dst = appendString(dst, k)
	}
	return dst
}

// DecodeAnswer decodes the first answer of b and returns what follows it.
// Values alias b.
func DecodeAnswer(b []byte) (Answer, []byte, error) {
	r := reader{b: b}
	a := Answer{Found: r.bool(), Index: r.uvarint()}
	entries := r.count(1)
	keys := r.count(1)
	// An entry is at least six bytes long: what a claim can make us allocate
	// stays in proportion to the bytes that carry it.
	if entries > len(r.b)/6 {
		r.fail()
	}
	if !r.failed && entries > 0 {
		a.Entries = make([]Entry, 0, entries)
		for range entries {
			a.Entries = append(a.Entries, r.entry())
		}
	}
	if !r.failed && keys > 0 {
		a.Keys = make([]string, 0, keys)
		for range keys {
			a.Keys = append(a.Keys, string(r.bytes()))
		}
	}
	if r.failed {
		return Answer{}, nil, fmt.Errorf("%w: an answer does not parse", ErrCorrupt)
	}
	return a, r.b, nil
}

func appendEntry(dst []byte, e *Entry) []byte {
	dst = appendString(dst, e.Key)
	dst = appendString(dst, e.Value)
	dst = binary.AppendUvarint(dst, e.Flags)
	dst = binary.AppendUvarint(dst, e.LockIndex)
	dst = binary.AppendUvarint(dst, e.CreateIndex)
	return binary.AppendUvarint(dst, e.ModifyIndex)
}

func (r *reader) entry() Entry {
	e := Entry{Key: string(r.bytes())}
	if v := r.bytes(); len(v) > 0 {
		e.Value = v
	}
	e.Flags = r.uvarint()
	e.LockIndex = r.uvarint()
	e.CreateIndex = r.uvarint()
	e.ModifyIndex = r.uvarint()
	return e
}
