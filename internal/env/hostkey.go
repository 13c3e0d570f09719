// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package env

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

var errHostKey = errors.New("neither a line of known_hosts, nor one of an ssh_host_*_key.pub, nor a fingerprint SHA256:…")

// hostKeyTypes are those that a machine may show.
var hostKeyTypes = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}

// HostKey is the short form of a machine's key, "ssh-ed25519 SHA256:…": of a line of
// known_hosts, of a public key, or of a fingerprint, which may leave its type out.
func HostKey(line string) (string, error) {
	fields := strings.Fields(line)
	if strings.ContainsAny(strings.TrimSpace(line), "\r\n") || len(fields) == 0 || strings.HasPrefix(fields[0], "@") {
		return "", errHostKey
	}
	switch {
	case len(fields) == 1 && fingerprint(fields[0]):
		return fields[0], nil
	case len(fields) == 2 && fingerprint(fields[1]) && slices.Contains(hostKeyTypes, fields[0]):
		return fields[0] + " " + fields[1], nil
	}
	if !slices.Contains(hostKeyTypes, fields[0]) { // the host names come first
		fields = fields[1:]
	}
	if len(fields) < 2 || !slices.Contains(hostKeyTypes, fields[0]) {
		return "", errHostKey
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return "", errHostKey
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || key.Type() != fields[0] {
		return "", errHostKey
	}
	return key.Type() + " " + ssh.FingerprintSHA256(key), nil
}

func fingerprint(s string) bool {
	sum, ok := strings.CutPrefix(s, "SHA256:")
	raw, err := base64.RawStdEncoding.Strict().DecodeString(sum)
	return ok && err == nil && len(raw) == 32
}
