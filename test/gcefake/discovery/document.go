// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package discovery checks requests against the document in which Google
// describes the REST API of Compute Engine (its "discovery document").
//
// The module google.golang.org/api carries the document as
// compute/v1/compute-api.json. It is read from the module cache, never copied:
// the version that go.mod names is the version that requests are held to. What
// the document knows is checked: methods, paths, parameters, names, types,
// enums and patterns of fields, which of them are required, and which are for
// the server alone. What it does not know (one boot disk, a size that is large
// enough) is for the caller.
//
// The check is stricter than the service in two things, on purpose: a 64-bit
// number that is not a string, and a field that only the server sets, are
// violations. The service takes the one and ignores the other; a client that
// sends them is mistaken about the API.
package discovery

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Document is a discovery document. It does not change once it is parsed, and
// may be used by several goroutines.
type Document struct {
	Revision string // the day the document was made, as 20260306
	base     string // what every path begins with: /compute/v1/
	global   map[string]*schema
	methods  map[string]*Method
	routes   map[string][]*Method // by HTTP method
	schemas  map[string]*schema
	patterns sync.Map // pattern → *regexp.Regexp, anchored
}

// Method is one method of the API.
type Method struct {
	ID         string // compute.disks.insert
	HTTPMethod string
	Path       string // projects/{project}/zones/{zone}/disks
	params     map[string]*schema
	request    string // schema of the body; "" for none
	response   string
	segments   []string
}

// Resource is the collection that the method belongs to: disks.
func (m *Method) Resource() string { return strings.Split(m.ID, ".")[1] }

// Verb is the last part of the method's name: insert.
func (m *Method) Verb() string { return m.ID[strings.LastIndexByte(m.ID, '.')+1:] }

// Mutates tells whether the method changes something.
func (m *Method) Mutates() bool { return m.params["requestId"] != nil }

// schema is the description of a value: JSON schema, draft 3, with Google's
// additions. A parameter is described in the same words.
type schema struct {
	Ref         string             `json:"$ref"`
	Type        string             `json:"type"`
	Format      string             `json:"format"`
	Pattern     string             `json:"pattern"`
	Enum        []string           `json:"enum"`
	Minimum     string             `json:"minimum"`
	Maximum     string             `json:"maximum"`
	Properties  map[string]*schema `json:"properties"`
	Items       *schema            `json:"items"`
	Additional  *schema            `json:"additionalProperties"`
	ReadOnly    bool               `json:"readOnly"`
	Description string             `json:"description"`
	Location    string             `json:"location"`
	Required    bool               `json:"required"`
	Repeated    bool               `json:"repeated"`
	Annotations struct {
		Required []string `json:"required"`
	} `json:"annotations"`
}

// serverOnly tells whether a client has no business setting the field: either
// it is marked, or its description begins with the words that stand for the
// mark in older parts of the document.
func (s *schema) serverOnly() bool {
	return s.ReadOnly || strings.HasPrefix(s.Description, "[Output Only]") || strings.HasPrefix(s.Description, "Output only.")
}

// Parse reads a discovery document.
func Parse(data []byte) (*Document, error) {
	var raw struct {
		Revision   string             `json:"revision"`
		BasePath   string             `json:"basePath"`
		Parameters map[string]*schema `json:"parameters"`
		Schemas    map[string]*schema `json:"schemas"`
		Resources  map[string]struct {
			Methods map[string]struct {
				ID         string             `json:"id"`
				HTTPMethod string             `json:"httpMethod"`
				Path       string             `json:"path"`
				FlatPath   string             `json:"flatPath"`
				Parameters map[string]*schema `json:"parameters"`
				Request    schema             `json:"request"`
				Response   schema             `json:"response"`
			} `json:"methods"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("reading the discovery document: %w", err)
	}
	if raw.BasePath == "" || len(raw.Resources) == 0 || len(raw.Schemas) == 0 {
		return nil, fmt.Errorf("this is no discovery document: no basePath, resources or schemas")
	}
	d := &Document{
		Revision: raw.Revision, base: raw.BasePath, global: raw.Parameters, schemas: raw.Schemas,
		methods: map[string]*Method{}, routes: map[string][]*Method{},
	}
	for _, r := range raw.Resources {
		for _, m := range r.Methods {
			method := &Method{
				ID: m.ID, HTTPMethod: m.HTTPMethod, Path: m.Path, params: m.Parameters,
				request: m.Request.Ref, response: m.Response.Ref, segments: strings.Split(m.Path, "/"),
			}
			d.methods[m.ID] = method
			if strings.Contains(m.Path, "{+") {
				continue // a parameter of several segments; Match does not know such methods
			}
			d.routes[m.HTTPMethod] = append(d.routes[m.HTTPMethod], method)
		}
	}
	// A literal segment wins over a parameter: backendServices/listUsable is no
	// backend service.
	for _, routes := range d.routes {
		slices.SortFunc(routes, func(a, b *Method) int {
			if n := placeholders(a.segments) - placeholders(b.segments); n != 0 {
				return n
			}
			return strings.Compare(a.ID, b.ID)
		})
	}
	return d, nil
}

// Method returns the method of that name, nil when there is none.
func (d *Document) Method(id string) *Method { return d.methods[id] }

// matches tells whether all of s matches the pattern. The document anchors
// some of its patterns and means all of them to be.
func (d *Document) matches(pattern, s string) (bool, error) {
	re, ok := d.patterns.Load(pattern)
	if !ok {
		compiled, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			return false, err
		}
		re, _ = d.patterns.LoadOrStore(pattern, compiled)
	}
	compiled, ok := re.(*regexp.Regexp)
	return ok && compiled.MatchString(s), nil
}

func placeholders(segments []string) int {
	n := 0
	for _, s := range segments {
		if isPlaceholder(s) {
			n++
		}
	}
	return n
}

func isPlaceholder(segment string) bool { return strings.HasPrefix(segment, "{") }
