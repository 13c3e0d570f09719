// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/netip"
	"os"

	"golang.org/x/crypto/ssh"
)

// User is who logs in: without a password, in by key only, and sudo asks for none.
const User = "ops"

// userID is User's uid and gid in the image.
const userID = 1000

// The guest's side of the wire that only SSH from the test comes in by.
const (
	sshMAC  = "52:54:00:4d:01:01"
	sshAddr = "10.0.2.15/24" // what QEMU's user networking expects
)

// kernelLine: MODULES in the initrd find the root file system by its label;
// the console is the serial line.
const kernelLine = "root=LABEL=" + rootLabel + " rw console=ttyS0 loglevel=4 net.ifnames=0 mitigations=off panic=-1 systemd.show_status=1"

// seed is what tells one machine from another of the same image. It gets there
// in the initrd, as /seed.tar, and is unpacked over the root file system
// before systemd starts: no further disk that a guest could take for data, and
// no agent inside.
type seed struct {
	name      string
	machineID string
	lan       netip.Addr // invalid without a network
	lanMAC    string
	hostKey   key
	client    key
	cloud     *Cloud
}

// key is one pair of keys for SSH.
type key struct {
	private []byte // PEM, OpenSSH's
	public  ssh.PublicKey
	signer  ssh.Signer
}

func newKey() (key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return key{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return key{}, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return key{}, err
	}
	shared, err := ssh.NewPublicKey(public)
	return key{private: pem.EncodeToMemory(block), public: shared, signer: signer}, err
}

func newSeed(c Config) (seed, error) {
	host, err := newKey()
	if err != nil {
		return seed{}, fmt.Errorf("host key: %w", err)
	}
	client, err := newKey()
	if err != nil {
		return seed{}, fmt.Errorf("user's key: %w", err)
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return seed{}, fmt.Errorf("machine id: %w", err)
	}
	s := seed{name: c.Name, machineID: hex.EncodeToString(id[:]), hostKey: host, client: client, cloud: c.Cloud}
	if c.Network != nil {
		s.lan, s.lanMAC = c.Network.Addr(c.Name), c.Network.mac(c.Name)
	}
	return s, nil
}

type seedFile struct {
	name string // a directory where it ends with a slash
	mode int64
	user int
	text string
}

func (s seed) files() []seedFile {
	hosts := "127.0.0.1 localhost\n127.0.1.1 " + s.name + "\n"
	files := []seedFile{
		{"etc/hostname", 0o644, 0, s.name + "\n"},
		{"etc/machine-id", 0o444, 0, s.machineID + "\n"},
	}
	if s.cloud != nil {
		return append(files, s.cloud.files(s.name)...)
	}
	files = append(files, []seedFile{
		{"etc/ssh/ssh_host_ed25519_key", 0o600, 0, string(s.hostKey.private)},
		{"etc/ssh/ssh_host_ed25519_key.pub", 0o644, 0, string(ssh.MarshalAuthorizedKey(s.hostKey.public))},
		{"home/" + User + "/.ssh/", 0o700, userID, ""},
		{"home/" + User + "/.ssh/authorized_keys", 0o600, userID, string(ssh.MarshalAuthorizedKey(s.client.public))},
		{"etc/systemd/network/10-ssh.network", 0o644, 0, networkUnit(sshMAC, sshAddr)},
	}...)
	if s.lan.IsValid() {
		hosts += s.lan.String() + " " + s.name + "\n"
		files = append(files, seedFile{"etc/systemd/network/20-lan.network", 0o644, 0, networkUnit(s.lanMAC, s.lan.String()+"/24")})
	}
	return append(files, seedFile{"etc/hosts", 0o644, 0, hosts})
}

// cloudLine is on the kernel's command line of a guest of Compute Engine: Google's agent runs there alone.
const cloudLine = "holdfast.cloud"

// files are those of a guest of Compute Engine. Google's agent makes users and host keys itself.
func (c *Cloud) files(name string) []seedFile {
	return []seedFile{
		{"etc/systemd/network/20-lan.network", 0o644, 0, networkUnit(c.MAC, c.Address.String()) + "Gateway=" + c.Gateway.String() + "\n"},
		{"etc/hosts", 0o644, 0, fmt.Sprintf("127.0.0.1 localhost\n%s %s\n169.254.169.254 metadata.google.internal metadata\n", c.Address.Addr(), name)},
	}
}

func networkUnit(mac, addr string) string {
	return "[Match]\nMACAddress=" + mac + "\n\n[Network]\nAddress=" + addr + "\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
}

// archive is the tar of the files.
func (s seed) archive() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range s.files() {
		h := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.user, Gid: f.user, Size: int64(len(f.text)), Typeflag: tar.TypeReg}
		if f.name[len(f.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("seed: %s: %w", f.name, err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			return nil, fmt.Errorf("seed: %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	return b.Bytes(), nil
}

// writeInitrd writes the image's initrd with the seed before it: the kernel
// unpacks one cpio archive after the other. There is a private key in it.
func (s seed) writeInitrd(path, image string) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	system, err := os.ReadFile(image)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	var b bytes.Buffer
	cpio(&b, "seed.tar", archive)
	b.Write(system)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	return nil
}

// cpio writes an archive of one file in the format "newc", the kernel's: a
// magic, then thirteen numbers of eight hexadecimal digits, then name and
// content, each filled up to a multiple of four.
//
//	070701 inode mode uid gid links mtime size major minor rmajor rminor namesize check
func cpio(b *bytes.Buffer, name string, content []byte) {
	const regular = 0o100000
	entry := func(inode, mode int, name string, content []byte) {
		fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
		fill(b)
		b.Write(content)
		fill(b)
	}
	entry(1, regular|0o600, name, content)
	entry(0, 0, "TRAILER!!!", nil)
}

func fill(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
