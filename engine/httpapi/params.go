// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// params are the query parameters that some path knows. As in Consul, one
// that none knows is passed over, and one that is given twice counts once.
type params struct {
	raw, keys, recurse, pretty  bool
	stale, consistent           bool
	maxStale                    time.Duration
	cas, flags                  string
	hasCAS, hasFlags            bool
	hasAcquire, hasRelease      bool
	separator, partition, dc    string
	index, wait, ns, peer, form string
}

// parseParams parses a query. It makes no map: a put with ?flags=1 comes
// 20,000 times a second.
func parseParams(query string) (params, error) {
	p := params{}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(pair, "%+;") {
			var err error
			if name, err = unescape(name); err != nil {
				return p, err
			}
			if value, err = unescape(value); err != nil {
				return p, err
			}
		}
		if err := p.set(name, value); err != nil {
			return p, err
		}
	}
	return p, p.check()
}

func unescape(s string) (string, error) {
	if strings.Contains(s, ";") {
		return "", badRequest("the query cannot be parsed: write %%3B for a semicolon")
	}
	out, err := url.QueryUnescape(s)
	if err != nil {
		return "", badRequest("the query cannot be parsed: %v", err)
	}
	return out, nil
}

func (p *params) set(name, value string) error {
	first := func(dst *string) {
		if *dst == "" {
			*dst = value
		}
	}
	switch name {
	case "raw":
		p.raw = true
	case "keys":
		p.keys = true
	case "recurse":
		p.recurse = true
	case "pretty":
		p.pretty = true
	case "stale":
		p.stale = true
	case "consistent":
		p.consistent = true
	case "leader": // Consul's name for what is the default
	case "max_stale":
		d, err := time.ParseDuration(value)
		if value != "" && err != nil {
			return badRequest("Invalid max_stale value %q", value)
		}
		p.maxStale = d
		p.stale = p.stale || d > 0
	case "cas":
		if !p.hasCAS {
			p.cas, p.hasCAS = value, true
		}
	case "flags":
		if !p.hasFlags {
			p.flags, p.hasFlags = value, true
		}
	case "acquire":
		p.hasAcquire = true
	case "release":
		p.hasRelease = true
	case "separator", "seperator": //nolint:misspell // Consul's first spelling lives on
		first(&p.separator)
	case "partition":
		first(&p.partition)
	case "format":
		first(&p.form)
	case "index":
		first(&p.index)
	case "wait":
		first(&p.wait)
	case "dc":
		first(&p.dc)
	case "ns":
		first(&p.ns)
	case "peer":
		first(&p.peer)
	}
	return nil
}

// check refuses what would be wrong to pass over.
func (p *params) check() error {
	if p.stale && p.consistent {
		return badRequest("Cannot specify ?stale with ?consistent, conflicting semantics.")
	}
	switch {
	case p.index != "" && p.index != "0", p.wait != "":
		return unbuilt("blocking queries (?index, ?wait)", "poll instead")
	case p.hasAcquire, p.hasRelease:
		return unbuilt("sessions (?acquire, ?release)", "use ?cas to lock a key")
	case p.dc != "":
		return unbuilt("other datacenters (?dc)", "leave the parameter out for this one")
	case p.ns != "", p.peer != "":
		return unbuilt("namespaces and peers (?ns, ?peer)", "use ?partition")
	}
	if p.partition == "" {
		p.partition = "default"
	}
	return nil
}

func unbuilt(what, instead string) error {
	return &statusError{http.StatusNotImplemented, what + " are not built yet in Holdfast: " + instead}
}

// consistency is how the read is to be served.
func (p *params) consistency() Consistency {
	switch {
	case p.consistent:
		return Consistent
	case p.stale:
		return Stale
	}
	return Default
}
