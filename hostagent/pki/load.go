// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Paths are the files of one who takes part in TLS.
type Paths struct{ CA, Cert, Key string }

// Bundle is what the files said at one time. It is never changed.
type Bundle struct {
	Self   Identity
	Leaf   *x509.Certificate
	CAs    []*x509.Certificate // those that are valid, as in the file
	pool   *x509.CertPool
	pair   tls.Certificate
	signer *x509.Certificate // the one of CAs that Leaf comes from
}

// Load reads and checks the files. want says whose they must be; what is empty
// in it may be anything.
func Load(p Paths, want Identity, now time.Time) (*Bundle, error) {
	for _, path := range []string{p.CA, p.Key} {
		if err := checkDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	cas, err := LoadCAs(p.CA, want.Cluster, now)
	if err != nil {
		return nil, err
	}
	leaves, err := ReadCerts(p.Cert)
	if err != nil {
		return nil, err
	}
	key, err := ReadKey(p.Key)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Leaf: leaves[0], CAs: cas, pool: x509.NewCertPool()}
	for _, c := range cas {
		b.pool.AddCert(c)
	}
	if b.Self, err = IdentityOf(b.Leaf); err != nil {
		return nil, &Refusal{File: p.Cert, Field: "the URI", Have: fmt.Sprint(b.Leaf.URIs), Want: "holdfast://<cluster id>/<role>/<name>", Next: "Make the certificate with holdfast cert.", Err: err}
	}
	id, _ := IdentityOf(cas[0]) // LoadCAs read it
	if want.Cluster = id.Cluster; want.Cluster != b.Self.Cluster {
		return nil, &Refusal{File: p.Cert, Field: "cluster", Have: b.Self.Cluster, Want: fmt.Sprintf("%q, that of %s", want.Cluster, p.CA), Next: "Use the certificates of one cluster."}
	}
	for _, f := range []struct{ field, have, want string }{
		{"role", string(b.Self.Role), string(want.Role)}, {"name", b.Self.Name, want.Name},
	} {
		if f.want != "" && f.have != f.want {
			return nil, &Refusal{File: p.Cert, Field: f.field, Have: f.have, Want: fmt.Sprintf("%q", f.want),
				Next: fmt.Sprintf("Make a certificate for %s %q with holdfast cert, or correct the configuration.", want.Role, want.Name)}
		}
	}
	if err := valid(p.Cert, b.Leaf, now); err != nil {
		return nil, err
	}
	if !sameKey(b.Leaf.PublicKey, key.Public()) {
		return nil, &Refusal{File: p.Key, Field: "the key", Have: "of another certificate", Want: "that of " + p.Cert,
			Next: "Copy both files from one place, or make both anew with holdfast cert and -overwrite."}
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if b.Self.Role == Node {
		usages = append(usages, x509.ExtKeyUsageServerAuth)
	}
	for _, u := range usages {
		chains, err := b.Leaf.Verify(x509.VerifyOptions{Roots: b.pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{u}})
		if err != nil {
			return nil, &Refusal{File: p.Cert, Field: "the CA", Have: b.Leaf.Issuer.CommonName, Want: "one of " + p.CA,
				Next: "Sign the certificate anew with the CA of this cluster, or add the CA that signed it.", Err: err}
		}
		b.signer = chains[0][len(chains[0])-1]
	}
	b.pair = tls.Certificate{Certificate: [][]byte{b.Leaf.Raw}, PrivateKey: key, Leaf: b.Leaf}
	return b, nil
}

// LoadCAs reads the CAs of a cluster, any one's where none is named, and
// leaves out those that have expired. None is of another cluster.
func LoadCAs(path, cluster string, now time.Time) ([]*x509.Certificate, error) {
	all, err := ReadCerts(path)
	if err != nil {
		return nil, err
	}
	return checkCAs(path, all, cluster, now)
}

// checkCAs is what LoadCAs takes of the certificates that path had.
func checkCAs(path string, all []*x509.Certificate, cluster string, now time.Time) ([]*x509.Certificate, error) {
	var cas []*x509.Certificate
	var first error
	for _, c := range all {
		id, err := IdentityOf(c)
		if err != nil || id.Role != Authority || !c.IsCA {
			return nil, &Refusal{File: path, Field: "a certificate", Have: c.Subject.String(), Want: "a CA of Holdfast's", Next: "Leave it out; make CAs with holdfast cert create-ca.", Err: err}
		}
		if cluster == "" {
			cluster = id.Cluster
		}
		if id.Cluster != cluster {
			return nil, &Refusal{File: path, Field: "cluster", Have: id.Cluster, Want: fmt.Sprintf("%q", cluster), Next: "Use the CA of this cluster, and no other beside it."}
		}
		switch err := valid(path, c, now); {
		case err == nil:
			cas = append(cas, c)
		case first == nil:
			first = err
		}
	}
	if len(cas) == 0 {
		return nil, first
	}
	return cas, nil
}

func valid(path string, c *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(c.NotBefore):
		return &Refusal{File: path, Field: "valid from", Have: instant(c.NotBefore), Want: "before now, " + instant(now), Next: "Set the clock of this host, or that of the host that made the certificate.", Err: ErrNotYetValid}
	case now.After(c.NotAfter):
		return &Refusal{File: path, Field: "valid until", Have: instant(c.NotAfter), Want: "after now, " + instant(now), Next: "Make a new certificate with holdfast cert and -overwrite.", Err: ErrExpired}
	}
	return nil
}

// checkDir refuses a directory in which others could replace a file.
func checkDir(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return &Refusal{File: dir, Field: "the directory", Have: "missing", Want: "there", Next: "Make it with holdfast cert, or name another.", Err: err}
	}
	if mode := fi.Mode(); mode.Perm()&0o022 != 0 && mode&os.ModeSticky == 0 {
		return &Refusal{File: dir, Field: "mode", Have: fmt.Sprintf("%04o", mode.Perm()), Want: "writable by its owner alone", Next: fmt.Sprintf("Run chmod 700 %s.", dir)}
	}
	return nil
}

// Pool is the CAs to trust.
func (b *Bundle) Pool() *x509.CertPool { return b.pool }

// Certificate is the own one, with its key.
func (b *Bundle) Certificate() tls.Certificate { return b.pair }
