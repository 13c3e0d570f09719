// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// listed is a resource with the scope in which a list shows it.
type listed[T resource] struct {
	scope string
	row   T
}

// page selects what a list request asks for: what the filter takes, in the
// order it wants, one page of it; and the token for the next page.
func page[T resource](r *request, rows []listed[T]) ([]listed[T], string, error) {
	keep, err := parseFilter(r.query.Get("filter"))
	if err != nil {
		return nil, "", invalid("filter", r.query.Get("filter"), "Invalid list filter expression: %v.", err)
	}
	var kept []listed[T]
	for _, l := range rows {
		ok, err := keep.takes(l.row)
		if err != nil {
			return nil, "", invalid("filter", r.query.Get("filter"), "Invalid list filter expression: %v.", err)
		}
		if ok {
			kept = append(kept, l)
		}
	}
	switch order := r.query.Get("orderBy"); order {
	case "", "name":
	case "creationTimestamp desc":
		slices.SortStableFunc(kept, func(a, b listed[T]) int {
			return strings.Compare(b.row.GetCreationTimestamp(), a.row.GetCreationTimestamp())
		})
	default:
		return nil, "", invalid("orderBy", order, "Only sorting by name or creationTimestamp desc is supported.")
	}
	size := 500
	if text := r.query.Get("maxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n > 500 {
			return nil, "", invalid("maxResults", text, "Must be between 0 and 500.")
		}
		if n > 0 {
			size = n
		}
	}
	from := 0
	if token := r.query.Get("pageToken"); token != "" {
		text, err := base64.RawURLEncoding.DecodeString(token)
		if err == nil {
			from, err = strconv.Atoi(string(text))
		}
		if err != nil || from < 0 || from > len(kept) {
			return nil, "", invalid("pageToken", token, "The page token is not valid.")
		}
	}
	next := ""
	if from+size < len(kept) {
		next = base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(from + size)))
		kept = kept[:from+size]
	}
	return kept[from:], next, nil
}

// list answers a list request: it fills items, id, selfLink and nextPageToken
// of the message.
func list[T resource](r *request, into proto.Message, rows []T) (answer, error) {
	var all []listed[T]
	for _, row := range rows {
		all = append(all, listed[T]{r.scope(), row})
	}
	shown, next, err := page(r, all)
	if err != nil {
		return nil, err
	}
	m := into.ProtoReflect()
	if items := m.Descriptor().Fields().ByName("items"); len(shown) > 0 {
		l := m.Mutable(items).List()
		for _, one := range shown {
			l.Append(protoreflect.ValueOfMessage(one.row.ProtoReflect()))
		}
	}
	describe(m, r, next)
	return into, nil
}

// aggregated answers an aggregated list: resources by scope, and a warning in
// every scope without any.
func aggregated[T resource](s *Server, r *request, into proto.Message, t table[T]) (answer, error) {
	var all []listed[T]
	for _, key := range slices.Concat(zoneScopes(s), regionScopes(s)) {
		for _, row := range t.in(key) {
			all = append(all, listed[T]{key, row})
		}
	}
	shown, next, err := page(r, all)
	if err != nil {
		return nil, err
	}
	m := into.ProtoReflect()
	items := m.Mutable(m.Descriptor().Fields().ByName("items")).Map()
	for _, scope := range slices.Concat(zoneScopes(s), regionScopes(s)) {
		scoped := items.NewValue()
		field := scoped.Message().Descriptor().Fields().ByName(protoreflect.Name(t.collection))
		n := 0
		for _, one := range shown {
			if one.scope == scope {
				scoped.Message().Mutable(field).List().Append(protoreflect.ValueOfMessage(one.row.ProtoReflect()))
				n++
			}
		}
		if n == 0 {
			warning := &computepb.Warning{
				Code: new("NO_RESULTS_ON_PAGE"), Message: new("There are no results for scope '" + scope + "' on this page."),
				Data: []*computepb.Data{{Key: new("scope"), Value: new(scope)}},
			}
			scoped.Message().Set(scoped.Message().Descriptor().Fields().ByName("warning"), protoreflect.ValueOfMessage(warning.ProtoReflect()))
		}
		items.Set(protoreflect.ValueOfString(scope).MapKey(), scoped)
	}
	describe(m, r, next)
	return into, nil
}

// describe fills what every kind of list has.
func describe(m protoreflect.Message, r *request, next string) {
	set := func(name protoreflect.Name, value string) {
		if field := m.Descriptor().Fields().ByName(name); field != nil && value != "" {
			m.Set(field, protoreflect.ValueOfString(value))
		}
	}
	set("id", r.path)
	set("self_link", apiRoot+r.path)
	set("next_page_token", next)
}

func zoneScopes(s *Server) []string {
	var scopes []string
	for _, z := range slices.Sorted(slices.Values(s.config.Zones)) {
		scopes = append(scopes, "zones/"+z)
	}
	return scopes
}

func regionScopes(s *Server) []string {
	var scopes []string
	for _, region := range slices.Sorted(slices.Values(s.regions())) {
		scopes = append(scopes, "regions/"+region)
	}
	return scopes
}
