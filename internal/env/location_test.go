// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package env

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	pin       = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
	publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGzm0sHl1ZQJj1Z4xGxkGmHk0cGkJ4oQ8o5l0V3q3m0p"
)

func TestLocation(t *testing.T) {
	for text, want := range map[string]Location{
		"local:/srv/orders":                {Directory: "/srv/orders"},
		"gce:acme-prod/orders":             {Project: "acme-prod", Cluster: "orders"},
		"gce:example.com:acme-prod/orders": {Project: "example.com:acme-prod", Cluster: "orders"},
		"ssh:a=ops@10.0.0.1":               {Machines: map[string]Machine{"a": {User: "ops", Address: "10.0.0.1", Port: 22}}},
		"ssh:a=ops@a.example.com:2222/10.0.0.1,b=root@[fd00::2]/fd01::2#" + pin: {Machines: map[string]Machine{
			"a": {User: "ops", Address: "a.example.com", Port: 2222, ClusterAddress: "10.0.0.1"},
			"b": {User: "root", Address: "fd00::2", Port: 22, ClusterAddress: "fd01::2", HostKeys: []string{pin}},
		}},
		"ssh:a=me@corp@[fd00::2]:23#ssh-rsa:" + pin + "#" + pin: {Machines: map[string]Machine{
			"a": {User: "me@corp", Address: "fd00::2", Port: 23, HostKeys: []string{"ssh-rsa " + pin, pin}},
		}},
	} {
		got, err := ParseLocation(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
		if got.String() != text {
			t.Errorf("%s becomes %s", text, got)
		}
	}
	for text, why := range map[string]string{
		"":                              "write local:DIRECTORY",
		"local:":                        "write local:DIRECTORY",
		"/srv/orders":                   "write local:DIRECTORY",
		"ssh:":                          "write local:DIRECTORY",
		"ssh:a":                         "it names no user",
		"ssh:a=10.0.0.1":                "it names no user",
		"ssh:A=ops@10.0.0.1":            "not a DNS label",
		"ssh:a=ops@h,a=ops@i":           "the node is named twice",
		"ssh:a=@10.0.0.1":               `"" is not the name of a user`,
		"ssh:a=ops@":                    `"" is neither a name nor an IP address`,
		"ssh:a=ops@h:0":                 `"0" is not a port`,
		"ssh:a=ops@h:022":               `"022" is not a port`,
		"ssh:a=ops@fd00::2":             "ADDRESS:PORT is not understood",
		"ssh:a=ops@h/":                  `"" is not an IP address`,
		"ssh:a=ops@h/b.example.com":     `"b.example.com" is not an IP address`,
		"ssh:a=ops@h/0.0.0.0":           "not the address of one machine",
		"ssh:a=ops@h#SHA256:short":      "its host key",
		"ssh:a=ops@h#dss:" + pin:        "its host key",
		"ssh:a=ops@h#" + pin + "#":      "its host key",
		"ssh:a=ops@h,":                  "it names no user",
		"ssh:a=ops@10.0.0.1 ,b=ops@h":   "neither a name nor an IP address",
		"gce:project":                   `"" in the location of a cluster is not the name of a cluster`,
		"gce:/orders":                   `"" in the location of a cluster is not the id of a project`,
		"gce:Project/orders":            "not the id of a project",
		"gce:project/Orders":            "not the name of a cluster",
		"gce:project/orders/x":          "not the name of a cluster",
		"ssh:a=o ps@10.0.0.1":           "not the name of a user",
		"ssh:a=ops@10.0.0.1/10.0.0.1%1": "not an IP address",
	} {
		if l, err := ParseLocation(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, %v", text, l, err)
		}
	}
}

// TestOneTextPerPlace: what means the same is written the same.
func TestOneTextPerPlace(t *testing.T) {
	l := Location{Machines: map[string]Machine{"b": {User: "ops", Address: "10.0.0.2"}, "a": {User: "ops", Address: "10.0.0.1", Port: 22, ClusterAddress: "10.0.0.1"}}}
	if got := l.String(); got != "ssh:a=ops@10.0.0.1,b=ops@10.0.0.2" {
		t.Error(got)
	}
	same, err := ParseLocation("ssh:b=ops@10.0.0.2:22/10.0.0.2,a=ops@10.0.0.1")
	if err != nil || same.String() != l.String() {
		t.Error(same, err)
	}
}

func TestHostKey(t *testing.T) {
	short, err := HostKey(publicKey)
	if err != nil || !strings.HasPrefix(short, "ssh-ed25519 SHA256:") {
		t.Fatalf("%q, %v", short, err)
	}
	for line, want := range map[string]string{
		publicKey + " root@a":                 short,
		"10.0.0.1,a.example.com " + publicKey: short,
		"  " + publicKey + "\n":               short,
		short:                                 short,
		pin:                                   pin,
		"ssh-rsa " + pin:                      "ssh-rsa " + pin,
		"":                                    "",
		"SHA256:short":                        "",
		"MD5:aa:bb":                           "",
		"dss " + pin:                          "",
		"@cert-authority * " + publicKey:      "",
		publicKey + "\n" + publicKey:          "",
		"ssh-rsa " + strings.Fields(publicKey)[1]: "", // another type than the key's
	} {
		if got, err := HostKey(line); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v", line, got, err)
		}
	}
}

func FuzzParseLocation(f *testing.F) {
	for _, text := range []string{"local:/srv/orders", "local:orders", "local:", "/srv/orders", "", "local:/srv/../orders", "local:local:/x", "ssh:host", "gce:acme-prod/orders", "gce:a:acme-prod/x",
		"ssh:a=ops@10.0.0.1,b=ops@[fd00::2]:2222/10.0.0.2#" + pin, "ssh:a=o@h#ssh-rsa:" + pin} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLocation(text)
		if err != nil {
			return
		}
		if !l.Remote() && (!filepath.IsAbs(l.Directory) || filepath.Clean(l.Directory) != l.Directory) {
			t.Errorf("%q is the directory %q", text, l.Directory)
		}
		again, err := ParseLocation(l.String())
		if diff := cmp.Diff(l, again); err != nil || diff != "" {
			t.Errorf("%q is %q: %v\n%s", text, l, err, diff)
		}
		if l.Machines == nil {
			return
		}
		if where, rest, ok := CutLocation(l.String() + "#a key"); !ok || where != l.String() || rest != "a key" {
			t.Errorf("%q with a key is cut into %q and %q", l, where, rest)
		}
	})
}
