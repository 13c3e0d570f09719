// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRun serves, answers, fails the call that it was told to, and ends.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, lines := io.Pipe()
	var messages bytes.Buffer // read once run has returned
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-listen", "127.0.0.1:0", "-project", "p-1", "-zones", "us-east4-a", "-fault", "zones.list:1:503"}, lines, &messages)
	}()
	endpoint, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", err, <-done)
	}
	base := strings.TrimSpace(endpoint) + "/compute/v1/projects/p-1"
	for _, want := range []struct {
		path   string
		status int
	}{{"", 200}, {"/zones", 503}, {"/zones", 200}, {"/zones/us-west2-a", 404}} {
		resp, err := http.Get(base + want.path) //nolint:noctx // loopback
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want.status {
			t.Errorf("%q: %s, want %d", want.path, resp.Status, want.status)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, says := range []string{"Project p-1", "WithEndpoint(\"http://127.0.0.1:", " 503 compute.zones.list projects/p-1/zones (fault)", " 404 compute.zones.get projects/p-1/zones/us-west2-a"} {
		if !strings.Contains(messages.String(), says) {
			t.Errorf("no %q in:\n%s", says, messages.String())
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for _, tc := range []struct {
		args []string
		says string
	}{
		{[]string{"-listen", "0.0.0.0:0"}, "for this machine only"},
		{[]string{"-zones", "mars"}, `zone "mars": want a name like us-east4-a`},
		{[]string{"-zones", "us-east4-a,us-east4-a"}, "named twice"},
		{[]string{"-delay", "-1s"}, "may be negative"},
		{[]string{"-fault", "disks.make:1:503"}, "no method compute.disks.make"},
		{[]string{"-fault", "disks.insert:1:fire"}, `effect "fire" is none of`},
		{[]string{"-fault", "disks.insert:503"}, "is not METHOD:CALL:EFFECT"},
		{[]string{"serve"}, `unexpected argument "serve"`},
	} {
		err := run(t.Context(), tc.args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%v: %v, want %q", tc.args, err, tc.says)
		}
	}
}

func TestParseFault(t *testing.T) {
	f, err := parseFault("disks.insert:2:lost")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{"compute.disks.insert", 2, true}, []any{f.Method, f.Call, f.Lost}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
