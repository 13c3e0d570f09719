// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair is a connection and its other end.
func pair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a.(*net.UnixConn), b.(*net.UnixConn)
}

// The end of the input is passed on, and what is answered after it arrives. Seen to hang
// without CloseWrite, and to lose the answer where the end of the input ends all.
func TestJoinHalfClosed(t *testing.T) {
	near, far := pair(t)
	go func() {
		b, _ := io.ReadAll(far)
		_, _ = far.Write([]byte("you said " + string(b)))
		_ = far.Close()
	}()
	var out strings.Builder
	if err := join(t.Context(), strings.NewReader("hello"), &out, near); err != nil || out.String() != "you said hello" {
		t.Errorf("%q %v", out.String(), err)
	}
}

// Where the agent ends the connection, an input that stays open holds nobody.
func TestJoinEnds(t *testing.T) {
	in, keep := io.Pipe()
	defer func() { _ = keep.Close() }()
	near, far := pair(t)
	_ = far.Close()
	if err := join(t.Context(), in, io.Discard, near); err != nil {
		t.Error(err)
	}
	near, _ = pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := join(ctx, in, io.Discard, near); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	// Nor does a connection that stays open, where nobody hears it.
	near, far = pair(t)
	if _, err := far.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	gone, w := io.Pipe()
	_ = gone.Close()
	if err := join(t.Context(), in, w, near); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("nobody hears it: %v", err)
	}
}
