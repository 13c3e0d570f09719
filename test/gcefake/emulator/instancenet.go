// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// planInterfacesLocked decides the network, subnetwork and addresses of a new
// instance's interfaces, and fills them in.
func (s *Server) planInterfacesLocked(i *computepb.Instance, self ref) error {
	networks := map[string]bool{}
	for n, nic := range i.GetNetworkInterfaces() {
		field := fmt.Sprintf("resource.networkInterfaces[%d]", n)
		sub, err := s.subnetworkLocked(field, nic, self)
		if err != nil {
			return err
		}
		if networks[sub.GetNetwork()] {
			return invalid(field+".network", sub.GetNetwork(), "Networks must be distinct for NICs in the same instance.")
		}
		networks[sub.GetNetwork()] = true
		address, err := s.addressLocked(field, sub, nic.GetNetworkIP())
		if err != nil {
			return err
		}
		if len(nic.GetAccessConfigs()) > 1 {
			return invalid(field+".accessConfigs", fmt.Sprint(len(nic.GetAccessConfigs())), "At most one access config currently supported.")
		}
		for _, c := range nic.GetAccessConfigs() {
			if c.NatIP != nil {
				return invalid(field+".accessConfigs[0].natIP", c.GetNatIP(), "Reserved addresses are not emulated.")
			}
			c.Kind = new("compute#accessConfig")
			if c.Type == nil {
				c.Type = new("ONE_TO_ONE_NAT")
			}
			if c.Name == nil {
				c.Name = new("External NAT")
			}
			if c.NetworkTier == nil {
				c.NetworkTier = new("PREMIUM")
			}
			c.NatIP = new(s.externalLocked())
		}
		nic.Kind, nic.Name, nic.NetworkIP = new("compute#networkInterface"), new(fmt.Sprintf("nic%d", n)), new(address.String())
		nic.Network, nic.Subnetwork = new(sub.GetNetwork()), new(sub.GetSelfLink())
		nic.Fingerprint = new(fingerprint(self.path(), address.String()))
		if nic.StackType == nil {
			nic.StackType = new("IPV4_ONLY")
		}
	}
	return nil
}

// subnetworkLocked is the one that an interface is to be in: the one it names,
// or the region's of a network in auto mode.
func (s *Server) subnetworkLocked(field string, nic *computepb.NetworkInterface, self ref) (*computepb.Subnetwork, error) {
	region := regionOf(self.zone())
	if nic.Subnetwork == nil {
		name := nic.GetNetwork()
		if name == "" {
			name = "global/networks/default"
		}
		network, err := s.networkLocked(field+".network", name)
		if err != nil {
			return nil, err
		}
		if !network.GetAutoCreateSubnetworks() {
			return nil, invalid(field, network.GetName(), "Subnetwork should be specified for custom subnetmode network")
		}
		return s.mu.subnetworks.get(ref{s.config.Project, "regions/" + region, "subnetworks", network.GetName()})
	}
	r, err := s.refField(field+".subnetwork", nic.GetSubnetwork(), "subnetworks")
	if err != nil {
		return nil, err
	}
	if r.project != s.config.Project {
		return nil, forbidden("compute.subnetworks.use", r.path())
	}
	if r.regionName() != region {
		return nil, invalid(field+".subnetwork", nic.GetSubnetwork(), "The referenced subnetwork resource must be in region '%s', the instance's.", region)
	}
	sub, err := s.mu.subnetworks.get(r)
	if err != nil {
		return nil, err
	}
	if err := s.readyLocked(r); err != nil {
		return nil, err
	}
	if nic.Network != nil {
		network, err := s.networkLocked(field+".network", nic.GetNetwork())
		if err != nil {
			return nil, err
		}
		if network.GetSelfLink() != sub.GetNetwork() {
			return nil, invalid(field+".network", nic.GetNetwork(), "The referenced subnetwork is not of this network.")
		}
	}
	return sub, nil
}

// addressLocked is the wanted address of a subnetwork, or its first free one.
// The first two and the last two are not for instances.
func (s *Server) addressLocked(field string, sub *computepb.Subnetwork, want string) (netip.Addr, error) {
	cidr, err := netip.ParsePrefix(sub.GetIpCidrRange())
	if err != nil {
		return netip.Addr{}, err
	}
	taken := map[netip.Addr]string{}
	for _, i := range s.mu.instances.in("") {
		for _, nic := range i.GetNetworkInterfaces() {
			if a, err := netip.ParseAddr(nic.GetNetworkIP()); err == nil && nic.GetNetwork() == sub.GetNetwork() {
				taken[a] = s.instanceRef(i).path()
			}
		}
	}
	base := cidr.Addr().As4()
	first, size := binary.BigEndian.Uint32(base[:]), uint32(1)<<(32-cidr.Bits())
	usable := func(offset uint32) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, first+offset)))
	}
	if want != "" {
		a, err := netip.ParseAddr(want)
		switch {
		case err != nil || a.Less(usable(2)) || !a.Less(usable(size-2)):
			return a, invalid(field+".networkIP", want, "The requested IP address is outside the subnetwork's usable range %s.", cidr)
		case taken[a] != "":
			return a, &HTTPError{Status: 400, Reason: "invalid", Message: fmt.Sprintf("IP '%s' is already being used by another resource: %s", want, taken[a])}
		}
		return a, nil
	}
	for offset := uint32(2); offset < size-2; offset++ {
		if a := usable(offset); taken[a] == "" {
			return a, nil
		}
	}
	return netip.Addr{}, badRequest("ipSpaceExhausted", "IP space of '%s' is exhausted.", sub.GetSelfLink())
}

// externalLocked is an external address that no instance has: of 198.18.0.0/15,
// which no network routes.
func (s *Server) externalLocked() string {
	s.mu.serial++
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 198<<24|18<<16+uint32(s.mu.serial%(1<<17))))).String()
}
