// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"net/url"
	"strings"
)

// apiRoot begins every link to a resource.
const apiRoot = "https://www.googleapis.com/compute/v1/"

// ref names a resource: projects/p/zones/z/disks/d.
type ref struct {
	project    string
	scope      string // zones/z, regions/r, global; "" for the project and for scopes themselves
	collection string // disks; zones for the zone z itself
	name       string // may hold a slash: images/family/debian-12
}

// path is the reference within the API: what errors and logs name.
func (r ref) path() string {
	p := "projects/" + r.project
	if r.scope != "" {
		p += "/" + r.scope
	}
	return p + "/" + r.collection + "/" + r.name
}

func (r ref) link() string { return apiRoot + r.path() }

// zone is the zone's name, "" when the resource is in none.
func (r ref) zone() string {
	z, ok := strings.CutPrefix(r.scope, "zones/")
	if !ok {
		return ""
	}
	return z
}

// regionName is the name of the region it is in, directly or by its zone.
func (r ref) regionName() string {
	if name, ok := strings.CutPrefix(r.scope, "regions/"); ok {
		return name
	}
	return regionOf(r.zone())
}

// parseRef reads a full or partial URL of a resource: what Compute Engine
// accepts in a field. A partial one begins at projects/, at the scope, or, for
// what exists once in a project, at global/; a bare name is not enough.
func parseRef(project, text string) (ref, error) {
	path := text
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return ref{}, err
		}
		_, after, ok := strings.Cut(u.Path, "/compute/v1/")
		if !ok {
			return ref{}, fmt.Errorf("%q is no URL of the API's version 1", text)
		}
		path = after
	}
	parts := strings.Split(path, "/")
	r := ref{project: project}
	if parts[0] == "projects" && len(parts) > 2 {
		r.project, parts = parts[1], parts[2:]
	}
	switch {
	case parts[0] == "global" && len(parts) >= 3:
		r.scope, parts = "global", parts[1:]
	case (parts[0] == "zones" || parts[0] == "regions") && len(parts) >= 4:
		r.scope, parts = parts[0]+"/"+parts[1], parts[2:]
	case (parts[0] == "zones" || parts[0] == "regions") && len(parts) == 2:
	default:
		return ref{}, fmt.Errorf("%q is no URL of a resource", text)
	}
	r.collection, r.name = parts[0], strings.Join(parts[1:], "/")
	if r.name == "" || strings.HasSuffix(r.name, "/") || r.project == "" {
		return ref{}, fmt.Errorf("%q is no URL of a resource", text)
	}
	return r, nil
}

// refField reads the URL that a field holds, of a resource of a collection.
func (s *Server) refField(field, value, collection string) (ref, error) {
	r, err := parseRef(s.config.Project, value)
	if err != nil || r.collection != collection {
		return ref{}, invalid(field, value, "The URL is malformed.")
	}
	return r, nil
}
