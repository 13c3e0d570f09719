// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Role is what a certificate is for.
type Role string

// The roles.
const (
	Authority Role = "ca"
	Node      Role = "node"
	Client    Role = "client"
)

// Identity is whom a certificate speaks for. The name of an Authority is
// empty.
type Identity struct {
	Cluster string
	Role    Role
	Name    string
}

const (
	scheme = "holdfast://"
	// domain ends the DNS names of nodes. It is nobody's on the internet.
	domain = "holdfast"
)

var (
	clusterRE = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	nameRE    = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
)

// String is the URI.
func (id Identity) String() string {
	if id.Role == Authority {
		return scheme + id.Cluster + "/" + string(id.Role)
	}
	return scheme + id.Cluster + "/" + string(id.Role) + "/" + id.Name
}

// ParseIdentity reads what String writes, and nothing else.
func ParseIdentity(s string) (Identity, error) {
	rest, ok := strings.CutPrefix(s, scheme)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 2 {
		return Identity{}, fmt.Errorf("%q is no identity: %s<cluster id>/<role>/<name> is one", s, scheme)
	}
	id := Identity{Cluster: parts[0], Role: Role(parts[1]), Name: strings.Join(parts[2:], "/")}
	if err := id.check(); err != nil {
		return Identity{}, fmt.Errorf("%q is no identity: %w", s, err)
	}
	if id.String() != s {
		return Identity{}, fmt.Errorf("%q is no identity: %q would be one", s, id)
	}
	return id, nil
}

func (id Identity) check() error {
	switch {
	case !clusterRE.MatchString(id.Cluster):
		return fmt.Errorf("the cluster id %q is not a UUID in lower case", id.Cluster)
	case id.Role == Authority && id.Name == "":
		return nil
	case id.Role != Node && id.Role != Client:
		return fmt.Errorf("the role %q is not known", id.Role)
	case !nameRE.MatchString(id.Name):
		return fmt.Errorf("the name %q is not letters, digits and dashes, 63 at most, with a letter or digit at both ends", id.Name)
	}
	return nil
}

func (id Identity) uri() *url.URL {
	path, _ := strings.CutPrefix(id.String(), scheme+id.Cluster)
	return &url.URL{Scheme: strings.TrimSuffix(scheme, "://"), Host: id.Cluster, Path: path}
}

// DNSName is the name that a node is dialed by, below its cluster's own domain.
func (id Identity) DNSName() string {
	return strings.ToLower(id.Name) + "." + id.Cluster + "." + domain
}

// IdentityOf is whom a certificate speaks for. It says nothing of who signed it.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("the certificate of %q has %d URIs: one says whom it speaks for", cert.Subject, len(cert.URIs))
	}
	return ParseIdentity(cert.URIs[0].String())
}
