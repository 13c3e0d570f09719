// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"net/netip"
	"slices"

	"cloud.google.com/go/compute/apiv1/computepb"
)

func insertNetwork(s *Server, r *request) (answer, error) {
	n := &computepb.Network{}
	if err := r.decode(n); err != nil {
		return nil, err
	}
	self := s.ref(r)
	switch {
	case n.IPv4Range != nil || n.AutoCreateSubnetworks == nil:
		return nil, invalid("resource.autoCreateSubnetworks", "", "Legacy networks can no longer be created: set it to true or false.")
	case n.Mtu != nil && (n.GetMtu() < 1300 || n.GetMtu() > 8896):
		return nil, invalid("resource.mtu", fmt.Sprint(n.GetMtu()), "Must be between 1300 and 8896.")
	}
	if _, taken := s.mu.networks.find(self); taken {
		return nil, exists(self.path())
	}
	want := usage{"NETWORKS": 1}
	if n.GetAutoCreateSubnetworks() {
		want["SUBNETWORKS"] = float64(len(s.regions()))
	}
	if err := s.affordLocked("", want); err != nil {
		return nil, err
	}
	s.addNetworkLocked(n)
	return s.beginLocked(r, work{verb: "insert", target: self, id: n.GetId(), undo: func() { s.removeNetworkLocked(n) }}), nil
}

// addNetworkLocked fills what the server fills, and makes the subnetworks of a
// network in auto mode: 10.128.0.0/20 and the ranges that follow.
func (s *Server) addNetworkLocked(n *computepb.Network) {
	self := ref{s.config.Project, "global", "networks", n.GetName()}
	n.Kind, n.Id, n.SelfLink, n.CreationTimestamp = new("compute#network"), new(s.nextIDLocked()), new(self.link()), new(timestamp(s.config.Clock.Now()))
	n.SelfLinkWithId = new(ref{s.config.Project, "global", "networks", fmt.Sprint(n.GetId())}.link())
	if n.Mtu == nil {
		n.Mtu = new(int32(1460))
	}
	if n.RoutingConfig == nil {
		n.RoutingConfig = &computepb.NetworkRoutingConfig{RoutingMode: new("REGIONAL")}
	}
	s.mu.networks.put("global", n)
	if !n.GetAutoCreateSubnetworks() {
		return
	}
	for i, region := range s.regions() {
		s.addSubnetworkLocked(region, &computepb.Subnetwork{
			Name: new(n.GetName()), Network: new(self.link()), IpCidrRange: new(fmt.Sprintf("10.%d.%d.0/20", 128+i/16, i%16*16)),
		})
	}
}

func (s *Server) removeNetworkLocked(n *computepb.Network) {
	s.mu.networks.remove("global", n.GetName())
	for _, sub := range s.mu.subnetworks.in("") {
		if sub.GetNetwork() == n.GetSelfLink() {
			s.mu.subnetworks.remove("regions/"+lastPart(sub.GetRegion()), sub.GetName())
		}
	}
}

func deleteNetwork(s *Server, r *request) (answer, error) {
	self := s.ref(r)
	n, err := s.mu.networks.get(self)
	if err != nil {
		return nil, err
	}
	if err := s.readyLocked(self); err != nil {
		return nil, err
	}
	for _, f := range s.mu.firewalls.in("") {
		if f.GetNetwork() == n.GetSelfLink() {
			return nil, inUse("network", self.path(), ref{s.config.Project, "global", "firewalls", f.GetName()}.path())
		}
	}
	for _, sub := range s.mu.subnetworks.in("") {
		if sub.GetNetwork() == n.GetSelfLink() && !n.GetAutoCreateSubnetworks() {
			return nil, inUse("network", self.path(), "subnetworks/"+sub.GetName())
		}
	}
	if user := s.userOfLocked(func(nic *computepb.NetworkInterface) bool { return nic.GetNetwork() == n.GetSelfLink() }); user != "" {
		return nil, inUse("network", self.path(), user)
	}
	return s.beginLocked(r, work{verb: "delete", target: self, id: n.GetId(), commit: func() { s.removeNetworkLocked(n) }}), nil
}

// userOfLocked is the path of an instance with an interface that is meant, ""
// for none.
func (s *Server) userOfLocked(is func(*computepb.NetworkInterface) bool) string {
	for _, i := range s.mu.instances.in("") {
		if slices.ContainsFunc(i.GetNetworkInterfaces(), is) {
			return s.instanceRef(i).path()
		}
	}
	return ""
}

func getNetwork(s *Server, r *request) (answer, error) {
	n, err := s.mu.networks.get(s.ref(r))
	if err != nil {
		return nil, err
	}
	n.Subnetworks = nil
	for _, sub := range s.mu.subnetworks.in("") {
		if sub.GetNetwork() == n.GetSelfLink() {
			n.Subnetworks = append(n.Subnetworks, sub.GetSelfLink())
		}
	}
	return n, nil
}

func listNetworks(s *Server, r *request) (answer, error) {
	return list(r, &computepb.NetworkList{Kind: new("compute#networkList")}, s.mu.networks.in(""))
}

func insertSubnetwork(s *Server, r *request) (answer, error) {
	sub := &computepb.Subnetwork{}
	if err := r.decode(sub); err != nil {
		return nil, err
	}
	self := s.ref(r)
	network, err := s.networkLocked("resource.network", sub.GetNetwork())
	if err != nil {
		return nil, err
	}
	cidr, err := netip.ParsePrefix(sub.GetIpCidrRange())
	if err != nil || !cidr.Addr().Is4() || cidr != cidr.Masked() || cidr.Bits() > 29 || cidr.Bits() < 8 {
		return nil, invalid("resource.ipCidrRange", sub.GetIpCidrRange(), "Must be an IPv4 range of /8 to /29 that begins at its network's address.")
	}
	if _, taken := s.mu.subnetworks.find(self); taken {
		return nil, exists(self.path())
	}
	for _, other := range s.mu.subnetworks.in("") {
		theirs, err := netip.ParsePrefix(other.GetIpCidrRange())
		if err == nil && other.GetNetwork() == network.GetSelfLink() && theirs.Overlaps(cidr) {
			return nil, badRequest("invalid", "Invalid IPCidrRange: %s conflicts with existing subnetwork '%s' in region '%s'.", cidr, other.GetName(), lastPart(other.GetRegion()))
		}
	}
	if err := s.affordLocked("", usage{"SUBNETWORKS": 1}); err != nil {
		return nil, err
	}
	sub.Network = new(network.GetSelfLink())
	s.addSubnetworkLocked(r.params["region"], sub)
	return s.beginLocked(r, work{verb: "insert", target: self, id: sub.GetId(), undo: func() { s.mu.subnetworks.remove(self.scope, sub.GetName()) }}), nil
}

func (s *Server) addSubnetworkLocked(region string, sub *computepb.Subnetwork) {
	self := ref{s.config.Project, "regions/" + region, "subnetworks", sub.GetName()}
	sub.Kind, sub.Id, sub.SelfLink = new("compute#subnetwork"), new(s.nextIDLocked()), new(self.link())
	sub.CreationTimestamp, sub.Region = new(timestamp(s.config.Clock.Now())), new(s.regionLink(region))
	sub.Fingerprint = new(fingerprint(sub.GetIpCidrRange(), fmt.Sprint(sub.GetId())))
	if cidr, err := netip.ParsePrefix(sub.GetIpCidrRange()); err == nil {
		sub.GatewayAddress = new(cidr.Addr().Next().String())
	}
	if sub.Purpose == nil {
		sub.Purpose = new("PRIVATE")
	}
	if sub.StackType == nil {
		sub.StackType = new("IPV4_ONLY")
	}
	if sub.PrivateIpGoogleAccess == nil {
		sub.PrivateIpGoogleAccess = new(false)
	}
	s.mu.subnetworks.put(self.scope, sub)
}

func deleteSubnetwork(s *Server, r *request) (answer, error) {
	self := s.ref(r)
	sub, err := s.mu.subnetworks.get(self)
	if err != nil {
		return nil, err
	}
	if err := s.readyLocked(self); err != nil {
		return nil, err
	}
	if user := s.userOfLocked(func(nic *computepb.NetworkInterface) bool { return nic.GetSubnetwork() == sub.GetSelfLink() }); user != "" {
		return nil, inUse("subnetwork", self.path(), user)
	}
	return s.beginLocked(r, work{verb: "delete", target: self, id: sub.GetId(), commit: func() { s.mu.subnetworks.remove(self.scope, sub.GetName()) }}), nil
}

func getSubnetwork(s *Server, r *request) (answer, error) {
	sub, err := s.mu.subnetworks.get(s.ref(r))
	if err != nil {
		return nil, err
	}
	return sub, nil
}

func listSubnetworks(s *Server, r *request) (answer, error) {
	return list(r, &computepb.SubnetworkList{Kind: new("compute#subnetworkList")}, s.mu.subnetworks.in(r.scope()))
}

func aggregatedSubnetworks(s *Server, r *request) (answer, error) {
	return aggregated(s, r, &computepb.SubnetworkAggregatedList{Kind: new("compute#subnetworkAggregatedList")}, s.mu.subnetworks)
}

// networkLocked is the network that a field names, when it can be used.
func (s *Server) networkLocked(field, value string) (*computepb.Network, error) {
	if value == "" {
		return nil, required(field)
	}
	r, err := s.refField(field, value, "networks")
	if err != nil {
		return nil, err
	}
	if r.project != s.config.Project {
		return nil, forbidden("compute.networks.updatePolicy", r.path())
	}
	n, err := s.mu.networks.get(r)
	if err != nil {
		return nil, err
	}
	return n, s.readyLocked(r)
}
