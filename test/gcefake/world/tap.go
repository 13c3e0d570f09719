// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package world

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Tap plugs a network card of a program into the bridge. It is gone when all who have it have closed it.
func (w *World) Tap() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	tap := os.NewFile(uintptr(fd), "tap") // not for Go to read: the poller never gets it
	request, err := unix.NewIfreq("hftap%d")
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		var out []byte
		if out, err = exec.Command("ip", "link", "set", request.Name(), "master", Bridge, "up").CombinedOutput(); err != nil { //nolint:noctx // it does not wait
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	if err != nil {
		_ = tap.Close()
		return nil, fmt.Errorf("a network card: %w", err)
	}
	return tap, nil
}
