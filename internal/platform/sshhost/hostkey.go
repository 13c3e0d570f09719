// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// pin is one key that a server may show.
type pin struct {
	// kind is a key type such as ssh-ed25519; empty for a fingerprint that does not say.
	kind        string
	fingerprint string // SHA256:…
}

func (p pin) String() string { return strings.TrimSpace(p.kind + " " + p.fingerprint) }

func (p pin) matches(key ssh.PublicKey) bool {
	return p.fingerprint == ssh.FingerprintSHA256(key) && (p.kind == "" || p.kind == key.Type())
}

func pinOf(key ssh.PublicKey) pin {
	return pin{kind: key.Type(), fingerprint: ssh.FingerprintSHA256(key)}
}

var (
	errPinForm   = errors.New("it is neither a line of known_hosts, nor one of an ssh_host_*_key.pub, nor a fingerprint SHA256:…")
	errPinMarker = errors.New("certificate authorities and revocations cannot be given as a machine's key")
	errPinLines  = errors.New("it has more than one line")
)

// keyAlgorithms are the types of host keys that can be asked for, and the
// signatures to ask for. SHA-1 is in none.
var keyAlgorithms = map[string][]string{
	ssh.KeyAlgoED25519:  {ssh.KeyAlgoED25519},
	ssh.KeyAlgoECDSA256: {ssh.KeyAlgoECDSA256},
	ssh.KeyAlgoECDSA384: {ssh.KeyAlgoECDSA384},
	ssh.KeyAlgoECDSA521: {ssh.KeyAlgoECDSA521},
	ssh.KeyAlgoRSA:      {ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
}

// parsePin reads what HostKey.Given may hold.
func parsePin(s string) (pin, error) {
	s = strings.TrimSpace(s)
	fields := strings.Fields(s)
	switch {
	case strings.ContainsAny(s, "\r\n"):
		return pin{}, errPinLines
	case len(fields) == 0:
		return pin{}, errEmpty
	case strings.HasPrefix(fields[0], "@"):
		return pin{}, fmt.Errorf("%q: %w", fields[0], errPinMarker)
	case len(fields) == 1 && isFingerprint(fields[0]):
		return pin{fingerprint: fields[0]}, nil
	case len(fields) == 2 && keyAlgorithms[fields[0]] != nil && isFingerprint(fields[1]):
		return pin{kind: fields[0], fingerprint: fields[1]}, nil
	}
	key, err := parsePublicKey(s, fields)
	if err != nil {
		return pin{}, fmt.Errorf("%q: %w", shorten(s), err)
	}
	return pinOf(key), nil
}

func parsePublicKey(s string, fields []string) (ssh.PublicKey, error) {
	if keyAlgorithms[fields[0]] == nil && len(fields) > 2 {
		_, _, key, _, _, err := ssh.ParseKnownHosts([]byte(s))
		if err != nil || keyAlgorithms[key.Type()] == nil {
			return nil, errPinForm
		}
		return key, nil
	}
	if keyAlgorithms[fields[0]] == nil || len(fields) < 2 {
		return nil, errPinForm
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errPinForm
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || key.Type() != fields[0] {
		return nil, errPinForm
	}
	return key, nil
}

func isFingerprint(s string) bool {
	sum, ok := strings.CutPrefix(s, "SHA256:")
	raw, err := base64.RawStdEncoding.Strict().DecodeString(sum)
	return ok && err == nil && len(raw) == 32
}

func shorten(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// hostKeyCheck decides about the key of one server. It reads the known_hosts
// file anew for every connection, so a key that was recorded is pinned from then on.
type hostKeyCheck struct {
	endpoint Endpoint
	given    []pin
	known    ssh.HostKeyCallback // of the file; nil without one
	recorded []knownhosts.KnownKey
	// Invariant: verdict is nil only after the server showed an accepted key.
	verdict error
	seen    bool
}

func newHostKeyCheck(e Endpoint) (*hostKeyCheck, error) {
	c := &hostKeyCheck{endpoint: e, verdict: errors.New("the server has not shown its host key yet")}
	for _, line := range e.HostKey.Given {
		p, err := parsePin(line)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		c.given = append(c.given, p)
	}
	if e.HostKey.File == "" {
		return c, nil
	}
	file, err := expandHome(e.HostKey.File)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKnownHosts, err)
	}
	c.endpoint.HostKey.File = file
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) && e.HostKey.Record {
		return c, nil
	}
	if c.known, err = knownhosts.New(file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKnownHosts, err)
	}
	var lines *knownhosts.KeyError
	if errors.As(c.known(e.target(), &net.TCPAddr{}, noKey{}), &lines) {
		c.recorded = lines.Want
	}
	return c, nil
}

// noKey is a key that no server has: what the file says to it are the keys that it has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.ErrUnsupported }

// algorithms are what to ask the server for, so that it shows the key that is
// known of it and not another one that it has as well. Where nothing tells, they
// are asked for in the order that OpenSSH prefers.
func (c *hostKeyCheck) algorithms() []string {
	var kinds []string
	for _, p := range c.expected() {
		kinds = append(kinds, p.kind)
	}
	if len(kinds) == 0 || slices.Contains(kinds, "") {
		kinds = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}
	}
	var all []string
	for _, kind := range kinds {
		for _, a := range keyAlgorithms[kind] {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

func (c *hostKeyCheck) expected() []pin {
	pins := slices.Clone(c.given)
	for _, k := range c.recorded {
		pins = append(pins, pinOf(k.Key))
	}
	return pins
}

// check is an ssh.HostKeyCallback.
func (c *hostKeyCheck) check(_ string, remote net.Addr, key ssh.PublicKey) error {
	c.seen = true
	c.verdict = c.judge(remote, key)
	return c.verdict
}

func (c *hostKeyCheck) judge(remote net.Addr, key ssh.PublicKey) error {
	if c.known != nil {
		var revoked *knownhosts.RevokedError
		err := c.known(c.endpoint.target(), remote, key)
		if errors.As(err, &revoked) {
			return &HostKeyError{Address: c.endpoint.target(), Got: pinOf(key).String(), Want: []string{"any other"},
				Source: fmt.Sprintf("revoked by %s:%d", revoked.Revoked.Filename, revoked.Revoked.Line)}
		}
		if err == nil {
			return nil
		}
	}
	for _, p := range c.given {
		if p.matches(key) {
			return nil
		}
	}
	refusal := &HostKeyError{Address: c.endpoint.target(), Got: pinOf(key).String(), Source: c.source()}
	for _, p := range c.expected() {
		refusal.Want = append(refusal.Want, p.String())
	}
	if len(refusal.Want) == 0 && c.endpoint.HostKey.Record {
		return record(c.endpoint.HostKey.File, c.endpoint.target(), key)
	}
	return refusal
}

func (c *hostKeyCheck) source() string {
	var from []string
	if len(c.given) > 0 {
		from = append(from, "the configuration")
	}
	for _, k := range c.recorded {
		from = append(from, fmt.Sprintf("%s:%d", k.Filename, k.Line))
	}
	return strings.Join(from, ", ")
}

// record adds a key to a known_hosts file. The line is written at once: others
// may add theirs meanwhile. A line that a crash left without its end is ended first.
func record(file, target string, key ssh.PublicKey) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: the key of %s is not recorded: %w", ErrKnownHosts, target, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	line := knownhosts.Line([]string{target}, key) + "\n"
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	if _, err = f.WriteString(line); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(file))
}

func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, rest), err
}
