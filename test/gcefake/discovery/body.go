// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package discovery

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// bodyCheck walks a JSON value beside its schema.
type bodyCheck struct {
	doc        *Document
	method     string // for what is required of this method
	fromClient bool   // fields of the server's are not the client's to set
	found      []Violation
}

func (c *bodyCheck) add(where, format string, args ...any) {
	c.found = append(c.found, Violation{where, fmt.Sprintf(format, args...)})
}

func (c *bodyCheck) ref(where string, value any, name string) {
	s := c.doc.schemas[name]
	if s == nil {
		c.add(where, "the document refers to the schema %q and does not have it", name)
		return
	}
	c.value(where, value, s)
}

func (c *bodyCheck) value(where string, value any, s *schema) {
	if s.Ref != "" {
		c.ref(where, value, s.Ref)
		return
	}
	switch s.Type {
	case "object":
		object, ok := value.(map[string]any)
		if !ok {
			c.add(where, "wants an object, is %s", kind(value))
			return
		}
		c.object(where, object, s)
	case "array":
		array, ok := value.([]any)
		if !ok {
			c.add(where, "wants an array, is %s", kind(value))
			return
		}
		for i, element := range array {
			at := fmt.Sprintf("%s[%d]", where, i)
			c.value(at, element, s.Items)
			// The pattern of tags stands at the array and is meant for each.
			if text, ok := element.(string); ok && s.Pattern != "" {
				c.found = append(c.found, c.doc.checkString(at, s, text)...)
			}
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			c.add(where, "wants a boolean, is %s", kind(value))
		}
	case "integer":
		n, ok := value.(json.Number)
		if !ok {
			c.add(where, "wants a number (%s), is %s", s.Format, kind(value))
			return
		}
		if i, ok := new(big.Int).SetString(n.String(), 10); !ok || !inRange(i, s.Format) {
			c.add(where, "%s is no %s", n, s.Format)
		}
	case "number":
		if _, ok := value.(json.Number); !ok {
			c.add(where, "wants a number, is %s", kind(value))
		}
	case "string":
		text, ok := value.(string)
		if !ok {
			c.add(where, "wants a string%s, is %s", inParentheses(s.Format), kind(value))
			return
		}
		c.found = append(c.found, c.doc.checkString(where, s, text)...)
	case "any":
	default:
		c.add(where, "type %q of the document is not understood", s.Type)
	}
}

func (c *bodyCheck) object(where string, object map[string]any, s *schema) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		at := where + "." + name
		p := s.Properties[name]
		switch {
		case p == nil && s.Additional != nil:
			c.value(at, object[name], s.Additional)
		case p == nil:
			c.add(at, "no such field%s", suggest(name, s.Properties))
		case c.fromClient && p.serverOnly():
			c.add(at, "is set by the server alone")
		default:
			c.value(at, object[name], p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if _, given := object[name]; !given && c.fromClient && slices.Contains(s.Properties[name].Annotations.Required, c.method) {
			c.add(where+"."+name, "%s requires it", c.method)
		}
	}
}

// checkString holds a text to the enum, pattern and format of a field or a
// parameter.
func (d *Document) checkString(where string, s *schema, text string) []Violation {
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		return []Violation{{where, fmt.Sprintf("%q is none of %s", text, strings.Join(s.Enum, ", "))}}
	}
	if s.Pattern != "" {
		ok, err := d.matches(s.Pattern, text)
		if err != nil {
			return []Violation{{where, fmt.Sprintf("pattern of the document: %v", err)}}
		}
		if !ok {
			return []Violation{{where, fmt.Sprintf("%q does not match %s", text, s.Pattern)}}
		}
	}
	switch s.Format {
	case "int64", "uint64":
		if n, ok := new(big.Int).SetString(text, 10); !ok || !inRange(n, s.Format) {
			return []Violation{{where, fmt.Sprintf("%q is no %s", text, s.Format)}}
		}
	case "byte":
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			if _, err := base64.URLEncoding.DecodeString(text); err != nil {
				return []Violation{{where, fmt.Sprintf("%q is not base64", text)}}
			}
		}
	case "google-datetime":
		if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
			return []Violation{{where, fmt.Sprintf("%q is no RFC 3339 time", text)}}
		}
	case "google-fieldmask":
		if strings.Contains(text, "_") {
			return []Violation{{where, fmt.Sprintf("%q: a field mask in JSON has lowerCamelCase names", text)}}
		}
	}
	return nil
}

// suggest names the field that was likely meant.
func suggest(name string, fields map[string]*schema) string {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if plain(field) == plain(name) {
			return "; the name is " + field
		}
	}
	return ""
}

func inParentheses(format string) string {
	if format == "" {
		return ""
	}
	return " (" + format + ")"
}

func kind(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("a %T", value)
}
