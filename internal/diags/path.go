// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package diags

import (
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
)

// keyed are the attributes that are maps: what follows them is a key.
var keyed = map[string]bool{"nodes": true, "effective": true, "settings": true, "provision_secrets": true,
	"vars": true, "secret_vars": true, "env": true, "secret_env": true}

// attributePath reads "nodes.a.raft_logstore.backend" and "stores.0.disk".
// What follows settings is one key, dots and all.
func attributePath(at string) path.Path {
	p := path.Empty()
	words := strings.Split(at, ".")
	inMap := false // the next word is a key
	for i, word := range words {
		n, err := strconv.Atoi(word)
		switch {
		case inMap && words[i-1] == "settings":
			return p.AtMapKey(strings.Join(words[i:], "."))
		case inMap:
			p = p.AtMapKey(word)
		case i > 0 && err == nil:
			p = p.AtListIndex(n)
		default:
			p = p.AtName(word)
		}
		inMap = !inMap && keyed[word]
	}
	return p
}
