// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

// Config says which machines the nodes are, and how they are reached.
type Config struct {
	// Nodes are the machines, by the name of the node that each is.
	Nodes  map[string]Node
	Access Access
	// Replaceable says that whoever made the machines replaces them, and attaches to each the disks of its node: one that
	// knows nothing of a node that was made before is then taken for it, and no blank disk for one of its.
	// Users are made when such a machine starts.
	Replaceable bool
}

// Node is one machine. All that is text in it is public: it may be in a state or an import id.
type Node struct {
	User    string
	Address string // a name or an IP address, without a port
	Port    int    // 22
	// HostKeys are lines of known_hosts or fingerprints. Where there are none,
	// Access.KnownHosts says which key the machine has.
	HostKeys []string
	// MoreHostKeys, where not nil, asks a machine that shows none of HostKeys for all that it has told by
	// now: sshhost.HostKey.Again.
	MoreHostKeys func(context.Context) ([]string, error)
	// ClusterAddress is the IP address of the machine that its server binds and the
	// other nodes dial. It may be left out where Address is that.
	ClusterAddress string
}

// Access is how whoever applies logs in to all of them. Nothing of it belongs into a state.
type Access struct {
	Key        sshhost.Key
	KnownHosts string // a known_hosts file; "~/" is the home directory
	// Record adds the key of a machine that KnownHosts does not know to it.
	Record bool
	// Jump are the machines to go through, the first one first.
	Jump []sshhost.Endpoint
	// BootTimeout and AttemptTimeout are sshhost.Config's; 0 is its default.
	BootTimeout, AttemptTimeout time.Duration
}

var (
	errNodes     = errors.New("there is none")
	errName      = errors.New("names are letters, digits and hyphens, 63 at most, with a letter or digit at both ends")
	errNoIP      = errors.New("it is not the IP address of one machine")
	errNeedsIP   = errors.New("the address is a name, and cluster_address is empty")
	errSame      = errors.New("two nodes have it")
	errNoMachine = errors.New("no machine is configured for it")
)

var nameRE = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

// names are the nodes' names, sorted.
func (c Config) names() []string { return slices.Sorted(maps.Keys(c.Nodes)) }

// validate finds what can never work, without a look at any machine.
func (c Config) validate() error {
	if len(c.Nodes) == 0 {
		return &platform.Error{What: "the machines of the cluster are not known", Err: errNodes, Next: "Name the machine of every node."}
	}
	var found errs
	ssh, cluster := map[string]string{}, map[string]string{} // by address: whose it is
	for _, name := range c.names() {
		n := c.Nodes[name]
		wrong := func(field, value string, err error, next string) {
			found.add(name, &platform.Error{What: fmt.Sprintf("%s %q cannot be used", field, value), Err: err, Next: next})
		}
		if !nameRE.MatchString(name) {
			wrong("the name", name, errName, "Use another one.")
		}
		at := net.JoinHostPort(strings.ToLower(n.Address), strconv.Itoa(cmp.Or(n.Port, 22)))
		if other, ok := ssh[at]; ok {
			wrong("address", at, fmt.Errorf("%w: this one and %s", errSame, other), "Every node needs a machine of its own.")
		}
		ssh[at] = name
		ip, err := n.clusterAddress()
		if err != nil {
			wrong("cluster_address", cmp.Or(n.ClusterAddress, n.Address), err, "Set it to the IP address at which the other nodes reach the machine.")
			continue
		}
		if other, ok := cluster[ip]; ok {
			wrong("cluster_address", ip, fmt.Errorf("%w: this one and %s", errSame, other), "Every node needs a machine of its own.")
		}
		cluster[ip] = name
	}
	return found.join(len(c.Nodes))
}

// clusterAddress is what the node's server binds.
func (n Node) clusterAddress() (string, error) {
	ip, err := netip.ParseAddr(cmp.Or(n.ClusterAddress, n.Address))
	switch {
	case err != nil && n.ClusterAddress == "":
		return "", errNeedsIP
	case err != nil:
		return "", fmt.Errorf("%w: %w", errNoIP, err)
	case ip.IsUnspecified(), ip.IsMulticast():
		return "", errNoIP
	}
	return ip.Unmap().String(), nil
}

// host is the way to the machine. attempts may be nil.
func (c Config) host(n Node, attempts chan struct{}, progress func(string)) (*sshhost.Host, error) {
	way := c.Access.way(n)
	way.UserComes, way.Attempts, way.Progress = c.Replaceable, attempts, progress
	return sshhost.New(way)
}

// way is how a machine is reached.
func (a Access) way(n Node) sshhost.Config {
	key := sshhost.HostKey{Given: n.HostKeys, Again: n.MoreHostKeys}
	if len(n.HostKeys) == 0 {
		key = sshhost.HostKey{File: a.KnownHosts, Record: a.Record}
	}
	return sshhost.Config{
		Endpoint:       sshhost.Endpoint{User: n.User, Address: n.Address, Port: n.Port, Key: a.Key, HostKey: key},
		Jump:           a.Jump,
		AttemptTimeout: a.AttemptTimeout,
		BootTimeout:    a.BootTimeout,
		Bridge:         func(socket string) []string { return []string{binaryPath, "agent", "connect", socket} },
	}
}
