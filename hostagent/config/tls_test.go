// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

const secured = `
stores    = [{path = "/data"}]
certs_dir = "/certs"
`

func TestListeners(t *testing.T) {
	all := TLS{CA: "/certs/ca.crt", Cert: "/certs/node.crt", Key: "/certs/node.key", HTTPSAddress: "127.0.0.1:8501"}
	with := func(change func(*TLS)) *TLS { t := all; change(&t); return &t }
	for _, tc := range []struct {
		name, text string
		http       string
		want       *TLS
		warning    string
	}{
		{"none", `stores = [{path = "/data"}]`, "127.0.0.1:8500", nil, ""},
		{"loopback", secured, "127.0.0.1:8500", &all, ""},
		{"beyond", secured + `bind_addr = "10.0.0.1"`, "127.0.0.1:8500", with(func(t *TLS) { t.HTTPSAddress = "10.0.0.1:8501" }), ""},
		{"Consul's client_addr", secured + `bind_addr = "10.0.0.1"
			client_addr = "0.0.0.0"`, "127.0.0.1:8500", with(func(t *TLS) { t.HTTPSAddress = "0.0.0.0:8501" }), ""},
		{"everywhere, advertised", secured + `bind_addr = "0.0.0.0"
			advertise_addr = "10.0.0.1"`, "127.0.0.1:8500", with(func(t *TLS) { t.HTTPSAddress = "0.0.0.0:8501" }), ""},
		{"own addresses", secured + `addresses { https = "10.0.0.2" http = "127.0.0.2" }
			ports { https = 443 }`, "127.0.0.2:8500", with(func(t *TLS) { t.HTTPSAddress = "10.0.0.2:443" }), ""},
		{"Consul's files", `stores = [{path = "/data"}]
			ca_file = "/a" 
			cert_file = "/b"
			key_file = "/c"`, "127.0.0.1:8500", &TLS{CA: "/a", Cert: "/b", Key: "/c", HTTPSAddress: "127.0.0.1:8501"}, ""},
		{"a file beside the directory", secured + `ca_file = "/a"`, "127.0.0.1:8500", with(func(t *TLS) { t.CA = "/a" }), ""},
		{"any client, here", secured + `verify_incoming = false`, "127.0.0.1:8500", with(func(t *TLS) { t.AnyClient = true }), ""},
		{"any client, from afar", secured + `verify_incoming = true
			verify_incoming_https = false
			bind_addr = "10.0.0.1"`, "127.0.0.1:8500", with(func(t *TLS) { t.AnyClient, t.HTTPSAddress = true, "10.0.0.1:8501" }), "whoever reaches 10.0.0.1:8501"},
		{"a port for nothing", `stores = [{path = "/data"}]
			ports { https = 8501 }`, "127.0.0.1:8500", nil, "no effect without certificates"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, unknown := decode(t, tc.text)
			c, err := f.Config()
			if err != nil || len(unknown) > 0 {
				t.Fatal(err, unknown)
			}
			if diff := cmp.Diff(tc.want, c.TLS); diff != "" || c.HTTPAddress != tc.http {
				t.Errorf("HTTP at %s\n%s", c.HTTPAddress, diff)
			}
			if got := strings.Join(c.Warnings, ";"); (got == "") != (tc.warning == "") || !strings.Contains(got, tc.warning) {
				t.Errorf("warnings: %q", got)
			}
		})
	}
}

func TestTLSRefusals(t *testing.T) {
	for _, tc := range []struct{ name, text, field, says string }{
		{"plain HTTP beyond loopback", secured + `addresses { http = "10.0.0.1" }`, "addresses.http", "10.0.0.1"},
		{"no key", `stores = [{path = "/data"}]
			ca_file = "/a"
			cert_file = "/b"`, "key_file", "TLS needs it"},
		{"one port for both", secured + `ports { https = 8500 }`, "ports.https", "127.0.0.1:8500"},
		{"the servers' port", secured + `ports { https = 8300 }`, "ports.https", "ports.server"},
		{"no port", secured + `ports { https = 70000 }`, "ports.https", "70000"},
		{"a name", secured + `addresses { https = "db1" }`, "addresses.https", "db1"},
		{"bind a name", secured + `bind_addr = "db1"`, "bind_addr", "not an IP address"},
		{"nobody can dial it", secured + `bind_addr = "0.0.0.0"`, "advertise_addr", "0.0.0.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, _ := decode(t, tc.text)
			_, err := f.Config()
			e, ok := errors.AsType[*agentapi.Error](err)
			if !ok || e.Field != tc.field || !strings.Contains(e.Why, tc.says) || e.Next == "" {
				t.Errorf("error is %+v", err)
			}
		})
	}
}

// What the agent writes for a spec with TLS: HTTPS where others reach it, plain HTTP on
// loopback alone, where the agent asks. Other certificates are no other configuration;
// TLS or none is.
func TestSpecWithTLS(t *testing.T) {
	for _, tc := range []struct{ bind, http, https string }{
		{"10.0.0.1", "127.0.0.1:8500", "10.0.0.1:8501"},
		{"2001:db8::1", "127.0.0.1:8500", "[2001:db8::1]:8501"},
		{"127.0.1.1", "127.0.1.1:8500", "127.0.1.1:8501"},
	} {
		s := (&agentapi.Spec{
			Cluster: agentapi.Cluster{Name: "orders", ID: "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"}, Node: "a", BindAddress: tc.bind,
			Servers: []agentapi.Server{{Name: "a", Address: net.JoinHostPort(tc.bind, "8300"), Voter: true}},
			Stores:  []agentapi.StoreSpec{{Path: "/data"}}, TLS: &agentapi.TLS{},
		}).WithDefaults()
		through := func() *Config {
			t.Helper()
			b, err := json.Marshal(FromSpec(s, nil, "/etc/holdfast/certs"))
			if err != nil {
				t.Fatal(err)
			}
			f, unknown := decode(t, string(b))
			c, err := f.Config()
			if err != nil || len(unknown) > 0 || len(c.Warnings) > 0 {
				t.Fatal(err, unknown, c)
			}
			return c
		}
		c := through()
		want := &TLS{CA: "/etc/holdfast/certs/ca.crt", Cert: "/etc/holdfast/certs/node.crt", Key: "/etc/holdfast/certs/node.key", HTTPSAddress: tc.https}
		if diff := cmp.Diff(want, c.TLS); diff != "" || c.HTTPAddress != tc.http || HTTPAddress(s) != tc.http {
			t.Errorf("%s: HTTP at %s, asked at %s\n%s", tc.bind, c.HTTPAddress, HTTPAddress(s), diff)
		}
		hash := c.Hash()
		s.TLS = &agentapi.TLS{Hosts: []string{"db1"}, Rotation: "2"}
		if through().Hash() != hash {
			t.Errorf("%s: another certificate is another configuration", tc.bind)
		}
		if s.TLS, s.Ports.HTTPS = nil, 0; loopback(tc.bind) && through().Hash() == hash {
			t.Errorf("%s: without TLS it is the same configuration", tc.bind)
		}
	}
}

// Certificates are part of the configuration's hash, and none leave it as it was.
func TestHashTLS(t *testing.T) {
	plain, _ := decode(t, `stores = [{path = "/data"}]`)
	a, err := plain.Config()
	if err != nil {
		t.Fatal(err)
	}
	without := a.Hash()
	a.TLS = &TLS{CA: "/a"}
	if a.Hash() == without {
		t.Error("TLS does not count")
	}
}
