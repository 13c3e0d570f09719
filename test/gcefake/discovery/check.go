// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package discovery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Violation is one thing that a request has and the document does not allow.
type Violation struct {
	// Where it is: "path.zone", "query.requestId", or a JSON path that begins
	// at the body, as "body.disks[0].initializeParams.diskSizeGb".
	Where string
	// What is wrong.
	What string
}

func (v Violation) String() string { return v.Where + ": " + v.What }

// Request is a request that was found to be of one method.
type Request struct {
	Method *Method
	Params map[string]string // of the path, unescaped
}

// Match finds the method of a request. The path is the URL's, with /compute/v1/
// in front, and still escaped. Methods with a parameter that spans segments
// (those of reservation blocks) are not found.
func (d *Document) Match(httpMethod, path string) (Request, []Violation) {
	rest, ok := strings.CutPrefix(path, d.base)
	if !ok {
		return Request{}, []Violation{{"path", fmt.Sprintf("%q does not begin with %s", path, d.base)}}
	}
	segments := strings.Split(rest, "/")
	for _, m := range d.routes[httpMethod] {
		if params, ok := bind(m.segments, segments); ok {
			return Request{Method: m, Params: params}, d.checkPath(m, params)
		}
	}
	for other, methods := range d.routes {
		for _, m := range methods {
			if _, ok := bind(m.segments, segments); ok {
				return Request{}, []Violation{{"path", fmt.Sprintf("no method %s %s; the document has %s", httpMethod, rest, other)}}
			}
		}
	}
	return Request{}, []Violation{{"path", fmt.Sprintf("no method %s %s in the document", httpMethod, rest)}}
}

// Check returns everything about the query and the body that the method does
// not allow.
func (d *Document) Check(m *Method, query url.Values, body []byte) []Violation {
	return append(d.checkQuery(m, query), d.checkBody(m, body)...)
}

// CheckResponse holds a response's body to the method's answer. It is for those
// who play the server.
func (d *Document) CheckResponse(m *Method, body []byte) []Violation {
	value, err := decode(body)
	if err != nil {
		return []Violation{{"body", err.Error()}}
	}
	c := bodyCheck{doc: d}
	c.ref("body", value, m.response)
	return c.found
}

func (d *Document) checkBody(m *Method, body []byte) []Violation {
	if m.request == "" {
		if len(bytes.TrimSpace(body)) > 0 {
			return []Violation{{"body", m.ID + " takes no body"}}
		}
		return nil
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return []Violation{{"body", fmt.Sprintf("%s takes a %s, and the body is empty", m.ID, m.request)}}
	}
	value, err := decode(body)
	if err != nil {
		return []Violation{{"body", err.Error()}}
	}
	c := bodyCheck{doc: d, method: m.ID, fromClient: true}
	c.ref("body", value, m.request)
	return c.found
}

// decode reads one JSON value and keeps numbers as they are written.
func decode(body []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON value")
	}
	return value, nil
}

// bind matches segments of a path to a method's, and returns the parameters.
func bind(pattern, segments []string) (map[string]string, bool) {
	if len(pattern) != len(segments) {
		return nil, false
	}
	params := map[string]string{}
	for i, p := range pattern {
		// A parameter may be followed by a literal: {resource}:cancel.
		open, end := strings.IndexByte(p, '{'), strings.IndexByte(p, '}')
		if open < 0 {
			if p != segments[i] {
				return nil, false
			}
			continue
		}
		raw, ok := strings.CutPrefix(segments[i], p[:open])
		if ok {
			raw, ok = strings.CutSuffix(raw, p[end+1:])
		}
		if !ok || raw == "" {
			return nil, false
		}
		value, err := url.PathUnescape(raw)
		if err != nil {
			return nil, false
		}
		params[p[open+1:end]] = value
	}
	return params, true
}
