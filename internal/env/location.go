// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package env

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Location is where a cluster is: a directory of this machine, machines that are
// reached over SSH, or a project of Google's. Nothing in it is secret. One of Directory, Machines and Project is set.
type Location struct {
	Directory string
	// Machines are by the name of their node.
	Machines map[string]Machine
	// Project has the cluster of the name Cluster on Compute Engine; there it has no other name.
	Project, Cluster string
}

// Remote tells whether its nodes are machines of their own.
func (l Location) Remote() bool { return l.Machines != nil || l.Project != "" }

// Machine is a machine that is reached over SSH.
type Machine struct {
	User    string
	Address string // name or IP address, as Normal has it
	Port    int
	// ClusterAddress is the IP address that the other nodes and clients use; empty is Address.
	ClusterAddress string
	// HostKeys are its keys, "ssh-ed25519 SHA256:…" or "SHA256:…"; none are those of
	// the provider's known_hosts file.
	HostKeys []string
}

const (
	localPrefix = "local:"
	sshPrefix   = "ssh:"
	gcePrefix   = "gce:"
	sshPort     = 22
)

// LocationForm tells how a location is written.
const LocationForm = "local:DIRECTORY, or gce:PROJECT/CLUSTER, or ssh:NODE=USER@ADDRESS[:PORT][/CLUSTER_ADDRESS][#SHA256:FINGERPRINT],…"

// Cluster is the address that the other nodes use.
func (m Machine) Cluster() string { return cmp.Or(m.ClusterAddress, m.Address) }

// String is the one text of the location: the identity of a cluster, and what it is
// imported by.
//
//	local:/srv/orders
//	gce:acme-prod/orders
//	ssh:a=ops@10.0.0.1,b=ops@b.example.com:2222/10.0.0.2#ssh-ed25519:SHA256:…
func (l Location) String() string {
	switch {
	case l.Project != "":
		return gcePrefix + l.Project + "/" + l.Cluster
	case l.Machines == nil:
		return localPrefix + l.Directory
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(l.Machines)) {
		all = append(all, name+"="+l.Machines[name].text())
	}
	return sshPrefix + strings.Join(all, ",")
}

func (m Machine) text() string {
	var b strings.Builder
	b.WriteString(m.User + "@")
	switch {
	case cmp.Or(m.Port, sshPort) != sshPort:
		b.WriteString(net.JoinHostPort(m.Address, strconv.Itoa(m.Port)))
	case strings.Contains(m.Address, ":"):
		b.WriteString("[" + m.Address + "]")
	default:
		b.WriteString(m.Address)
	}
	if c := m.Cluster(); c != m.Address {
		b.WriteString("/" + c)
	}
	for _, k := range m.HostKeys {
		b.WriteString("#" + strings.ReplaceAll(k, " ", ":"))
	}
	return b.String()
}

// ParseLocation is the opposite of String. A directory is made absolute.
func ParseLocation(text string) (Location, error) {
	if directory, ok := strings.CutPrefix(text, localPrefix); ok && directory != "" {
		abs, err := filepath.Abs(directory)
		return Location{Directory: abs}, err
	}
	if at, ok := strings.CutPrefix(text, gcePrefix); ok {
		return parseProject(at)
	}
	list, ok := strings.CutPrefix(text, sshPrefix)
	if !ok || list == "" {
		return Location{}, fmt.Errorf("%q is not the location of a cluster: write %s", text, LocationForm)
	}
	l := Location{Machines: map[string]Machine{}}
	for one := range strings.SplitSeq(list, ",") {
		name, rest, _ := strings.Cut(one, "=")
		m, err := parseMachine(rest)
		if err == nil && !nodeRE.MatchString(name) {
			err = errors.New("the name of its node is not a DNS label in lower case")
		}
		if err == nil && l.Machines[name].Address != "" {
			err = errors.New("the node is named twice")
		}
		if err != nil {
			return Location{}, fmt.Errorf("%q in the location of a cluster: %w: write %s", one, err, LocationForm)
		}
		l.Machines[name] = m
	}
	return l, nil
}

// parseProject reads PROJECT/CLUSTER.
func parseProject(text string) (Location, error) {
	project, cluster, _ := strings.Cut(text, "/")
	l := Location{Project: project, Cluster: cluster}
	switch {
	case !projectRE.MatchString(project):
		return Location{}, fmt.Errorf("%q in the location of a cluster is %w: write %s", project, errProject, LocationForm)
	case !clusterRE.MatchString(cluster):
		return Location{}, fmt.Errorf("%q in the location of a cluster is %w: write %s", cluster, errCluster, LocationForm)
	}
	return l, nil
}

func parseMachine(text string) (Machine, error) {
	where, keys, pinned := strings.Cut(text, "#")
	where, cluster, apart := strings.Cut(where, "/")
	at := strings.LastIndexByte(where, '@')
	if at < 0 {
		return Machine{}, errors.New("it names no user")
	}
	m := Machine{User: where[:at], Port: sshPort}
	host := where[at+1:]
	switch {
	case strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]"):
		m.Address = host[1 : len(host)-1]
	case strings.Contains(host, ":"):
		var port string
		var err error
		if m.Address, port, err = net.SplitHostPort(host); err != nil {
			return Machine{}, errors.New("ADDRESS:PORT is not understood")
		}
		if m.Port, err = strconv.Atoi(port); err != nil || m.Port < 1 || m.Port > 65535 || strconv.Itoa(m.Port) != port {
			return Machine{}, fmt.Errorf("%q is not a port", port)
		}
	default:
		m.Address = host
	}
	for key := range strings.SplitSeq(keys, "#") {
		if !pinned {
			break
		}
		key, err := HostKey(strings.Replace(key, ":SHA256:", " SHA256:", 1))
		if err != nil {
			return Machine{}, fmt.Errorf("its host key is %w", err)
		}
		m.HostKeys = append(m.HostKeys, key)
	}
	if err := CheckUser(m.User); err != nil {
		return Machine{}, fmt.Errorf("%q is %w", m.User, err)
	}
	if err := CheckAddress(m.Address); err != nil {
		return Machine{}, fmt.Errorf("%q is %w", m.Address, err)
	}
	m.Address = Normal(m.Address)
	if apart {
		if err := CheckClusterAddress(cluster); err != nil {
			return Machine{}, fmt.Errorf("%q is %w", cluster, err)
		}
		if cluster = Normal(cluster); cluster != m.Address {
			m.ClusterAddress = cluster
		}
	}
	return m, nil
}

// pinRE is a host key in a location, with what follows it.
var pinRE = regexp.MustCompile(`^#(?:[a-z0-9-]+:)?SHA256:[A-Za-z0-9+/]{43}(?:[,#]|$)`)

// CutLocation cuts LOCATION#REST apart. ok is false where there is no REST.
func CutLocation(text string) (location, rest string, ok bool) {
	for i := range len(text) {
		if text[i] != '#' || strings.HasPrefix(text, sshPrefix) && pinRE.MatchString(text[i:]) {
			continue
		}
		return text[:i], text[i+1:], text[i+1:] != ""
	}
	return text, "", false
}

var (
	// A project has an id, before which there may be the domain that it belongs to.
	projectRE = regexp.MustCompile(`^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	clusterRE = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

	nodeRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	userRE = regexp.MustCompile(`^[^\s,/#\x00-\x1f]+$`)
	hostRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*$`)
)

// What is wrong with a part of a location: "… is not the name of a user".
var (
	errUser    = errors.New("not the name of a user")
	errProject = errors.New("not the id of a project")
	errCluster = errors.New("not the name of a cluster on Compute Engine: lower-case letters, digits and hyphens, a letter first, 63 at most")
	errAddress = errors.New("neither a name nor an IP address")
	errNoIP    = errors.New("not an IP address")
	errNotOne  = errors.New("not the address of one machine")
)

// CheckProject says what is wrong with the id of a project of Google's, nil where nothing is.
func CheckProject(id string) error {
	if !projectRE.MatchString(id) {
		return errProject
	}
	return nil
}

// CheckUser says what is wrong with the name of a user, nil where nothing is.
func CheckUser(user string) error {
	if !userRE.MatchString(user) {
		return errUser
	}
	return nil
}

// CheckAddress says what is wrong with the address of a machine: a name or an IP
// address, without a port.
func CheckAddress(address string) error {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Zone() == "" {
		return nil
	}
	// What is all digits and dots is a mistaken address: no top-level domain is a number.
	if len(address) > 253 || !hostRE.MatchString(address) || strings.Trim(address, "0123456789.") == "" {
		return errAddress
	}
	return nil
}

// Normal is an address as it is compared: of one IP address there is one text, and a name is in
// lower case.
func Normal(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(address)
}

// CheckClusterAddress says what is wrong with the address that other nodes use.
func CheckClusterAddress(address string) error {
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil || ip.Zone() != "":
		return errNoIP
	case ip.IsUnspecified(), ip.IsMulticast():
		return errNotOne
	}
	return nil
}
