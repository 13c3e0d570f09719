// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package stall

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A message is one packet of JSON on a SOCK_SEQPACKET socketpair. A freeze
// carries the descriptor of the mount's root beside it: the thawer looks up no
// path, and may live in another mount namespace.
type message struct {
	Kind kind          `json:"kind"`
	ID   int           `json:"id,omitempty"` // of the hang
	Most time.Duration `json:"most_ns,omitempty"`
	// Errno and Error say why it failed.
	Errno unix.Errno `json:"errno,omitempty"`
	Error string     `json:"error,omitempty"`
}

type kind string

const (
	// To the thawer.
	kindFreeze  kind = "freeze"
	kindRelease kind = "release"
	// From it.
	kindReady  kind = "ready"  // once, first
	kindFrozen kind = "frozen" // it hangs
	kindThawed kind = "thawed" // and is back; or with an error: it is not
	kindFailed kind = "failed" // it was not frozen and is left alone
)

// maxMessage bounds a packet.
const maxMessage = 4 << 10

// wire is one end of the socketpair. Writers exclude each other by themselves.
type wire struct{ conn *net.UnixConn }

// newWire takes over the socket f.
func newWire(f *os.File) (wire, error) {
	defer func() { _ = f.Close() }() // the connection has its own descriptor
	c, err := net.FileConn(f)
	if err != nil {
		return wire{}, fmt.Errorf("use the thawer's socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close() // nothing was sent
		return wire{}, fmt.Errorf("use the thawer's socket: it is a %T", c)
	}
	return wire{u}, nil
}

// pair makes both ends of a socketpair.
func pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the thawer's socket: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "thawer"), os.NewFile(uintptr(fds[1]), "thawer's"), nil
}

func (w wire) send(m message, dir *os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if dir != nil {
		rights = unix.UnixRights(int(dir.Fd()))
	}
	_, _, err = w.conn.WriteMsgUnix(b, rights, nil)
	return err
}

// receive returns the next message, and the descriptor that came with it.
// io.EOF: the other end is gone.
func (w wire) receive() (message, *os.File, error) {
	b, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	n, on, _, _, err := w.conn.ReadMsgUnix(b, oob)
	if errors.Is(err, unix.ECONNRESET) { // it died with our last message unread
		err = io.EOF
	}
	if err != nil {
		return message{}, nil, err
	}
	var dir *os.File
	if on > 0 {
		if dir, err = descriptor(oob[:on]); err != nil {
			return message{}, nil, err
		}
	}
	var m message
	if err := json.Unmarshal(b[:n], &m); err != nil {
		if dir != nil {
			_ = dir.Close() // nothing was done with it
		}
		return message{}, nil, fmt.Errorf("a message on the thawer's socket: %w", err)
	}
	return m, dir, nil
}

func descriptor(oob []byte) (*os.File, error) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(all) != 1 {
		return nil, fmt.Errorf("a descriptor on the thawer's socket: %d came: %w", len(all), errors.Join(err, unix.EINVAL))
	}
	fds, err := unix.ParseUnixRights(&all[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("a descriptor on the thawer's socket: %d came: %w", len(fds), errors.Join(err, unix.EINVAL))
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "mount"), nil
}
