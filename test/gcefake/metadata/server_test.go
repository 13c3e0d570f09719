// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package metadata

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// guest takes guest attributes, or refuses them.
type guest struct {
	emulator.Guest
	attributes map[string]string // nil refuses
}

func (g guest) SetAttribute(namespace, key, value string) bool {
	if g.attributes == nil {
		return false
	}
	g.attributes[namespace+"/"+key] = value
	return true
}

var loopback = netip.MustParseAddr("127.0.0.1")

func machine(g emulator.Guest, keys string) emulator.Machine {
	return emulator.Machine{Project: "p", Zone: "us-east4-a", Name: "orders-a", ID: 7, MachineType: "n2-standard-4", Guest: g,
		Metadata: map[string]string{"ssh-keys": keys, "enable-guest-attributes": "TRUE"}, Interfaces: []emulator.Interface{{Network: "x/networks/default", Address: "10.0.0.2"}},
		Disks: []emulator.Attachment{{DeviceName: "boot", Interface: "SCSI", Boot: true}}}
}

func ask(t *testing.T, url, method, body string, header bool) (int, string, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header {
		r.Header.Set(flavor, google)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header.Get("ETag")
}

func TestRead(t *testing.T) {
	var s Server
	s.Set(loopback, machine(guest{}, "ops:key"))
	web := httptest.NewServer(&s)
	defer web.Close()
	for _, tc := range []struct {
		path, want string
		code       int
	}{
		{"instance/name", "orders-a", 200},
		{"instance/id", "7", 200},
		{"instance/zone", "projects/123456789012/zones/us-east4-a", 200},
		{"instance/attributes/ssh-keys", "ops:key", 200},
		{"instance/attributes/", "enable-guest-attributes\nssh-keys\n", 200},
		{"instance/network-interfaces/0/ip", "10.0.0.2", 200},
		{"instance/disks/0/device-name", "boot", 200},
		{"project/project-id", "p", 200},
		{"instance/attributes/none", "404 page not found\n", 404},
		{"instance/disks/1/mode", "404 page not found\n", 404},
		{"instance/attributes/?recursive=true", `{"enable-guest-attributes":"TRUE","ssh-keys":"ops:key"}`, 200},
		{"instance/virtual-clock/?recursive=true&alt=json", `{"driftToken":"0"}`, 200},
	} {
		if code, got, _ := ask(t, web.URL+root+tc.path, "GET", "", true); code != tc.code || got != tc.want {
			t.Errorf("%s: %d %q, want %d %q", tc.path, code, got, tc.code, tc.want)
		}
	}
	if code, _, _ := ask(t, web.URL+root+"instance/name", "GET", "", false); code != http.StatusForbidden {
		t.Errorf("without %s: %d", flavor, code)
	}
	s.Forget(loopback)
	if code, _, _ := ask(t, web.URL+root+"instance/name", "GET", "", true); code != http.StatusNotFound {
		t.Errorf("to a stranger: %d", code)
	}
}

// TestWait: who has what is there is answered when that changes, and who has something older at once.
func TestWait(t *testing.T) {
	var s Server
	s.Set(loopback, machine(guest{}, "ops:one"))
	web := httptest.NewServer(&s)
	defer web.Close()
	url := web.URL + root + "instance/attributes/?recursive=true&wait_for_change=true&last_etag="
	_, text, tag := ask(t, url+"older", "GET", "", true)
	if !strings.Contains(text, "ops:one") {
		t.Fatal(text)
	}
	answers := make(chan string, 1) // one
	go func() {
		_, text, _ := ask(t, url+tag, "GET", "", true)
		answers <- text
	}()
	s.Set(loopback, machine(guest{}, "ops:one")) // nothing differs
	s.Set(loopback, machine(guest{}, "ops:two"))
	if text := <-answers; !strings.Contains(text, "ops:two") {
		t.Error(text)
	}
	if _, text, _ := ask(t, url+etag(`{"enable-guest-attributes":"TRUE","ssh-keys":"ops:two"}`)+"&timeout_sec=0", "GET", "", true); !strings.Contains(text, "ops:two") {
		t.Error(text)
	}
}

func TestGuestAttributes(t *testing.T) {
	var s Server
	g := guest{attributes: map[string]string{}}
	s.Set(loopback, machine(g, ""))
	web := httptest.NewServer(&s)
	defer web.Close()
	at := web.URL + root + "instance/guest-attributes/hostkeys/ssh-ed25519"
	if code, _, _ := ask(t, at, "PUT", "AAAA", true); code != 200 || g.attributes["hostkeys/ssh-ed25519"] != "AAAA" {
		t.Errorf("%d, %v", code, g.attributes)
	}
	s.Set(loopback, machine(g, "changed"))
	if code, text, _ := ask(t, at, "GET", "", true); code != 200 || text != "AAAA" {
		t.Errorf("%d %q", code, text)
	}
	s.Set(loopback, machine(guest{}, ""))
	if code, _, _ := ask(t, at, "PUT", "AAAA", true); code != http.StatusForbidden {
		t.Errorf("where they are not enabled: %d", code)
	}
}
