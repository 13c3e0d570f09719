// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/ssh"
)

// Config is a cluster's place and what it is made of there.
type Config struct {
	Place
	Machines
}

// Place is where a cluster is and how it is reached: enough to observe it and to destroy it. None of
// it but Project and Cluster belongs into a state.
type Place struct {
	Project string
	Cluster string // the cluster's name: with the project, the place where it is

	API API
	// Access is how machines are logged in to. Where Access.KnownHosts is set, it says
	// which keys machines have, and they are not asked of the guest attributes.
	Access ssh.Access
	// BootTimeout is for how long a new machine may take to tell its host keys. 5 min.
	BootTimeout time.Duration
	// Connect makes what goes on on machines that have addresses; nil is package ssh.
	Connect func(ssh.Config) (Reached, error)
}

// Reached is the platform of machines that can be reached.
type Reached interface {
	platform.Platform
	io.Closer
}

// Machines says what a cluster is made of. Sizes of disks are in platform.Cluster.
type Machines struct {
	Nodes map[string]Node

	// Network is a name, or a path as "global/networks/n". It may be left out where every
	// node has a subnetwork.
	Network string
	// MachineType, Image and BootDisk hold for nodes that have none of their own. Image is a
	// path: "projects/debian-cloud/global/images/family/debian-12".
	MachineType string
	Image       string
	BootDisk    string // type; pd-balanced, or hyperdisk-balanced where the machine takes no other
	BootSizeGB  int64  // 0: the image's

	// Stores are the kinds of the data disks, in the order of Cluster.Stores; the last one holds
	// for those that follow. SideDisk is that of the side.
	Stores   []DiskKind
	SideDisk DiskKind

	// ServiceAccount is the machines' identity; empty: they have none. Scopes are
	// what its tokens may do: cloud-platform, which leaves that to IAM.
	ServiceAccount string
	Scopes         []string
	Labels         map[string]string // of instances and disks, beside the cluster's own
	Tags           []string          // of instances, beside the cluster's own
	// External gives every machine an external address, by which it is then reached.
	External bool
	// DeletionProtection keeps the instances from being deleted, and Destroy from beginning.
	DeletionProtection bool

	// SSHRanges may reach port 22 of the machines; none: no rule is made for it.
	SSHRanges []string
	// ByServiceAccount has the rules name the machines by their service account instead
	// of by a network tag. Whoever may use the account is then one of the nodes.
	ByServiceAccount bool

	// User is put into the metadata with PublicKey, a line of authorized_keys, for logging in. Without a
	// key it is the public half of Access.Key, on machines that are made; see login.go.
	User      string
	PublicKey string

	// Disrupt, which may be nil, is asked before a machine is stopped or replaced, one at a time. It
	// returns when the cluster can do without that node. By then every other node has its machine
	// with an agent that answers, as Ensure leaves it; some may be new, and know of no spec yet. Of the
	// node itself machines has the address alone.
	Disrupt func(ctx context.Context, node string, machines map[string]platform.Machine) error
}

// Node is one node's machine. What is left out is the cluster's.
type Node struct {
	Zone string
	// Subnetwork is a path, "regions/r/subnetworks/s", or a name in the zone's region.
	Subnetwork  string
	MachineType string
	Image       string
	// Address is the internal address. Empty: the one that the node's disks remember, or any.
	Address string
}

// DiskKind is a kind of disk. IOPS and throughput are provisioned ones, 0 is what the
// type gives unasked.
type DiskKind struct {
	Type           string
	IOPS           int64
	ThroughputMiBs int64
}

// API is how the API is reached. Nothing of it belongs into a state.
type API struct {
	// Credentials are JSON as gcloud and the console write it: a service account's key, for one. Empty: what Google's libraries find.
	Credentials []byte
	// Endpoint is another one than Google's. Without Credentials nobody logs in to it.
	Endpoint string
	// RetryFor is for how long a call is repeated that the API is not well enough for. 3 min.
	RetryFor time.Duration
}

var (
	errNoNodes   = errors.New("there is none")
	errName      = errors.New("not lower-case letters, digits and hyphens, with a letter first and no hyphen last, 63 at most")
	errNode      = errors.New("not lower-case letters, digits and hyphens, with no hyphen at the ends, 63 at most")
	errZone      = errors.New("not the name of a zone, like us-east4-a")
	errEmpty     = errors.New("it is empty")
	errPath      = errors.New("not a path: [projects/P/]global/images/NAME, or …/images/family/NAME")
	errRange     = errors.New("not a range of addresses, like 203.0.113.0/24")
	errLabel     = errors.New("a label has lower-case letters, digits, - and _, 63 at most, its key a letter first")
	errReserved  = errors.New("labels that begin with holdfast- are the cluster's own")
	errSameName  = errors.New("two disks would have one name")
	errNoAccount = errors.New("there is no service account to name them by")
	errKey       = errors.New("not a line of authorized_keys")
	errAddress   = errors.New("not an IPv4 address")
)

var (
	nameRE  = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	nodeRE  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	zoneRE  = regexp.MustCompile(`^[a-z]+-[a-z]+[0-9]+-[a-z]$`)
	imageRE = regexp.MustCompile(`^(https://(www|compute)\.googleapis\.com/compute/v1/)?(projects/[a-z0-9.:-]+/)?global/images/(family/)?[a-z0-9-]+$`)
	keyRE   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	valueRE = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
)

const defaultScope = "https://www.googleapis.com/auth/cloud-platform"

func (c Config) withDefaults() Config {
	c.BootTimeout = cmp.Or(c.BootTimeout, 5*time.Minute)
	if c.Connect == nil {
		c.Connect = func(c ssh.Config) (Reached, error) { return ssh.New(c) }
	}
	c.API.RetryFor = cmp.Or(c.API.RetryFor, 3*time.Minute)
	if len(c.Scopes) == 0 {
		c.Scopes = []string{defaultScope}
	}
	nodes := map[string]Node{}
	for name, n := range c.Nodes {
		n.MachineType = cmp.Or(n.MachineType, c.MachineType)
		n.Image = cmp.Or(n.Image, c.Image)
		nodes[name] = n
	}
	c.Nodes = nodes
	return c
}

// validate finds what can never work, without asking anybody. It is told together.
func (c Config) validate() error {
	var all problems
	wrong := func(field, value string, err error, next string) {
		all.add(&platform.Error{What: strings.TrimSpace(fmt.Sprintf("%s %q cannot be used", field, value)), Err: err, Next: next})
	}
	check := func(field, value string, ok bool, err error, next string) {
		switch {
		case value == "":
			wrong(field, value, errEmpty, next)
		case !ok:
			wrong(field, value, err, next)
		}
	}
	all.add(c.Place.validate())
	check("user", c.User, !strings.ContainsAny(c.User, ": \t\r\n"), errName, "Name the user to log in as.")
	if c.PublicKey != "" {
		check("the public key", c.PublicKey, len(strings.Fields(c.PublicKey)) >= 2 && !strings.ContainsAny(c.PublicKey, "\r\n"), errKey, "Give the key's public half.")
	}
	check("side_disk.type", c.SideDisk.Type, true, nil, "Name the type.")
	if len(c.Stores) == 0 {
		wrong("stores", "", errEmpty, "Say of which type the data disks are.")
	}
	for i, s := range c.Stores {
		check(fmt.Sprintf("stores[%d].type", i), s.Type, true, nil, "Name the type.")
	}
	if len(c.Nodes) == 0 {
		wrong("nodes", "", errNoNodes, "Name the nodes.")
	}
	c.checkNodes(check)
	for _, r := range c.SSHRanges {
		p, err := netip.ParsePrefix(r)
		check("the range for SSH", r, err == nil && p == p.Masked(), errRange, "Write it with its length, beginning at its first address.")
	}
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		if strings.HasPrefix(k, "holdfast-") {
			wrong("label", k, errReserved, "Use another key.")
		} else if !keyRE.MatchString(k) || !valueRE.MatchString(c.Labels[k]) {
			wrong("label", k+"="+c.Labels[k], errLabel, "Use another one.")
		}
	}
	for _, t := range c.Tags {
		check("tag", t, nameRE.MatchString(t), errName, "Use another one.")
	}
	if c.ByServiceAccount && c.ServiceAccount == "" {
		wrong("firewall by service account", "", errNoAccount, "Give the machines one, or leave the rules to network tags.")
	}
	return all.join("the cluster cannot be made on Compute Engine as it is configured")
}

// validate finds what can be no place.
func (p Place) validate() error {
	switch {
	case p.Project == "":
		return &platform.Error{What: "project \"\" cannot be used", Err: errEmpty, Next: "Name the project."}
	case !nameRE.MatchString(p.Cluster):
		return &platform.Error{What: fmt.Sprintf("the cluster's name %q cannot be used", p.Cluster), Err: errName, Next: "Google's names are like that: use another one."}
	}
	return nil
}

func (c Config) checkNodes(check func(field, value string, ok bool, err error, next string)) {
	disks := map[string]string{}
	for _, name := range c.names() {
		n, at := c.Nodes[name], "node "+name+": "
		check("the node's name", name, nodeRE.MatchString(name), errNode, "Google's names are like that: use another one.")
		check(at+"zone", n.Zone, zoneRE.MatchString(n.Zone), errZone, "Name the zone.")
		check(at+"machine type", n.MachineType, nameRE.MatchString(n.MachineType), errName, "Name the machine type, like c3-standard-4.")
		check(at+"image", n.Image, imageRE.MatchString(n.Image), errPath, "Name the image by its path.")
		if n.Subnetwork == "" {
			check(at+"network", c.Network, true, nil, "Name the network, or the node's subnetwork.")
		}
		if n.Address != "" {
			a, err := netip.ParseAddr(n.Address)
			check(at+"address", n.Address, err == nil && a.Is4(), errAddress, "Give one of the subnetwork, or leave it out.")
		}
		// A boot disk has the instance's name, which may end as another node's disk's does.
		for _, d := range []string{instanceName(c.Cluster, name), diskName(c.Cluster, name, sideRole), diskName(c.Cluster, name, dataRole(0)), diskName(c.Cluster, name, dataRole(1)), diskName(c.Cluster, name, dataRole(2))} {
			if other, taken := disks[n.Zone+"/"+d]; taken {
				check(at+"name", name, false, fmt.Errorf("%w: %s, with node %s", errSameName, d, other), "Use another name for one of them.")
			}
			disks[n.Zone+"/"+d] = name
		}
	}
}

// names are the nodes' names, sorted.
func (c Config) names() []string { return slices.Sorted(maps.Keys(c.Nodes)) }

// store is the kind of the i-th data disk.
func (c Config) store(i int) DiskKind { return c.Stores[min(i, len(c.Stores)-1)] }

// boot is the type of the boot disk of a machine of a type.
func (c Config) boot(machineType string) string {
	if c.BootDisk == "" && !takes(machineType, "pd-balanced") {
		return "hyperdisk-balanced"
	}
	return cmp.Or(c.BootDisk, "pd-balanced")
}

// regionOf is the region of a zone: us-east4 of us-east4-a.
func regionOf(zone string) string {
	if i := strings.LastIndexByte(zone, '-'); i >= 0 {
		return zone[:i]
	}
	return zone
}
