// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
)

// resource is what all kinds of resources have.
type resource interface {
	comparable
	proto.Message
	GetId() uint64
	GetName() string
	GetCreationTimestamp() string
}

// table holds the resources of one kind, by scope and name.
type table[T resource] struct {
	collection string
	rows       map[string]T
}

func newTable[T resource](collection string) table[T] {
	return table[T]{collection, map[string]T{}}
}

// find looks a resource up by its name, or by its number as the API allows.
func (t table[T]) find(r ref) (T, bool) {
	if row, ok := t.rows[r.scope+"/"+r.name]; ok {
		return row, true
	}
	if id, err := strconv.ParseUint(r.name, 10, 64); err == nil {
		for key, row := range t.rows {
			if row.GetId() == id && strings.HasPrefix(key, r.scope+"/") {
				return row, true
			}
		}
	}
	var none T
	return none, false
}

// get is find, with the error that a request for the resource is answered with.
func (t table[T]) get(r ref) (T, error) {
	row, ok := t.find(r)
	if !ok {
		return row, notFound(r.path())
	}
	return row, nil
}

func (t table[T]) put(scope string, row T)   { t.rows[scope+"/"+row.GetName()] = row }
func (t table[T]) remove(scope, name string) { delete(t.rows, scope+"/"+name) }

// in lists the resources of a scope by name; "" is every scope.
func (t table[T]) in(scope string) []T {
	var rows []T
	for _, key := range slices.Sorted(maps.Keys(t.rows)) {
		if scope == "" || strings.HasPrefix(key, scope+"/") {
			rows = append(rows, t.rows[key])
		}
	}
	return rows
}
