// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Diff returns what to changes of from, sorted by attribute. Servers and steps are
// compared by name, other lists by position; steps that are in both in another order
// are a change of provision. Long texts of steps show as a hash. A nil from is a node
// without a spec: everything is new, and nothing runs that had to restart.
func Diff(from, to *Spec) []Change {
	a, b := flatten(from), flatten(to)
	changes := reordered(from, to)
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
		changes[i].From, changes[i].To = short(changes[i].From), short(changes[i].To)
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
	if strings.HasPrefix(attr, "stores.") || strings.HasPrefix(attr, "side_disk.") {
		// How a disk is found and made is the agent's; the directory is the engine's.
		return !strings.Contains(attr, ".disk.")
	}
	group, _, _ := strings.Cut(attr, ".")
	return !slices.Contains([]string{"version", "log", "server", "tls", "provision"}, group)
}

// flatten lists the attributes of a spec by their path.
func flatten(s *Spec) map[string]string {
	flat := map[string]string{}
	if s == nil {
		return flat
	}
	digested := *s
	digested.Provision = digests(s.Provision)
	b, err := json.Marshal(&digested)
	if err != nil {
		panic(fmt.Sprintf("agentapi: a spec does not encode: %v", err)) // it holds strings, numbers and booleans only
	}
	var tree map[string]any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // a size is told as it was written, not as 4.29e+10
	if err := dec.Decode(&tree); err != nil {
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
