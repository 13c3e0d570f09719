// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is what fits into sun_path beside the closing zero byte.
const maxSocketPath = 107

// A path that does not fit is reached through a descriptor of its directory:
// /proc/self/fd/N/agent.sock is short whatever the directory is called.
func withShortPath(path string, use func(path string) error) error {
	if len(path) <= maxSocketPath {
		return use(path)
	}
	dir, name := filepath.Split(path)
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // nothing was written through it
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
}

func dialUnix(ctx context.Context, path string) (conn net.Conn, err error) {
	err = withShortPath(path, func(short string) error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			return nil, op.Err // the short path means nothing to a reader
		}
		return nil, err
	}
	return conn, nil
}

// Listen makes the agent's socket at path, which only the owner may connect to.
// A socket file that an earlier agent left is replaced: the caller holds the
// lock that says no other agent lives. Closing the listener leaves the file.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier agent: %w", err)
	}
	var l *net.UnixListener
	err := withShortPath(path, func(short string) error {
		var err error
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false) // the short path is another one by then
		return os.Chmod(short, 0o600)
	})
	if err != nil {
		if l != nil {
			_ = l.Close() // the error before it is the one to tell
		}
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}
