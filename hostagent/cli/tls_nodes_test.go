// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"strings"
	"testing"
)

// TestCommandEnds: a program that ends without an answer says why, to who writes as to who reads.
//
// Seen to fail with a Write that tells what the pipe says.
func TestCommandEnds(t *testing.T) {
	c, err := joinCommand([]string{"/bin/sh", "-c", "echo no route >&2; exit 255"})
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	var wrote error
	for wrote == nil {
		_, wrote = c.Write([]byte("GET /v1/status HTTP/1.1\r\n"))
	}
	for who, err := range map[string]error{"who writes": wrote, "who reads": <-read} {
		if err == nil || !strings.Contains(err.Error(), "ended without an answer: no route") {
			t.Errorf("%s: %v", who, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
