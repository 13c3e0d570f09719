// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Keyring is what one node holds of its cluster's certificates: the CAs that it
// trusts, the newest one's key, and its own certificate. It belongs to one cluster and
// one node from the first CA on. Safe for concurrent use; one Keyring per directory.
//
// Every change is durable when it returns, and may be repeated. Killed anywhere, the
// next call goes on:
//
//	a CA, made or taken   pki.json has the CAs and the encrypted key as "next", in one
//	                      write; ca.key and ca.crt follow; pki.json without "next" ends
//	                      it. A record with "next" is carried to its end first, by
//	                      whatever is asked for then.
//	a certificate         node.key, node.crt, pki.json with its rotation. A pair that
//	                      does not fit, or has another rotation, is made anew by
//	                      whoever wanted it.
//	CAs forgotten         one write of ca.crt.
type Keyring struct {
	fsys vfs.FS
	dir  Dir
	mu   sync.Mutex // held while files are read and written
}

// NewKeyring returns the keyring in dir, which is made with the first thing in it.
func NewKeyring(fsys vfs.FS, dir Dir) *Keyring { return &Keyring{fsys: fsys, dir: dir} }

// Dir is where the keyring is.
func (k *Keyring) Dir() Dir { return k.dir }

// Owner is whose a keyring is.
type Owner struct {
	ClusterName string `json:"cluster_name"`
	Cluster     string `json:"cluster_id"`
	Node        string `json:"node"`
}

// Held is what a keyring holds. Nothing in it is secret.
type Held struct {
	Owner
	// CAs are those of ca.crt that are valid, the newest first.
	CAs        []*x509.Certificate
	CAKey      bool // the key of the newest is here
	CARotation string
	// Leaf is the node's certificate, nil where none can be used; Unfit says why one
	// that is there cannot.
	Leaf     *x509.Certificate
	Unfit    error
	Rotation string
}

// keyringFormat is pki.json's.
const keyringFormat = 1

// keyringRecord is pki.json.
type keyringRecord struct {
	Format int `json:"format"`
	Owner
	CARotation string  `json:"ca_rotation"`
	Rotation   string  `json:"rotation"`
	Next       *nextCA `json:"next,omitempty"`
}

// nextCA is a CA that is being put in place.
type nextCA struct {
	CAs      []byte `json:"cas"`    // the new ca.crt
	CAKey    []byte `json:"ca_key"` // the new ca.key: encrypted to the host key
	Rotation string `json:"rotation"`
}

// ErrNoCA is returned, wrapped, where a keyring has no CA.
var ErrNoCA = errors.New("there is no CA")

// Fingerprint is SHA-256 of a certificate in hexadecimal digits.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Issuer is the one of cas that signed a certificate, nil where none did.
func Issuer(c *x509.Certificate, cas []*x509.Certificate) *x509.Certificate {
	for _, ca := range cas {
		if c.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}

// Held returns what is held. A keyring that was never used holds nothing.
func (k *Keyring) Held(now time.Time) (Held, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.heldLocked(now)
}

func (k *Keyring) heldLocked(now time.Time) (Held, error) {
	rec, err := k.recordLocked()
	if err != nil {
		return Held{}, err
	}
	h := Held{Owner: rec.Owner, CARotation: rec.CARotation, Rotation: rec.Rotation}
	if h.CAs, err = k.trustedLocked(rec, now); err != nil || len(h.CAs) == 0 {
		return h, err
	}
	h.CAKey = k.signs(now)
	if !Exists(k.dir.Node().Cert) {
		return h, nil
	}
	b, err := k.loadLocked(rec.Owner, now)
	if h.Unfit = err; err == nil {
		h.Leaf = b.Leaf
	}
	return h, nil
}

// signs reports whether the newest CA's key is here and can be used.
func (k *Keyring) signs(now time.Time) bool {
	_, err := OpenCA(k.dir.CA(), k.dir.CAKey(), k.dir.HostKey(), now)
	return err == nil
}

// Load is the node's certificate and what it trusts.
func (k *Keyring) Load(now time.Time) (*Bundle, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	rec, err := k.recordLocked()
	if err != nil {
		return nil, err
	}
	return k.loadLocked(rec.Owner, now)
}

func (k *Keyring) loadLocked(o Owner, now time.Time) (*Bundle, error) {
	return Load(k.dir.Node(), Identity{Cluster: o.Cluster, Role: Node, Name: o.Node}, now)
}

// Recipient is the host's public key, which is made where there is none.
func (k *Keyring) Recipient() (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	host, err := k.hostLocked()
	if err != nil {
		return "", err
	}
	return host.Public(), nil
}

// MakeCA makes a CA with a rotation, beside those that are trusted already. Where the
// newest has that rotation, nothing is made. The first CA says whose the keyring is.
func (k *Keyring) MakeCA(o Owner, rotation string, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	rec, host, err := k.openLocked(o)
	if err != nil {
		return err
	}
	trusted, err := k.trustedLocked(rec, now)
	if err != nil {
		return err
	}
	if len(trusted) > 0 {
		if rec.CARotation == rotation {
			return nil
		}
		if _, err := OpenCA(k.dir.CA(), k.dir.CAKey(), k.dir.HostKey(), now); err != nil {
			return err
		}
	}
	ca, err := NewCA(o.Cluster, now, CALifetime)
	if err != nil {
		return err
	}
	return k.placeLocked(rec, o, ca, append([]*x509.Certificate{ca.Cert}, trusted...), host, rotation)
}

// Exported is a CA on its way to other nodes.
type Exported struct {
	CAs      []byte // PEM, the newest first
	CAKey    []byte // the newest one's key, encrypted to the recipients
	Rotation string
}

// Export returns the CAs, and the newest one's key for the hosts of these public keys.
func (k *Keyring) Export(now time.Time, to ...string) (Owner, Exported, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	rec, err := k.recordLocked()
	if err != nil {
		return Owner{}, Exported{}, err
	}
	cas, err := LoadCAs(k.dir.CA(), rec.Cluster, now)
	if err != nil {
		return Owner{}, Exported{}, err
	}
	ca, err := OpenCA(k.dir.CA(), k.dir.CAKey(), k.dir.HostKey(), now)
	if err != nil {
		return Owner{}, Exported{}, err
	}
	sealed, err := ca.Export(to...)
	return rec.Owner, Exported{CAs: EncodeCerts(cas...), CAKey: sealed, Rotation: rec.CARotation}, err
}

// Import takes what another node exported. Where its newest CA is new to this one, both
// are trusted from then on. One that does not hold together changes nothing.
func (k *Keyring) Import(o Owner, in Exported, now time.Time) error {
	const name = "the bundle"
	k.mu.Lock()
	defer k.mu.Unlock()
	rec, host, err := k.openLocked(o)
	if err != nil {
		return err
	}
	all, err := parseCerts(in.CAs)
	if err != nil {
		return unreadable(name, "certificates in PEM", err)
	}
	cas, err := checkCAs(name, all, o.Cluster, now)
	if err != nil {
		return err
	}
	if !cas[0].Equal(all[0]) { // its key would be that of another one
		return valid(name, all[0], now)
	}
	ca, err := host.unseal(in.CAKey, name, cas[0])
	if err != nil {
		return err
	}
	trusted, err := k.trustedLocked(rec, now)
	if err != nil {
		return err
	}
	switch at := slices.IndexFunc(trusted, cas[0].Equal); {
	case at > 0:
		return &Refusal{File: name, Field: "the newest CA", Have: Fingerprint(cas[0]), Want: fmt.Sprintf("%q, or one made after it", Fingerprint(trusted[0])),
			Next: "Export it from a server that has the newest CA: holdfast tls status shows which."}
	case at == 0:
		cas = trusted // what was forgotten does not come back
	default:
		for _, c := range trusted {
			if !slices.ContainsFunc(cas, c.Equal) {
				cas = append(cas, c)
			}
		}
	}
	return k.placeLocked(rec, o, ca, cas, host, in.Rotation)
}

// Issue makes the node's key and certificate anew, with the newest CA.
func (k *Keyring) Issue(hosts []string, rotation string, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	rec, err := k.recordLocked()
	if err != nil {
		return err
	}
	if rec.Node == "" {
		return fmt.Errorf("no certificate was made: %w", ErrNoCA)
	}
	ca, err := OpenCA(k.dir.CA(), k.dir.CAKey(), k.dir.HostKey(), now)
	if err != nil {
		return err
	}
	key, err := NewKey()
	if err != nil {
		return err
	}
	cert, err := ca.Sign(key.Public(), Identity{Cluster: rec.Cluster, Role: Node, Name: rec.Node}, hosts, now, LeafLifetime)
	if err != nil {
		return err
	}
	text, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := writeOn(k.fsys, k.dir.Node().Key, text); err != nil {
		return err
	}
	if err := writeOn(k.fsys, k.dir.Node().Cert, EncodeCerts(cert)); err != nil {
		return err
	}
	rec.Rotation = rotation
	return k.saveLocked(rec)
}

// Forget has the newest CA alone trusted. It refuses while the node's own certificate
// is of an older one.
func (k *Keyring) Forget(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, err := k.heldLocked(now)
	if err != nil {
		return err
	}
	switch {
	case len(h.CAs) == 0:
		return fmt.Errorf("no CA was forgotten: %w", ErrNoCA)
	case h.Leaf != nil && h.Leaf.CheckSignatureFrom(h.CAs[0]) != nil:
		return &Refusal{File: k.dir.Node().Cert, Field: "the CA", Have: Fingerprint(Issuer(h.Leaf, h.CAs)), Want: fmt.Sprintf("%q, the newest", Fingerprint(h.CAs[0])),
			Next: "Have the node's certificate issued anew first: holdfast tls rotate."}
	}
	return writeOn(k.fsys, k.dir.CA(), EncodeCerts(h.CAs[0]))
}

// openLocked opens the keyring of an owner, or makes it his.
func (k *Keyring) openLocked(o Owner) (keyringRecord, *HostKey, error) {
	rec, err := k.recordLocked()
	if err != nil {
		return rec, nil, err
	}
	for _, f := range []struct{ field, have, want string }{{"cluster", rec.Cluster, o.Cluster}, {"node", rec.Node, o.Node}} {
		if f.have != "" && f.have != f.want {
			return rec, nil, &Refusal{File: k.dir.record(), Field: f.field, Have: f.have, Want: fmt.Sprintf("%q", f.want),
				Next: "Send it to the node that it is for. A node never changes its cluster or its name."}
		}
	}
	if err := (Identity{Cluster: o.Cluster, Role: Node, Name: o.Node}).check(); err != nil {
		return rec, nil, err
	}
	host, err := k.hostLocked()
	return rec, host, err
}

// hostLocked makes the directory and the host key where they are missing.
func (k *Keyring) hostLocked() (*HostKey, error) {
	if err := k.fsys.MkdirAll(string(k.dir)); err != nil {
		return nil, err
	}
	if err := k.dir.Make(); err != nil { // it says what is wrong with one that is there
		return nil, err
	}
	return ensureHostKey(k.fsys, k.dir.HostKey())
}

// trustedLocked are the CAs in ca.crt that have not expired, none where there is no file.
func (k *Keyring) trustedLocked(rec keyringRecord, now time.Time) ([]*x509.Certificate, error) {
	cas, err := LoadCAs(k.dir.CA(), rec.Cluster, now)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrExpired) {
		return nil, nil
	}
	return cas, err
}

// placeLocked puts CAs and the key of the first in place.
func (k *Keyring) placeLocked(rec keyringRecord, o Owner, ca *CA, cas []*x509.Certificate, host *HostKey, rotation string) error {
	sealed, err := ca.Export(host.Public())
	if err != nil {
		return err
	}
	rec.Owner, rec.Next = o, &nextCA{CAs: EncodeCerts(cas...), CAKey: sealed, Rotation: rotation}
	if err := k.saveLocked(rec); err != nil {
		return err
	}
	return k.finishLocked(&rec)
}

// finishLocked carries what the record says is under way to its end.
func (k *Keyring) finishLocked(rec *keyringRecord) error {
	if rec.Next == nil {
		return nil
	}
	if err := writeOn(k.fsys, k.dir.CAKey(), rec.Next.CAKey); err != nil {
		return err
	}
	if err := writeOn(k.fsys, k.dir.CA(), rec.Next.CAs); err != nil {
		return err
	}
	rec.CARotation, rec.Next = rec.Next.Rotation, nil
	return k.saveLocked(*rec)
}

func (d Dir) record() string { return d.file("pki.json") }

// recordLocked reads pki.json, an empty one where there is none, once what it says is
// under way has come to its end.
func (k *Keyring) recordLocked() (keyringRecord, error) {
	rec := keyringRecord{Format: keyringFormat}
	path := k.dir.record()
	if !Exists(path) {
		return rec, nil
	}
	b, err := read(path, true)
	if err != nil {
		return rec, err
	}
	const next = "Restore it from a backup, or put the directory aside and let another server hand over the CA again."
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, &Refusal{File: path, Field: "the content", Have: "something else", Want: "what the agent wrote", Next: next}
	}
	if rec.Format != keyringFormat {
		return rec, &Refusal{File: path, Field: "format", Have: fmt.Sprint(rec.Format), Want: fmt.Sprint(keyringFormat), Next: "Use the holdfast binary that wrote it, or a newer one."}
	}
	return rec, k.finishLocked(&rec)
}

func (k *Keyring) saveLocked(rec keyringRecord) error {
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	return writeOn(k.fsys, k.dir.record(), append(b, '\n'))
}
