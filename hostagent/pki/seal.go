// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// HostKey opens what was encrypted for this host. Files are those of age, so
// the program age opens them too.
type HostKey struct{ id *age.X25519Identity }

// EnsureHostKey opens the host key at path, and makes it where there is none.
func EnsureHostKey(path string) (*HostKey, error) { return ensureHostKey(vfs.OS{}, path) }

func ensureHostKey(fsys vfs.FS, path string) (*HostKey, error) {
	k, err := OpenHostKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	if err := writeOn(fsys, path, fmt.Appendf(nil, "# public key: %s\n%s\n", id.Recipient(), id)); err != nil {
		return nil, err
	}
	return &HostKey{id}, nil
}

// OpenHostKey opens the host key at path.
func OpenHostKey(path string) (*HostKey, error) {
	b, err := read(path, true)
	if err != nil {
		return nil, err
	}
	ids, err := age.ParseIdentities(bytes.NewReader(b))
	if err == nil && len(ids) == 1 {
		if id, ok := ids[0].(*age.X25519Identity); ok {
			return &HostKey{id}, nil
		}
	}
	// What age says may repeat the line.
	return nil, &Refusal{File: path, Field: "the content", Have: "something else", Want: "one AGE-SECRET-KEY-1…",
		Next: "Restore it from a backup. Without it, import ca.key from another server, or begin a new CA."}
}

// Public is what others encrypt for this host with.
func (k *HostKey) Public() string { return k.id.Recipient().String() }

// Export encrypts the CA's key for a host, or several, by their public keys.
func (ca *CA) Export(to ...string) ([]byte, error) {
	var recipients []age.Recipient
	for _, s := range to {
		r, err := age.ParseX25519Recipient(s)
		if err != nil {
			return nil, fmt.Errorf("%q is no public key of a host, age1…: %w", s, err)
		}
		recipients = append(recipients, r)
	}
	secret, err := encodeKey(ca.key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	w, err := age.Encrypt(text, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(secret); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), text.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// WriteCAKey replaces a file by the CA's key, encrypted for this host.
func WriteCAKey(path string, ca *CA, host *HostKey) error {
	b, err := ca.Export(host.Public())
	if err != nil {
		return err
	}
	return write(path, b)
}

// OpenCA opens the newest CA of caCert with the key in caKey, which hostKey
// opens.
func OpenCA(caCert, caKey, hostKey string, now time.Time) (*CA, error) {
	cas, err := LoadCAs(caCert, "", now)
	if err != nil {
		return nil, err
	}
	host, err := OpenHostKey(hostKey)
	if err != nil {
		return nil, err
	}
	sealed, err := read(caKey, true)
	if err != nil {
		return nil, err
	}
	return host.unseal(sealed, caKey, cas[0])
}

// Import opens a CA's key that was exported for this host, for the newest CA
// of caCert.
func (k *HostKey) Import(sealed io.Reader, caCert string, now time.Time) (*CA, error) {
	cas, err := LoadCAs(caCert, "", now)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(sealed, maxFile))
	if err != nil {
		return nil, err
	}
	return k.unseal(b, "the wrapped key", cas[0])
}

func (k *HostKey) unseal(sealed []byte, name string, cert *x509.Certificate) (*CA, error) {
	const next = "Export it anew on a server that has the key: holdfast cert export-ca-key -to %s"
	refuse := func(have, want string, err error) error {
		return &Refusal{File: name, Field: "the content", Have: have, Want: want, Next: fmt.Sprintf(next, k.Public()), Err: err}
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), k.id)
	if err != nil {
		return nil, refuse("not encrypted for this host, or damaged", "a key encrypted for "+k.Public(), err)
	}
	secret, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil { // its checksum
		return nil, refuse("damaged", "what was encrypted", err)
	}
	key, err := parseKey(secret)
	if err != nil {
		return nil, refuse("something else", "the key of a CA", err)
	}
	if !sameKey(key.Public(), cert.PublicKey) {
		return nil, refuse("the key of another CA", "that of the first certificate of ca.crt", nil)
	}
	id, err := IdentityOf(cert)
	if err != nil {
		return nil, err
	}
	return &CA{Cert: cert, Cluster: id.Cluster, key: key}, nil
}

// Exists tells whether there is a file, so that no key is overwritten by
// mistake.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
