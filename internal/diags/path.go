// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package diags

import (
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
)

// keyed are the attributes that are maps: what follows them is a key.
var keyed = map[string]bool{"nodes": true, "effective": true, "settings": true}

// attributePath reads "nodes.a.raft_logstore.backend" and "stores.0.disk".
// What follows settings is one key, dots and all.
func attributePath(at string) path.Path {
	p := path.Empty()
	words := strings.Split(at, ".")
	for i := 0; i < len(words); i++ {
		word := words[i]
		n, err := strconv.Atoi(word)
		switch {
		case i > 0 && words[i-1] == "settings":
			return p.AtMapKey(strings.Join(words[i:], "."))
		case i > 0 && keyed[words[i-1]]:
			p = p.AtMapKey(word)
		case i > 0 && err == nil:
			p = p.AtListIndex(n)
		default:
			p = p.AtName(word)
		}
	}
	return p
}
