// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// ParseStore reads CockroachDB's store flag: path=/data/1,attrs=ssd:fast. A
// value without = is a path.
func ParseStore(value string) (Store, error) {
	fail := func(why, next string) error {
		return &agentapi.Error{What: "the store is refused", Why: fmt.Sprintf("--store=%s: %s", value, why), Next: next, Field: "store"}
	}
	var s Store
	seen := map[string]bool{}
	for part := range strings.SplitSeq(value, ",") {
		key, v, ok := strings.Cut(part, "=")
		if !ok {
			key, v = "path", part
		}
		if seen[key] {
			return Store{}, fail(key+" is given twice", "Give one store per --store.")
		}
		seen[key] = true
		if v == "" {
			return Store{}, fail(key+" is empty", "Write --store=path=/data/1,attrs=ssd.")
		}
		switch key {
		case "path":
			s.Path = filepath.Clean(v)
		case "attrs":
			for a := range strings.SplitSeq(v, ":") {
				if a == "" {
					return Store{}, fail("an attribute is empty", "Separate attributes with one colon: attrs=ssd:fast.")
				}
				s.Attrs = append(s.Attrs, a)
			}
		case "size", "type", "ballast-size", "provisioned-rate":
			return Store{}, fail(key+" is CockroachDB's and not built here", "Leave it out: a store takes what its disk gives.")
		default:
			return Store{}, fail(key+" is not known", "Use path and attrs.")
		}
	}
	if s.Path == "" {
		return Store{}, fail("it has no path", "Write --store=path=/data/1,attrs=ssd.")
	}
	return s, nil
}

// failoverGrammar is what wal_failover may say.
const failoverGrammar = "among-stores, path=P or disabled, and behind it ,prev_path=Q for each directory that logs failed over to before"

// ParseFailover reads wal_failover: among-stores | path=P | disabled, each with
// any number of ,prev_path=Q. The side disk is nil unless a path was given.
func ParseFailover(value string) (agentapi.WALFailover, *agentapi.SideDisk, error) {
	var f agentapi.WALFailover
	var side *agentapi.SideDisk
	if value == "" {
		return f, nil, nil
	}
	fail := func(why string) (agentapi.WALFailover, *agentapi.SideDisk, error) {
		return agentapi.WALFailover{}, nil, &agentapi.Error{
			What: "the failover mode is refused", Why: fmt.Sprintf("wal_failover = %q: %s", value, why),
			Next: "Use " + failoverGrammar + ".", Field: "wal_failover",
		}
	}
	words := strings.Split(value, ",")
	switch key, path, _ := strings.Cut(words[0], "="); {
	case key == "path" && path != "":
		f.Mode, side = agentapi.SideDiskMode, &agentapi.SideDisk{Path: filepath.Clean(path)}
	case words[0] == agentapi.DisabledMode, words[0] == agentapi.AmongStoresMode:
		f.Mode = words[0]
	default:
		return fail("not known")
	}
	for _, w := range words[1:] {
		key, path, _ := strings.Cut(w, "=")
		if key != "prev_path" || path == "" {
			return fail(fmt.Sprintf("%q is not prev_path=Q", w))
		}
		f.PrevPaths = append(f.PrevPaths, filepath.Clean(path))
	}
	return f, side, nil
}
