// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

const debugLogHelp = `Look at the raft log of a stopped engine. PATH is the directory of one partition in a
store: raft/default, raft/p2 and so on. Nothing on disk is changed.

  $ holdfast debug log verify /data/1/raft/default
  $ holdfast debug log dump -from 100 -to 120 /data/1/raft/default`

// logPath is the one PATH of a command that looks at a log. Flags may follow it too.
func logPath(flags *flag.FlagSet, args []string) (string, error) {
	if len(args) == 0 {
		return "", usage("a PATH is needed: the directory of a partition, such as /data/1/raft/default")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return "", usage("%w", err)
	}
	if more := flags.Args(); len(more) > 0 {
		return "", usage("one PATH is needed, and %q is more", more[0])
	}
	return filepath.Clean(args[0]), nil
}

// openLog opens a log for reading, or says what to do.
func openLog(path string) (*logstore.ReadOnly, error) {
	r, err := logstore.OpenReadOnly(path)
	if err == nil {
		return r, nil
	}
	e := cannotRead(err)
	if errors.Is(err, logstore.ErrNoLog) {
		e.Next = "Give the directory of a partition: raft/default in a store."
		if found := logsBelow(path); len(found) > 0 {
			e.Next = "Give the directory of a partition: " + strings.Join(found, ", ") + "."
		}
	}
	return nil, e
}

func cannotRead(err error) *agentapi.Error {
	e := &agentapi.Error{What: "the log cannot be read", Why: err.Error(), Next: "Nothing was changed."}
	switch {
	case errors.Is(err, logstore.ErrLocked), errors.Is(err, vfs.ErrLocked):
		e.Next = "Stop the engine and try again. While it runs, raft_logstore.verification compares what it writes and reads; see `verification` in /_status/stores."
	case errors.Is(err, fs.ErrPermission):
		e.Next = "Run it as the engine's user, or as root."
	case errors.Is(err, logstore.ErrIncomplete), errors.Is(err, logstore.ErrBothBackends):
	default:
		e.Next = "Nothing was changed. If the files are damaged: remove this server from the cluster, move its raft directory away, and let it join anew with an empty one."
	}
	return e
}

// logsBelow finds logs below a directory that was given in place of one.
func logsBelow(path string) []string {
	var found []string
	for _, pattern := range []string{"*", "raft/*"} {
		dirs, _ := filepath.Glob(filepath.Join(path, pattern)) // the pattern is well
		for _, dir := range dirs {
			if _, ok, err := logstore.Detect(dir); err == nil && ok {
				found = append(found, dir)
			}
		}
	}
	return found
}

// newestSnapshot is the last index of the newest snapshot beside a log, 0 where
// there is none. Raft's own reader would make the directory.
func newestSnapshot(path string) (uint64, error) {
	files, err := filepath.Glob(filepath.Join(path, "snapshots", "*", "meta.json"))
	if err != nil {
		return 0, err
	}
	newest := uint64(0)
	for _, file := range files {
		if strings.HasSuffix(filepath.Dir(file), ".tmp") {
			continue // a snapshot in the making
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		var meta struct{ Index uint64 }
		if err := json.Unmarshal(b, &meta); err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		newest = max(newest, meta.Index)
	}
	return newest, nil
}
