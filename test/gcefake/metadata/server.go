// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package metadata is Compute Engine's metadata server, for machines that an emulator plays: each instance is told
// of by the address that asks.
//
// It has what Google's guest agent asks for: attributes, identity, disks, network interfaces and scheduling, one by one
// or recursively as JSON, with wait_for_change; and guest attributes, which instances write. Google's page "About VM
// metadata" is the source. Service accounts have no tokens here.
package metadata

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

const (
	root   = "/computeMetadata/v1/"
	flavor = "Metadata-Flavor"
	google = "Google"
	// attributesBelow begins the paths of guest attributes.
	attributesBelow = "instance/guest-attributes/"
	// longest is how long a client may wait for a change that does not say.
	longest = 5 * time.Minute
)

// Server serves the metadata of instances. The zero value is ready. Safe for concurrent use.
type Server struct {
	mu struct {
		sync.Mutex
		instances map[netip.Addr]*instance
	}
}

// instance is what is known of one. The server's mutex guards it.
type instance struct {
	tree    map[string]any
	changed chan struct{} // closed when tree was replaced, or the instance is gone
	guest   emulator.Guest
	written map[string]string // guest attributes, by namespace/key
}

// Set has the machine that asks from an address told what it is now.
func (s *Server) Set(address netip.Addr, m emulator.Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.instances == nil {
		s.mu.instances = map[netip.Addr]*instance{}
	}
	next := &instance{tree: treeOf(m), changed: make(chan struct{}), guest: m.Guest, written: map[string]string{}}
	if was := s.mu.instances[address]; was != nil {
		close(was.changed)
		next.written = was.written
	}
	s.mu.instances[address] = next
}

// Forget has nobody told anything from an address.
func (s *Server) Forget(address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.mu.instances[address]; was != nil {
		close(was.changed)
		delete(s.mu.instances, address)
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(flavor, google)
	w.Header().Set("Server", "Metadata Server for VM")
	path, ok := strings.CutPrefix(r.URL.Path, root)
	switch {
	case !ok:
		if r.URL.Path != "/" {
			http.NotFound(w, r)
		}
		return
	case r.Header.Get(flavor) != google || r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "Missing required header: "+flavor, http.StatusForbidden)
		return
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	address := from.Addr().Unmap()
	if rest, ok := strings.CutPrefix(path, attributesBelow); ok {
		s.attributes(w, r, address, rest)
		return
	}
	if r.Method != http.MethodGet {
		http.Error(w, "only guest attributes are written", http.StatusMethodNotAllowed)
		return
	}
	s.read(w, r, address, path)
}

// now is what an instance is told, and what is closed when that changes.
func (s *Server) now(address netip.Addr) (tree map[string]any, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.mu.instances[address]
	if i == nil {
		return nil, nil
	}
	return i.tree, i.changed
}

func (s *Server) read(w http.ResponseWriter, r *http.Request, address netip.Addr, path string) {
	q := r.URL.Query()
	wait := longest
	if n, err := strconv.Atoi(q.Get("timeout_sec")); err == nil && n >= 0 {
		wait = time.Duration(n) * time.Second
	}
	waiting := isTrue(q.Get("wait_for_change"))
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	for {
		tree, changed := s.now(address)
		text, json, ok := render(tree, path, isTrue(q.Get("recursive")), q.Get("alt"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		tag := etag(text)
		// Without a tag, what is waited for is the next change; with one, whatever differs from it.
		if waiting && (q.Get("last_etag") == "" || q.Get("last_etag") == tag) && ctx.Err() == nil {
			select {
			case <-changed:
				waiting = q.Get("last_etag") != ""
				continue
			case <-ctx.Done():
			}
			if r.Context().Err() != nil {
				return
			}
		}
		w.Header().Set("ETag", tag)
		w.Header().Set("Content-Type", "application/text")
		if json {
			w.Header().Set("Content-Type", "application/json")
		}
		_, _ = io.WriteString(w, text) // the client sees what comes
		return
	}
}

func isTrue(v string) bool { b, err := strconv.ParseBool(v); return err == nil && b }

func etag(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// render is what is at a path.
func render(tree map[string]any, path string, recursive bool, alt string) (text string, isJSON, ok bool) {
	var at any = tree
	if tree == nil {
		return "", false, false
	}
	whole := path == "" || strings.HasSuffix(path, "/")
	below := false // attributes: keys are other people's
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" {
			break
		}
		switch v := at.(type) {
		case map[string]any:
			if at, ok = v[part]; !ok {
				return "", false, false
			}
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 || n >= len(v) {
				return "", false, false
			}
			at = v[n]
		default:
			return "", false, false
		}
		below = below || part == "attributes"
	}
	switch v := at.(type) {
	case map[string]any:
		if recursive {
			return toJSON(camel(v, below)), true, true
		}
		return listing(slices.Sorted(maps.Keys(v)), func(k string) any { return v[k] }), false, whole || path == ""
	case []any:
		if recursive {
			return toJSON(camel(v, below)), true, true
		}
		var names []string
		for i := range v {
			names = append(names, strconv.Itoa(i))
		}
		return listing(names, func(k string) any { n, _ := strconv.Atoi(k); return v[n] }), false, true
	}
	if alt == "json" {
		return toJSON(at), true, true
	}
	return fmt.Sprint(at), false, true
}

// listing names what is in a directory, a line each.
func listing(names []string, at func(string) any) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString(n)
		switch at(n).(type) {
		case map[string]any, []any:
			b.WriteByte('/')
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a tree holds nothing that JSON does not know
	}
	return string(b)
}

// camel has the keys as JSON answers have them: networkInterfaces.
func camel(v any, below bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, value := range v {
			name := k
			if !below {
				name = camelKey(k)
			}
			out[name] = camel(value, below || k == "attributes")
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = camel(v[i], below)
		}
		return out
	}
	return v
}

func camelKey(k string) string {
	parts := strings.Split(k, "-")
	for i := 1; i < len(parts); i++ {
		if parts[i] != "" {
			parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
		}
	}
	return strings.Join(parts, "")
}

// attributes reads and writes guest attributes: namespace/key.
func (s *Server) attributes(w http.ResponseWriter, r *http.Request, address netip.Addr, path string) {
	const most = 4 << 10
	body, err := io.ReadAll(io.LimitReader(r.Body, most))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	i := s.mu.instances[address]
	s.mu.Unlock()
	namespace, key, ok := strings.Cut(path, "/")
	if i == nil || !ok || namespace == "" || key == "" {
		http.NotFound(w, r)
		return
	}
	switch r.Method {
	case http.MethodPut:
		if !i.guest.SetAttribute(namespace, key, string(body)) {
			http.Error(w, "Guest attributes endpoint access is disabled.", http.StatusForbidden)
			return
		}
		s.mu.Lock()
		i.written[path] = string(body)
		s.mu.Unlock()
	case http.MethodGet:
		s.mu.Lock()
		value, ok := i.written[path]
		s.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, value) // the client sees what comes
	default:
		http.Error(w, "guest attributes are read and put", http.StatusMethodNotAllowed)
	}
}
