// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// serialLimit is how much of a serial port's output is kept.
const serialLimit = 1 << 20

// guest is what the guest of one instance has made visible. What it holds is
// guarded by the server's mutex.
type guest struct {
	server     *Server
	instance   ref
	id         uint64
	ports      [5]serialPort     // 1 to 4
	attributes map[string]string // by namespace/key
}

// serialPort is the output of a port: its last bytes, and how many were
// written before them.
type serialPort struct {
	dropped int64
	text    []byte
}

var _ Guest = (*guest)(nil)

// Guest returns the guest of an instance, nil when there is no such instance:
// for tests that play the machine themselves.
func (s *Server) Guest(zone, instance string) Guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.mu.instances.find(ref{s.config.Project, "zones/" + zone, "instances", instance})
	if !ok {
		return nil
	}
	return s.mu.guests[i.GetId()]
}

// Serial implements Guest.
func (g *guest) Serial(port int) io.Writer { return serialWriter{g, port} }

type serialWriter struct {
	guest *guest
	port  int
}

func (w serialWriter) Write(p []byte) (int, error) {
	s := w.guest.server
	s.mu.Lock()
	defer s.mu.Unlock()
	port := &w.guest.ports[w.port]
	port.text = append(port.text, p...)
	if over := len(port.text) - serialLimit; over > 0 {
		port.dropped += int64(over)
		port.text = slices.Clone(port.text[over:])
	}
	return len(p), nil
}

// SetAttribute implements Guest.
func (g *guest) SetAttribute(namespace, key, value string) bool {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	if !g.allowsAttributesLocked() {
		return false
	}
	if g.attributes == nil {
		g.attributes = map[string]string{}
	}
	g.attributes[namespace+"/"+key] = value
	return true
}

func (g *guest) allowsAttributesLocked() bool {
	i, ok := g.server.mu.instances.find(g.instance)
	if !ok || i.GetId() != g.id {
		return false
	}
	for _, item := range i.GetMetadata().GetItems() {
		if item.GetKey() == "enable-guest-attributes" {
			on, err := strconv.ParseBool(strings.ToLower(item.GetValue()))
			return err == nil && on
		}
	}
	return false
}

// PoweredOff implements Guest. While an operation is at work on the instance,
// that decides what becomes of it.
func (g *guest) PoweredOff() {
	s := g.server
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.mu.instances.find(g.instance)
	if ok && i.GetId() == g.id && i.GetStatus() == "RUNNING" && s.mu.busy[g.instance.path()] == nil {
		s.terminatedLocked(i)
	}
}

func getSerialPortOutput(s *Server, r *request) (answer, error) {
	self := s.ref(r)
	i, err := s.mu.instances.get(self)
	if err != nil {
		return nil, err
	}
	port, start := 1, int64(0)
	if text := r.query.Get("port"); text != "" {
		if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 4 {
			return nil, invalid("port", text, "Must be between 1 and 4.")
		}
	}
	if text := r.query.Get("start"); text != "" {
		if start, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, invalid("start", text, "Must be a number.")
		}
	}
	if i.GetStatus() != "RUNNING" && i.GetStatus() != "PROVISIONING" && i.GetStatus() != "STOPPING" {
		return nil, notReady(self.path())
	}
	out := s.mu.guests[i.GetId()].ports[port]
	end := out.dropped + int64(len(out.text))
	if start < 0 { // counted from the end
		start = end + start
	}
	start = min(max(start, out.dropped), end)
	return &computepb.SerialPortOutput{
		Kind: new("compute#serialPortOutput"), SelfLink: new(self.link() + "/serialPort"),
		Contents: new(strings.ToValidUTF8(string(out.text[start-out.dropped:]), "\uFFFD")), Start: new(start), Next: new(end),
	}, nil
}

func getGuestAttributes(s *Server, r *request) (answer, error) {
	self := s.ref(r)
	i, err := s.mu.instances.get(self)
	if err != nil {
		return nil, err
	}
	g := s.mu.guests[i.GetId()]
	if !g.allowsAttributesLocked() {
		return nil, &HTTPError{Status: http.StatusForbidden, Reason: "forbidden", Message: "Guest attributes endpoint access is disabled."}
	}
	out := &computepb.GuestAttributes{Kind: new("compute#guestAttributes"), SelfLink: new(self.link() + "/getGuestAttributes")}
	if key := r.query.Get("variableKey"); key != "" {
		value, ok := g.attributes[key]
		if !ok {
			return nil, attributeNotFound(key)
		}
		out.VariableKey, out.VariableValue = &key, &value
		return out, nil
	}
	query := r.query.Get("queryPath")
	if query == "" {
		return nil, required("queryPath")
	}
	out.QueryPath = &query
	out.QueryValue = &computepb.GuestAttributesValue{}
	for _, path := range slices.Sorted(maps.Keys(g.attributes)) {
		if namespace, key, _ := strings.Cut(path, "/"); path == query || namespace+"/" == query {
			out.QueryValue.Items = append(out.QueryValue.Items, &computepb.GuestAttributesEntry{Namespace: &namespace, Key: &key, Value: new(g.attributes[path])})
		}
	}
	if len(out.QueryValue.Items) == 0 {
		return nil, attributeNotFound(query)
	}
	return out, nil
}

func attributeNotFound(path string) error {
	return &HTTPError{Status: http.StatusNotFound, Reason: "notFound", Message: "The resource '" + path + "' of type 'Guest Attribute' was not found."}
}
