// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// What of a log is shown.
const (
	tailBytes = 4096
	tailLines = 8
)

// tail returns the last lines of a log from offset on, none where it cannot be read.
func tail(path string, offset int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // read only
	fi, err := f.Stat()
	if err != nil {
		return ""
	}
	whole := true
	if start := fi.Size() - tailBytes; start > offset {
		offset, whole = start, false
	}
	b, err := io.ReadAll(io.NewSectionReader(f, offset, tailBytes))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(b), "?")), "\n")
	if !whole && len(lines) > 1 {
		lines = lines[1:] // its beginning is missing
	}
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

func describe(pid int, how, log string) string {
	s := fmt.Sprintf("pid %d %s", pid, how)
	if log == "" {
		return s + "; it wrote nothing to its log"
	}
	return s + "; its log ends:\n" + log
}
