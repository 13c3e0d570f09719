// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/discovery"
)

// request is one that has passed the discovery check.
type request struct {
	method    *discovery.Method
	params    map[string]string // of the path
	path      string            // within the API
	query     url.Values
	body      []byte
	fail      *OperationError // what its operation is to fail with
	operation *operation      // the one it began
}

// answer is the message that a request is answered with.
type answer = proto.Message

// scope is the part of the path that says where: zones/z, regions/r, global.
func (r *request) scope() string {
	switch {
	case r.params["zone"] != "" && r.method.Resource() != "zones":
		return "zones/" + r.params["zone"]
	case r.params["region"] != "" && r.method.Resource() != "regions":
		return "regions/" + r.params["region"]
	case strings.Contains(r.path, "/global/"):
		return "global"
	}
	return ""
}

// name is the name of the resource that the request is about: the last
// parameter of its path that is no project, zone or region.
func (r *request) name() string {
	if r.method.Verb() == "insert" {
		var named struct {
			Name string `json:"name"`
		}
		_ = json.Unmarshal(r.body, &named) // the discovery check tells
		return named.Name
	}
	path := strings.Split(r.method.Path, "/")
	for _, segment := range slices.Backward(path) {
		if key, ok := strings.CutPrefix(segment, "{"); ok {
			if key = strings.TrimSuffix(key, "}"); key != "project" {
				return r.params[key]
			}
		}
	}
	return ""
}

// target is what faults match: zones/z/disks/d.
func (r *request) target(name string) string {
	if r.method == nil {
		return r.path
	}
	return strings.TrimPrefix(ref{"", r.scope(), r.method.Resource(), name}.path(), "projects//")
}

// ref names the resource of the request, in a collection.
func (s *Server) ref(r *request) ref {
	return ref{s.config.Project, r.scope(), r.method.Resource(), r.name()}
}

// fingerprint tells requests apart.
func (r *request) fingerprint() string {
	query := url.Values{}
	for k, v := range r.query {
		if k != "requestId" {
			query[k] = v
		}
	}
	return r.method.ID + " " + r.path + "?" + query.Encode() + " " + hash(r.body)
}

// decode reads the body into a message; unknown fields are errors.
func (r *request) decode(m proto.Message) error {
	if err := protojson.Unmarshal(r.body, m); err != nil {
		return badRequest("parseError", "Parse Error: %v", err)
	}
	return nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.StdEncoding.EncodeToString(sum[:8])
}
