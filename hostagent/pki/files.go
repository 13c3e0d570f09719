// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Dir is a directory of certificates.
type Dir string

func (d Dir) file(name string) string { return filepath.Join(string(d), name) }

// The files of a directory.
func (d Dir) CA() string      { return d.file("ca.crt") }
func (d Dir) CAKey() string   { return d.file("ca.key") }
func (d Dir) HostKey() string { return d.file("host.key") }

// Node is the node's certificate.
func (d Dir) Node() Paths {
	return Paths{CA: d.CA(), Cert: d.file("node.crt"), Key: d.file("node.key")}
}

// Request is what a node asks for its certificate with.
func (d Dir) Request() string { return d.file("node.csr") }

// Client is a client's certificate.
func (d Dir) Client(name string) Paths {
	return Paths{CA: d.CA(), Cert: d.file("client." + name + ".crt"), Key: d.file("client." + name + ".key")}
}

// Make makes the directory, and those above it, for its owner alone. One that
// others can get at is refused and not changed.
func (d Dir) Make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	fi, err := os.Stat(string(d))
	if err != nil {
		return err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return &Refusal{File: string(d), Field: "mode", Have: fmt.Sprintf("%04o", fi.Mode().Perm()), Want: "0700: keys are kept there",
			Next: fmt.Sprintf("Run chmod 700 %s, or name a directory of its own.", d)}
	}
	return nil
}

// Blocks of PEM.
const (
	certBlock    = "CERTIFICATE"
	keyBlock     = "PRIVATE KEY"
	requestBlock = "CERTIFICATE REQUEST"
)

// maxFile bounds what is read of a file.
const maxFile = 1 << 20

// write makes b the content of a file that its owner alone can read, durably.
func write(path string, b []byte) error { return writeOn(vfs.OS{}, path, b) }

func writeOn(fsys vfs.FS, path string, b []byte) error {
	if err := vfs.WriteFileAtomic(fsys, path, b); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// WriteCerts replaces a file by certificates.
func WriteCerts(path string, certs ...*x509.Certificate) error {
	return write(path, EncodeCerts(certs...))
}

// EncodeCerts is what WriteCerts writes.
func EncodeCerts(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: c.Raw}))
	}
	return b.Bytes()
}

// WriteKey replaces a file by a key in the clear.
func WriteKey(path string, key *ecdsa.PrivateKey) error {
	b, err := encodeKey(key)
	if err != nil {
		return err
	}
	return write(path, b)
}

// WriteRequest replaces a file by a request.
func WriteRequest(path string, der []byte) error {
	return write(path, pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der}))
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// ReadRequest reads a request.
func ReadRequest(path string) (der []byte, err error) {
	b, err := read(path, false)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != requestBlock {
		return nil, unreadable(path, "a "+requestBlock+" in PEM", nil)
	}
	return block.Bytes, nil
}

// ReadCerts reads the certificates of a file, one at least.
func ReadCerts(path string) ([]*x509.Certificate, error) {
	b, err := read(path, false)
	if err != nil {
		return nil, err
	}
	certs, err := parseCerts(b)
	if err != nil {
		return nil, unreadable(path, "certificates in PEM", err)
	}
	return certs, nil
}

func parseCerts(b []byte) (certs []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != certBlock {
			return nil, fmt.Errorf("there is a %s among them", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("there is none")
	}
	return certs, nil
}

// ReadKey reads a key that its owner alone can read.
func ReadKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := read(path, true)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(b)
	if err != nil {
		return nil, unreadable(path, "an ECDSA key on P-256 in PEM", err)
	}
	return key, nil
}

// parseKey never repeats what it was given: that may be a secret.
func parseKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	var key any
	var err error
	switch block.Type {
	case keyBlock:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY": // as openssl writes it
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errors.New("the block is of another type")
	}
	if err != nil {
		return nil, errors.New("it does not parse")
	}
	if ec, ok := key.(*ecdsa.PrivateKey); ok && ec.Curve == elliptic.P256() {
		return ec, nil
	}
	return nil, fmt.Errorf("it is a %T", key)
}

// read reads a file that nobody but its owner can write, and, where it is a
// secret, read. The mode is that of the file that was opened.
func read(path string, secret bool) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Refusal{File: path, Field: "the file", Have: "missing", Want: "there",
			Next: "Make it with holdfast cert, or copy it here.", Err: err}
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	forbidden, want, mode := fs.FileMode(0o022), "writable by its owner alone", fi.Mode().Perm()
	if secret {
		forbidden, want = 0o077, "0600: nobody else may read it"
	}
	if mode&forbidden != 0 {
		return nil, &Refusal{File: path, Field: "mode", Have: fmt.Sprintf("%04o", mode), Want: want, Next: fmt.Sprintf("Run chmod 600 %s.%s", path, exposed(secret))}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return b, err
}

func exposed(secret bool) string {
	if secret {
		return " Make a new key if somebody else may have read this one."
	}
	return ""
}

func unreadable(path, want string, err error) error {
	return &Refusal{File: path, Field: "the content", Have: "something else", Want: want, Next: "Make it anew with holdfast cert, or copy it here again.", Err: err}
}
