// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/verify"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

var debugLogVerifyCommand = command{
	synopsis: "Check the raft log of a stopped engine",
	usage:    "[options] PATH",
	help: `Reads a log from end to end: indexes follow each other, terms never go back, every entry
decodes, the backend's own checksums hold (wal), and every range is what the leader's
checkpoint in the log says it wrote (raft_logstore.verification). PATH is the directory of
one partition in a store. Nothing is changed. The exit code is 1 where the log is damaged.

  $ holdfast debug log verify /data/1/raft/default
  $ holdfast debug log verify -json /data/1/raft/default`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		asJSON := flags.Bool("json", false, "print JSON")
		return func(ctx context.Context, args []string) error {
			path, err := logPath(flags, args)
			if err != nil {
				return err
			}
			v, err := verifyLog(ctx, path)
			if err != nil {
				return err
			}
			if *asJSON {
				err = printJSON(env.Stdout, v)
			} else {
				err = v.print(env.Stdout)
			}
			return errors.Join(err, v.err())
		}
	},
}

// verifiedLog is what is known of a log that was checked.
type verifiedLog struct {
	Path    string `json:"path"`
	Backend string `json:"backend"`
	OK      bool   `json:"ok"`
	// Snapshot is the last index of the newest one beside the log.
	Snapshot uint64         `json:"snapshot"`
	Log      verify.Summary `json:"log"`
	// Damage is what the backend's own checksums say, TornBytes what is behind the
	// last sound batch.
	Damage    []string `json:"damage"`
	TornBytes int64    `json:"torn_bytes"`
	// ArmedSides may hold entries that the log does not have.
	ArmedSides []string `json:"armed_sides"`
}

func verifyLog(ctx context.Context, path string) (v *verifiedLog, err error) {
	r, err := openLog(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	v = &verifiedLog{Path: path, Backend: string(r.Backend()), Damage: []string{}}
	if v.ArmedSides, err = armedSides(path); err != nil {
		return nil, err
	}
	if v.Snapshot, err = newestSnapshot(path); err != nil {
		return nil, err
	}
	decode := func(l *raft.Log) error {
		_, err := meaningOf(l)
		return err
	}
	if v.Log, err = verify.Check(ctx, r, verify.CheckOptions{Snapshot: v.Snapshot, Decode: decode}); err != nil {
		return nil, err
	}
	damage, torn, err := r.Scan()
	if err != nil {
		return nil, err
	}
	for _, d := range damage {
		v.Damage = append(v.Damage, d.Error())
	}
	v.TornBytes = torn
	v.OK = v.Log.Found == 0 && len(v.Damage) == 0
	return v, nil
}

func armedSides(path string) ([]string, error) {
	sides, err := failover.Armed(path)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, cannotRead(err)
	}
	if err != nil {
		return nil, &agentapi.Error{What: "it is not known which sides the log failed over to", Why: err.Error(),
			Next: "Entries may be on a side disk alone. Nothing was changed; the engine says at its start what it misses."}
	}
	return append([]string{}, sides...), nil
}

// sidesNote says that a log may not be all of it.
func sidesNote(sides []string) string {
	return "the newest entries may be on " + strings.Join(sides, " and ") + " alone; the next start of the engine takes them over"
}

func (v *verifiedLog) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("Log", "%s (%s)", v.Path, v.Backend)
	if l := &v.Log; l.First == 0 {
		row("Entries", "none")
	} else {
		row("Entries", "%d to %d: %d with %d bytes, terms %d to %d", l.First, l.Last, l.Entries, l.Bytes, l.FirstTerm, l.LastTerm)
	}
	if v.Snapshot > 0 {
		row("Snapshot", "up to entry %d", v.Snapshot)
	}
	row("Checkpoints", "%d: %d ranges are what the leader wrote%s", v.Log.Checkpoints, v.Log.RangesOK, skippedText(v.Log.Skipped))
	row("Not covered", "%d entries, by no checkpoint that could be compared", v.Log.Unchecked)
	if v.TornBytes > 0 {
		row("Note", "%d bytes follow the last sound batch: a write that a crash cut short, or the last batch is damaged", v.TornBytes)
	}
	if len(v.ArmedSides) > 0 {
		row("Note", "the engine did not stop cleanly: %s", sidesNote(v.ArmedSides))
	}
	for _, d := range v.Damage {
		row("DAMAGED", "%s", d)
	}
	for _, f := range v.Log.Findings {
		row("DAMAGED", "%s", f.Text)
	}
	if more := v.Log.Found - uint64(len(v.Log.Findings)); more > 0 {
		row("DAMAGED", "and %d more", more)
	}
	if v.OK {
		row("Result", "OK")
	}
	return w.Flush()
}

func skippedText(skipped map[verify.Reason]uint64) string {
	var parts []string
	for _, r := range slices.Sorted(maps.Keys(skipped)) {
		parts = append(parts, fmt.Sprintf("%d %s", skipped[r], strings.ReplaceAll(string(r), "_", " ")))
	}
	if len(parts) == 0 {
		return ""
	}
	return ", skipped: " + strings.Join(parts, ", ")
}

// err is nil where nothing is wrong.
func (v *verifiedLog) err() error {
	if v.OK {
		return nil
	}
	return &agentapi.Error{What: "the log is damaged", Why: fmt.Sprintf("%d things are wrong in %s", v.Log.Found+uint64(len(v.Damage)), v.Path),
		Next: "Do not start this engine on it while the others are a quorum. Check the disk; then remove this server from the cluster, and only after that move its raft directory away (it holds its vote) and let it join anew with an empty one."}
}
