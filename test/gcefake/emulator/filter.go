// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// filter is a list's filter, of the part of AIP-160 that Compute Engine's
// pages show: comparisons with =, !=, <, <=, >, >=, : and :*, joined by AND, by
// OR or by standing beside each other, in parentheses, NOT before one. OR binds
// tighter than AND, as AIP-160 has it. The older "field eq regexp" is there as
// a single comparison. Anything else is an error and not silently everything.
type filter interface {
	matches(resource any) (bool, error)
}

// every is the filter of those that have none.
type every struct{}

func (every) matches(any) (bool, error) { return true, nil }

type allOf []filter
type anyOf []filter
type not struct{ of filter }

// comparison holds a field's value to a literal. A list's element may match.
type comparison struct {
	field, op, literal string
}

func (f allOf) matches(r any) (bool, error) {
	for _, of := range f {
		if ok, err := of.matches(r); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (f anyOf) matches(r any) (bool, error) {
	for _, of := range f {
		if ok, err := of.matches(r); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (f not) matches(r any) (bool, error) {
	ok, err := f.of.matches(r)
	return !ok, err
}

func (f comparison) matches(r any) (bool, error) {
	value := r
	for _, name := range strings.Split(f.field, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			value = nil
			break
		}
		value = object[name]
	}
	if list, ok := value.([]any); ok {
		for _, element := range list {
			if ok, err := f.compare(element); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	return f.compare(value)
}

func (f comparison) compare(value any) (bool, error) {
	text := fmt.Sprint(value)
	if value == nil {
		text = ""
	}
	switch f.op {
	case "=":
		return value != nil && text == f.literal, nil
	case "!=":
		return text != f.literal, nil
	case ":":
		return value != nil && (f.literal == "*" || strings.Contains(text, f.literal)), nil
	case "eq", "ne":
		re, err := regexp.Compile("^(?:" + f.literal + ")$")
		if err != nil {
			return false, err
		}
		return re.MatchString(text) == (f.op == "eq"), nil
	}
	order := strings.Compare(text, f.literal)
	if a, err := strconv.ParseFloat(text, 64); err == nil {
		b, err := strconv.ParseFloat(f.literal, 64)
		if err != nil {
			return false, fmt.Errorf("%q is no number", f.literal)
		}
		order = int(max(-1, min(1, a-b)))
		if a != b && order == 0 {
			order = map[bool]int{true: 1, false: -1}[a > b]
		}
	}
	switch f.op {
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	}
	return order >= 0, nil
}

// parsed is a filter that takes messages.
type parsed struct{ filter }

func (p parsed) takes(m proto.Message) (bool, error) {
	if _, ok := p.filter.(every); ok {
		return true, nil
	}
	data, err := protojson.Marshal(m)
	if err != nil {
		return false, err
	}
	var value map[string]any
	if err := json.Unmarshal(data, &value); err != nil {
		return false, err
	}
	return p.matches(value)
}

var filterToken = regexp.MustCompile(`^\s*("(?:[^"\\]|\\.)*"|'[^']*'|!=|<=|>=|[=<>:()]|[^\s"'=<>:()!]+)`)

// parseFilter reads a filter; "" takes everything.
func parseFilter(text string) (parsed, error) {
	var tokens []string
	for rest := text; strings.TrimSpace(rest) != ""; {
		m := filterToken.FindStringSubmatch(rest)
		if m == nil {
			return parsed{}, fmt.Errorf("%q is not understood", strings.TrimSpace(rest))
		}
		tokens, rest = append(tokens, m[1]), rest[len(m[0]):]
	}
	if len(tokens) == 0 {
		return parsed{every{}}, nil
	}
	p := filterParser{tokens}
	f, err := p.all()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("%q is not expected there", p.tokens[0])
	}
	return parsed{f}, err
}

type filterParser struct{ tokens []string }

func (p *filterParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *filterParser) next() string {
	t := p.peek()
	if t != "" {
		p.tokens = p.tokens[1:]
	}
	return t
}

// all reads terms that are joined by AND, or stand beside each other.
func (p *filterParser) all() (filter, error) {
	var of allOf
	for {
		f, err := p.any()
		if err != nil {
			return nil, err
		}
		of = append(of, f)
		if p.peek() == "AND" {
			p.next()
		} else if p.peek() == "" || p.peek() == ")" {
			return of, nil
		}
	}
}

func (p *filterParser) any() (filter, error) {
	var of anyOf
	for {
		f, err := p.term()
		if err != nil {
			return nil, err
		}
		of = append(of, f)
		if p.peek() != "OR" {
			return of, nil
		}
		p.next()
	}
}

func (p *filterParser) term() (filter, error) {
	switch p.peek() {
	case "NOT":
		p.next()
		f, err := p.term()
		return not{f}, err
	case "(":
		p.next()
		f, err := p.all()
		if err == nil && p.next() != ")" {
			err = errors.New("a parenthesis is not closed")
		}
		return f, err
	}
	field, op, literal := p.next(), p.next(), p.next()
	switch op {
	case "=", "!=", "<", "<=", ">", ">=", ":", "eq", "ne":
	default:
		return nil, fmt.Errorf("after %q, %q is no comparison", field, op)
	}
	if literal == "" || strings.ContainsAny(literal[:1], "=<>:()") {
		return nil, fmt.Errorf("%s %s lacks a value", field, op)
	}
	if literal[0] == '"' {
		unquoted, err := strconv.Unquote(literal)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", literal, err)
		}
		literal = unquoted
	}
	return comparison{field, op, strings.Trim(literal, "'")}, nil
}
