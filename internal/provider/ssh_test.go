// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

// accessOf is what the attribute ssh says.
func accessOf(t *testing.T, config string) Access {
	t.Helper()
	kind := sshAttribute().GetType()
	v, err := (&tfprotov6.DynamicValue{JSON: []byte(config)}).Unmarshal(kind.TerraformType(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	o, err := kind.ValueFromTerraform(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	var ds diag.Diagnostics
	a, unknown := access(t.Context(), o.(types.Object), &ds)
	if ds.HasError() || unknown != "" {
		t.Fatalf("%v, %q", ds, unknown)
	}
	return a
}

// TestAccess: a jump host has the key and the known hosts of the machines unless it says
// otherwise, and the user's own known_hosts is taken where it is there.
func TestAccess(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	own := filepath.Join(home, ".ssh", "known_hosts")

	if diff := cmp.Diff(Access{Key: sshhost.Key{PEM: []byte{}}}, accessOf(t, `null`)); diff != "" {
		t.Errorf("of nothing: %s", diff)
	}
	if a := accessOf(t, `{"record_host_keys": true}`); a.KnownHosts != own || !a.Record {
		t.Errorf("where keys are recorded: %+v", a)
	}
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	key := sshhost.Key{PEM: []byte{}, File: "~/.ssh/key", Passphrase: "open"}
	want := Access{Key: key, KnownHosts: own, Jump: []sshhost.Endpoint{
		{User: "ops", Address: "jump", Port: 2222, Key: key, HostKey: sshhost.HostKey{File: own}},
		{User: "ops", Address: "next", Key: sshhost.Key{File: "other", Passphrase: "open"}, HostKey: sshhost.HostKey{Given: []string{"SHA256:x"}}},
	}}
	got := accessOf(t, `{"private_key_file": "~/.ssh/key", "private_key_passphrase": "open", "jump": [
		{"user": "ops", "address": "jump", "port": 2222}, {"user": "ops", "address": "next", "host_keys": ["SHA256:x"], "private_key_file": "other"}]}`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestOverSSH: the real platform takes what a place and the provider say, and says what
// is missing before it connects anywhere.
func TestOverSSH(t *testing.T) {
	machines := map[string]env.Machine{"a": {User: "ops", Address: "10.0.0.1", Port: 22, HostKeys: []string{"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}}}
	p, err := overSSH(Access{}, machines)
	if err != nil || p == nil {
		t.Fatal(err)
	}
	machines["b"] = env.Machine{User: "ops", Address: "10.0.0.2", Port: 22}
	if _, err := overSSH(Access{}, machines); !errors.Is(err, sshhost.ErrConfig) || !strings.Contains(err.Error(), "node b") {
		t.Errorf("without a host key: %v", err)
	}
	h := &holdfast{ssh: func(Access, map[string]env.Machine) (platform.Platform, error) { return nil, nil }}
	if _, err := h.opener(Access{}, "ssh.private_key")(machines); !errors.Is(err, env.ErrUnknown) || !strings.Contains(err.Error(), "ssh.private_key") {
		t.Errorf("with an unknown key: %v", err)
	}
}
