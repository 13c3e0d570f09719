// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Diff returns what to changes of from, sorted by attribute. Servers are
// compared by name, other lists by position. A nil from is a node without a
// spec: everything is new, and nothing runs that had to restart.
func Diff(from, to *Spec) []Change {
	a, b := flatten(from), flatten(to)
	changes := []Change{}
	for attr, v := range b {
		if a[attr] != v {
			changes = append(changes, Change{Attribute: attr, From: a[attr], To: v})
		}
	}
	for attr, v := range a {
		if _, ok := b[attr]; !ok && v != "" {
			changes = append(changes, Change{Attribute: attr, From: v})
		}
	}
	for i := range changes {
		changes[i].Restart = from != nil && needsRestart(changes[i].Attribute)
	}
	slices.SortFunc(changes, func(x, y Change) int { return strings.Compare(x.Attribute, y.Attribute) })
	return changes
}

// RestartRequired is the part of Diff that a running engine does not take over
// until it restarts.
func RestartRequired(running, inForce *Spec) []Change {
	if running == nil || inForce == nil {
		return nil
	}
	return slices.DeleteFunc(Diff(running, inForce), func(c Change) bool { return !c.Restart })
}

// needsRestart tells which attributes an engine reads only at its start. The
// others it reads again on SIGHUP, or it never sees them, or they say nothing to
// an engine that runs: it has drained every side of earlier configurations.
func needsRestart(attr string) bool {
	if attr == "wal_failover.prev_path" {
		return false
	}
	group, _, _ := strings.Cut(attr, ".")
	return !slices.Contains([]string{"version", "log", "server"}, group)
}

// flatten lists the attributes of a spec by their path.
func flatten(s *Spec) map[string]string {
	flat := map[string]string{}
	if s == nil {
		return flat
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("agentapi: a spec does not encode: %v", err)) // it holds strings, numbers and booleans only
	}
	var tree map[string]any
	if err := json.Unmarshal(b, &tree); err != nil {
		panic(fmt.Sprintf("agentapi: an encoded spec does not decode: %v", err))
	}
	walk(flat, "", tree)
	return flat
}

func walk(flat map[string]string, path string, v any) {
	join := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			walk(flat, join(name), child)
		}
	case []any:
		var words []string
		for i, child := range v {
			switch child := child.(type) {
			case map[string]any:
				key := fmt.Sprint(i)
				if name, ok := child["name"].(string); ok {
					key = name
					delete(child, "name")
				}
				walk(flat, join(key), child)
			default:
				words = append(words, fmt.Sprint(child))
			}
		}
		if words != nil {
			flat[path] = strings.Join(words, ",")
		}
	case nil:
	default:
		flat[path] = fmt.Sprint(v)
	}
}
