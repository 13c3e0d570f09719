// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
)

// InUse is what a listener of HTTPS uses at a time.
type InUse struct {
	Leaf *x509.Certificate
	// names are those of the CAs that it trusts.
	names [][]byte
}

// Probe asks the listener of b's own node at address what it uses. It is one handshake,
// and no request.
func Probe(ctx context.Context, address string, b *Bundle) (InUse, error) {
	var u InUse
	asked := false
	cfg := b.config("http/1.1")
	cfg.RootCAs, cfg.ServerName = b.pool, b.Self.DNSName()
	cfg.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked, u.names = true, r.AcceptableCAs
		return &b.pair, nil
	}
	d := tls.Dialer{NetDialer: &net.Dialer{}, Config: cfg}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return InUse{}, err
	}
	defer func() { _ = conn.Close() }() // nothing was said
	if !asked {
		return InUse{}, errors.New("it asks for no certificate, and does not say whom it trusts")
	}
	if c, ok := conn.(*tls.Conn); ok { // as tls.Dialer promises
		u.Leaf = c.ConnectionState().PeerCertificates[0]
	}
	return u, nil
}

// Trusts reports whether it trusts these CAs and no other.
func (u InUse) Trusts(cas []*x509.Certificate) bool {
	var want [][]byte
	for _, c := range cas {
		want = append(want, c.RawSubject)
	}
	have := slices.Clone(u.names)
	slices.SortFunc(have, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	return slices.EqualFunc(have, want, bytes.Equal)
}
