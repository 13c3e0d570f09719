// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package discovery

import (
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strconv"
)

func (d *Document) checkPath(m *Method, params map[string]string) (found []Violation) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		where := "path." + name
		p := m.params[name]
		if p == nil || p.Location != "path" {
			found = append(found, Violation{where, "no such parameter of " + m.ID})
			continue
		}
		found = append(found, d.checkParam(where, p, params[name])...)
	}
	return found
}

func (d *Document) checkQuery(m *Method, query url.Values) (found []Violation) {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		where := "query." + name
		p := m.params[name]
		if p == nil {
			p = d.global[name]
		}
		if p == nil || p.Location != "query" {
			found = append(found, Violation{where, "no such parameter of " + m.ID})
			continue
		}
		values := query[name]
		if len(values) > 1 && !p.Repeated {
			found = append(found, Violation{where, fmt.Sprintf("given %d times, and it is not a repeated one", len(values))})
		}
		for _, v := range values {
			found = append(found, d.checkParam(where, p, v)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.params)) {
		if p := m.params[name]; p.Location == "query" && p.Required && !query.Has(name) {
			found = append(found, Violation{"query." + name, m.ID + " requires it"})
		}
	}
	return found
}

// checkParam holds a parameter's text to its type.
func (d *Document) checkParam(where string, p *schema, text string) []Violation {
	switch p.Type {
	case "boolean":
		if text != "true" && text != "false" {
			return []Violation{{where, fmt.Sprintf("%q is neither true nor false", text)}}
		}
	case "integer":
		n, ok := new(big.Int).SetString(text, 10)
		if !ok || !inRange(n, p.Format) {
			return []Violation{{where, fmt.Sprintf("%q is no %s", text, p.Format)}}
		}
		if minimum, ok := new(big.Int).SetString(p.Minimum, 10); ok && n.Cmp(minimum) < 0 {
			return []Violation{{where, fmt.Sprintf("%s is less than %s", text, p.Minimum)}}
		}
		if maximum, ok := new(big.Int).SetString(p.Maximum, 10); ok && n.Cmp(maximum) > 0 {
			return []Violation{{where, fmt.Sprintf("%s is more than %s", text, p.Maximum)}}
		}
	case "number":
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return []Violation{{where, fmt.Sprintf("%q is no number", text)}}
		}
	case "string":
		return d.checkString(where, p, text)
	default:
		return []Violation{{where, fmt.Sprintf("type %q of the document is not understood", p.Type)}}
	}
	return nil
}

// inRange tells whether n is a number of the format; one without a format is.
func inRange(n *big.Int, format string) bool {
	switch format {
	case "int32":
		return n.IsInt64() && n.Int64() == int64(int32(n.Int64()))
	case "uint32":
		return n.IsUint64() && n.Uint64() == uint64(uint32(n.Uint64()))
	case "int64":
		return n.IsInt64()
	case "uint64":
		return n.IsUint64()
	}
	return true
}
