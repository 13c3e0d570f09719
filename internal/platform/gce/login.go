// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"cmp"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// A machine's metadata says who may log in to it: USER:LINE, where LINE is one of authorized_keys. Google's guest
// agent makes the user, who may use sudo.
//
// With a Machines.PublicKey the metadata is what it says. Without one, a machine gets the public
// half of Access.Key when it is made, and keeps what it has from then on, its successor too: people with keys
// of their own would take each other's away.

// keys is the metadata for a user and a line of authorized_keys.
func keys(user, line string) string { return user + ":" + strings.TrimSpace(line) }

// user is whom to log in as on a machine: the first that its metadata has, else the configured one.
func (c Config) user(i instance) string {
	user, _, _ := strings.Cut(i.metadata[metaKeys], ":")
	return cmp.Or(user, c.User)
}

// ownKey is the metadata for the public half of Access.Key.
func (c Config) ownKey() (string, error) {
	line, err := c.Access.Key.Public()
	if err != nil {
		return "", &platform.Error{What: "the machines cannot be given a key to log in with", Err: err,
			Next: "Give the provider a private key, by ssh.private_key_file or an ssh-agent, or say which public key the machines shall have."}
	}
	return keys(c.User, line), nil
}
