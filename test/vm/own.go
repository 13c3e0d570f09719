// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/test/scratch"
)

// dirs are the machines' directories. What killed tests left, the next machine removes: the directories,
// and a QEMU that works in one, should there be any.
var dirs = scratch.Kind{Prefix: "holdfast-vm-", Release: killUsers}

// killUsers ends each QEMU whose command line has files of the directory. A
// process is held by a descriptor before its command line is read, so that it
// is no other by the time of the signal.
func killUsers(dir string) error {
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, proc := range found {
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // ended meanwhile
		}
		line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		if err == nil && filepath.Base(first(line)) == program && strings.Contains(string(line), dir+"/") {
			err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		} else {
			err = nil
		}
		_ = unix.Close(fd)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("ending QEMU %d: %w", pid, err)
		}
	}
	return nil
}

func first(line []byte) string {
	word, _, _ := bytes.Cut(line, []byte{0})
	return string(word)
}
