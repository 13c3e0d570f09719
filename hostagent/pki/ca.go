// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"time"
)

// Lifetimes where nobody says otherwise.
const (
	CALifetime   = 10 * 365 * 24 * time.Hour
	LeafLifetime = 365 * 24 * time.Hour

	// backdate is how far the clock of another host may be behind.
	backdate = 5 * time.Minute
)

// CA signs the certificates of one cluster. Safe for concurrent use.
type CA struct {
	Cert    *x509.Certificate
	Cluster string
	key     *ecdsa.PrivateKey
}

// NewKey makes a key for a certificate or a CA.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// NewCA makes the CA of a cluster.
func NewCA(cluster string, now time.Time, lifetime time.Duration) (*CA, error) {
	id := Identity{Cluster: cluster, Role: Authority}
	if err := id.check(); err != nil {
		return nil, err
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	// Each CA of a cluster has a name of its own, so that what a listener asks for in a
	// handshake tells which of them it trusts.
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	mark := sha256.Sum256(public)
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Holdfast"}, CommonName: "Holdfast CA " + cluster, SerialNumber: hex.EncodeToString(mark[:8])},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
		URIs:                  []*url.URL{id.uri()},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, // it signs leaves, and no other CA
	}
	cert, err := create(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &CA{Cert: cert, Cluster: cluster, key: key}, nil
}

// Sign makes a certificate for a key. What it says comes from the caller, and
// nothing from whoever holds the key. hosts are IP addresses and DNS names that
// a node is reached by. It ends with the CA if lifetime is longer.
func (ca *CA) Sign(pub crypto.PublicKey, id Identity, hosts []string, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	if err := id.check(); err != nil {
		return nil, err
	}
	if id.Cluster != ca.Cluster {
		return nil, fmt.Errorf("the CA is that of cluster %s, the certificate would be for %s", ca.Cluster, id.Cluster)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Holdfast"}, OrganizationalUnit: []string{string(id.Role)}, CommonName: id.Name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
		URIs:        []*url.URL{id.uri()},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if template.NotBefore.Before(ca.Cert.NotBefore) {
		template.NotBefore = ca.Cert.NotBefore
	}
	if template.NotAfter.After(ca.Cert.NotAfter) {
		template.NotAfter = ca.Cert.NotAfter
	}
	switch id.Role {
	case Node:
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames = []string{id.DNSName()}
		for _, h := range hosts {
			if ip := net.ParseIP(h); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, h)
			}
		}
	case Client:
		if len(hosts) > 0 {
			return nil, fmt.Errorf("a client has no address: %q", hosts)
		}
	default:
		return nil, fmt.Errorf("a CA does not sign a %s", id.Role)
	}
	return create(template, ca.Cert, pub, ca.key)
}

func create(template, parent *x509.Certificate, pub crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// NewRequest asks for a certificate for a key that stays where it is. It
// proves possession of the key and claims nothing.
func NewRequest(key *ecdsa.PrivateKey) (der []byte, err error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// RequestedKey is the public key of a request whose sender has the private one.
func RequestedKey(der []byte) (crypto.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if err := r.CheckSignature(); err != nil {
		return nil, err
	}
	if pub, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the key is %T: an ECDSA key on P-256 is needed", r.PublicKey)
	}
	return r.PublicKey, nil
}

func sameKey(a, b crypto.PublicKey) bool {
	x, err := x509.MarshalPKIXPublicKey(a)
	if err != nil {
		return false
	}
	y, err := x509.MarshalPKIXPublicKey(b)
	return err == nil && bytes.Equal(x, y)
}
