// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func insertFirewall(s *Server, r *request) (answer, error) {
	f := &computepb.Firewall{}
	if err := r.decode(f); err != nil {
		return nil, err
	}
	self := s.ref(r)
	if f.Network == nil {
		f.Network = new("global/networks/default")
	}
	network, err := s.networkLocked("resource.network", f.GetNetwork())
	if err != nil {
		return nil, err
	}
	if f.Direction == nil {
		f.Direction = new("INGRESS")
	}
	if err := checkFirewall(f); err != nil {
		return nil, err
	}
	if _, taken := s.mu.firewalls.find(self); taken {
		return nil, exists(self.path())
	}
	if err := s.affordLocked("", usage{"FIREWALLS": 1}); err != nil {
		return nil, err
	}
	fillFirewall(f)
	f.Kind, f.Id, f.SelfLink = new("compute#firewall"), new(s.nextIDLocked()), new(self.link())
	f.CreationTimestamp, f.Network = new(timestamp(s.config.Clock.Now())), new(network.GetSelfLink())
	s.mu.firewalls.put("global", f)
	return s.beginLocked(r, work{verb: "insert", target: self, id: f.GetId(), undo: func() { s.mu.firewalls.remove("global", f.GetName()) }}), nil
}

// fillFirewall sets what the server sets unasked.
func fillFirewall(f *computepb.Firewall) {
	if f.Priority == nil {
		f.Priority = new(int32(1000))
	}
	if f.Disabled == nil {
		f.Disabled = new(false)
	}
	if f.LogConfig == nil {
		f.LogConfig = &computepb.FirewallLogConfig{Enable: new(false)}
	}
	if f.GetDirection() == "INGRESS" && len(f.GetSourceRanges())+len(f.GetSourceTags())+len(f.GetSourceServiceAccounts()) == 0 {
		f.SourceRanges = []string{"0.0.0.0/0"}
	}
	if f.GetDirection() == "EGRESS" && len(f.GetDestinationRanges()) == 0 {
		f.DestinationRanges = []string{"0.0.0.0/0"}
	}
}

// protocols that a rule may name; numbers stand for the rest.
var protocols = []string{"tcp", "udp", "icmp", "esp", "ah", "sctp", "ipip", "all"}

// checkFirewall decides what a rule may be, by itself.
func checkFirewall(f *computepb.Firewall) error {
	switch {
	case len(f.GetAllowed()) == 0 && len(f.GetDenied()) == 0:
		return invalid("resource.allowed", "", "A rule allows or denies something.")
	case len(f.GetAllowed()) > 0 && len(f.GetDenied()) > 0:
		return invalid("resource.denied", "", "A rule cannot both allow and deny.")
	case f.GetPriority() < 0 || f.GetPriority() > 65535:
		return invalid("resource.priority", fmt.Sprint(f.GetPriority()), "Must be between 0 and 65535.")
	case f.GetDirection() == "EGRESS" && len(f.GetSourceTags())+len(f.GetSourceServiceAccounts())+len(f.GetSourceRanges()) > 0:
		return invalid("resource.sourceTags", "", "Sources are for rules of direction INGRESS.")
	case len(f.GetSourceServiceAccounts()) > 0 && len(f.GetSourceTags())+len(f.GetTargetTags()) > 0,
		len(f.GetTargetServiceAccounts()) > 0 && len(f.GetSourceTags())+len(f.GetTargetTags()) > 0:
		return invalid("resource.sourceServiceAccounts", "", "Service accounts and tags cannot be used in one rule.")
	}
	for i, a := range f.GetAllowed() {
		if err := checkPorts(fmt.Sprintf("resource.allowed[%d]", i), a.GetIPProtocol(), a.GetPorts()); err != nil {
			return err
		}
	}
	for i, d := range f.GetDenied() {
		if err := checkPorts(fmt.Sprintf("resource.denied[%d]", i), d.GetIPProtocol(), d.GetPorts()); err != nil {
			return err
		}
	}
	for _, text := range slices.Concat(f.GetSourceRanges(), f.GetDestinationRanges()) {
		if _, err := netip.ParseAddr(text); err == nil {
			continue
		}
		if p, err := netip.ParsePrefix(text); err != nil || p != p.Masked() {
			return invalid("resource.sourceRanges", text, "Must be a valid CIDR range.")
		}
	}
	for _, tag := range slices.Concat(f.GetSourceTags(), f.GetTargetTags()) {
		if !rfc1035.MatchString(tag) {
			return invalid("resource.targetTags", tag, "Must be a match of regex '%s'.", rfc1035)
		}
	}
	return nil
}

func checkPorts(field, protocol string, ports []string) error {
	if protocol == "" {
		return required(field + ".IPProtocol")
	}
	number, err := strconv.Atoi(protocol)
	if !slices.Contains(protocols, strings.ToLower(protocol)) && (err != nil || number < 0 || number > 255) {
		return invalid(field+".IPProtocol", protocol, "Must be a protocol's name or number.")
	}
	if len(ports) > 0 && !slices.Contains([]string{"tcp", "udp", "sctp", "6", "17", "132"}, strings.ToLower(protocol)) {
		return invalid(field+".ports", ports[0], "Only TCP, UDP and SCTP have ports.")
	}
	for _, text := range ports {
		from, to, isRange := strings.Cut(text, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || a < 0 || b > 65535 || a > b {
			return invalid(field+".ports", text, "Must be a port or a range of ports.")
		}
	}
	return nil
}

// patchFirewall sets the fields that the body has, and leaves the others.
func patchFirewall(s *Server, r *request) (answer, error) {
	self := s.ref(r)
	patch := &computepb.Firewall{}
	if err := r.decode(patch); err != nil {
		return nil, err
	}
	f, err := s.mu.firewalls.get(self)
	if err != nil {
		return nil, err
	}
	if err := s.readyLocked(self); err != nil {
		return nil, err
	}
	if patch.GetName() != f.GetName() {
		return nil, invalid("resource.name", patch.GetName(), "A rule cannot be renamed.")
	}
	if patch.Network != nil {
		n, err := s.networkLocked("resource.network", patch.GetNetwork())
		if err != nil {
			return nil, err
		}
		if n.GetSelfLink() != f.GetNetwork() {
			return nil, invalid("resource.network", patch.GetNetwork(), "A rule's network cannot be changed.")
		}
		patch.Network = nil
	}
	if patch.Direction != nil && patch.GetDirection() != f.GetDirection() {
		return nil, invalid("resource.direction", patch.GetDirection(), "A rule's direction cannot be changed.")
	}
	next, ok := proto.Clone(f).(*computepb.Firewall)
	if !ok {
		return nil, fmt.Errorf("a copy of %T is none", f)
	}
	overwrite(next, patch)
	if err := checkFirewall(next); err != nil {
		return nil, err
	}
	fillFirewall(next)
	return s.beginLocked(r, work{verb: "patch", target: self, id: f.GetId(), commit: func() { s.mu.firewalls.put("global", next) }}), nil
}

// overwrite sets in a message the fields that a patch has. A list replaces the
// list.
func overwrite(m, patch proto.Message) {
	patch.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		m.ProtoReflect().Set(field, value)
		return true
	})
}

func deleteFirewall(s *Server, r *request) (answer, error) {
	self := s.ref(r)
	f, err := s.mu.firewalls.get(self)
	if err != nil {
		return nil, err
	}
	if err := s.readyLocked(self); err != nil {
		return nil, err
	}
	return s.beginLocked(r, work{verb: "delete", target: self, id: f.GetId(), commit: func() { s.mu.firewalls.remove("global", f.GetName()) }}), nil
}

func getFirewall(s *Server, r *request) (answer, error) {
	f, err := s.mu.firewalls.get(s.ref(r))
	if err != nil {
		return nil, err
	}
	return f, nil
}

func listFirewalls(s *Server, r *request) (answer, error) {
	return list(r, &computepb.FirewallList{Kind: new("compute#firewallList")}, s.mu.firewalls.in(""))
}
