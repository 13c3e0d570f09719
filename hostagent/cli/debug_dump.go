// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/verify"
)

var debugLogDumpCommand = command{
	synopsis: "Show the entries of a stopped engine's raft log",
	usage:    "[options] PATH",
	help: `Shows a log's entries: index, term, type, size and, in short, what they mean. Values are
not shown. PATH is the directory of one partition in a store. Nothing is changed.

  $ holdfast debug log dump /data/1/raft/default
  $ holdfast debug log dump -from 100 -to 120 -json /data/1/raft/default`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		from := flags.Uint64("from", 0, "the first `index` to show")
		to := flags.Uint64("to", 0, "the last `index` to show; 0: the log's last")
		asJSON := flags.Bool("json", false, "print JSON, an object per line")
		return func(ctx context.Context, args []string) error {
			path, err := logPath(flags, args)
			if err != nil {
				return err
			}
			if *to == 0 {
				*to = math.MaxUint64
			}
			if *from > *to {
				return usage("-from %d is above -to %d", *from, *to)
			}
			return dumpLog(ctx, env, path, *from, *to, *asJSON)
		}
	},
}

func dumpLog(ctx context.Context, env *Env, path string, from, to uint64, asJSON bool) (err error) {
	r, err := openLog(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	sides, err := armedSides(path)
	if err != nil {
		return err
	}
	if len(sides) > 0 {
		fmt.Fprintf(env.Stderr, "The engine did not stop cleanly: %s.\n", sidesNote(sides))
	}
	first, err := r.FirstIndex()
	if err != nil {
		return err
	}
	last, err := r.LastIndex()
	if err != nil {
		return err
	}
	if first == 0 {
		fmt.Fprintln(env.Stderr, "The log is empty.")
		return nil
	}
	if from > last || to < first {
		fmt.Fprintf(env.Stderr, "The log has entries %d to %d, and none of these.\n", first, last)
		return nil
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	lines := json.NewEncoder(env.Stdout)
	lines.SetEscapeHTML(false)
	if !asJSON {
		fmt.Fprintln(w, "INDEX\tTERM\tTYPE\tBYTES\tWHAT")
	}
	for i := max(from, first); i <= min(to, last); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := showEntry(r, i)
		if asJSON {
			err = lines.Encode(e)
		} else {
			_, err = fmt.Fprintf(w, "%d\t%d\t%s\t%d\t%s\n", e.Index, e.Term, e.Type, e.Bytes, e.short())
		}
		if err != nil {
			return err
		}
		if !asJSON && i%1000 == 999 { // columns are aligned a page at a time
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

// shownEntry is a log entry as dump shows it.
type shownEntry struct {
	Index      uint64     `json:"index"`
	Term       uint64     `json:"term"`
	Type       string     `json:"type"`
	Bytes      int        `json:"bytes"`
	AppendedAt *time.Time `json:"appended_at,omitempty"`
	*meaning
	Error string `json:"error,omitempty"`
}

// meaning is what an entry says, decoded.
type meaning struct {
	Commands      []shownCommand   `json:"commands,omitempty"`
	Checkpoint    *shownCheckpoint `json:"checkpoint,omitempty"`
	Configuration []shownServer    `json:"configuration,omitempty"`
}

type shownServer struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Suffrage string `json:"suffrage"`
}

type shownCommand struct {
	Op         string   `json:"op"`
	Key        string   `json:"key,omitempty"`
	ValueBytes int      `json:"value_bytes"`
	Index      uint64   `json:"if_index,omitempty"` // of a check-and-set
	Settings   []string `json:"settings,omitempty"`
}

type shownCheckpoint struct {
	RangeStart uint64 `json:"range_start"`
	RangeEnd   uint64 `json:"range_end"`
	Checksum   string `json:"checksum"`
}

// showEntry reads an entry; damaged bytes may make a decoder panic.
func showEntry(r *logstore.ReadOnly, index uint64) (s shownEntry) {
	s.Index = index
	defer func() {
		if p := recover(); p != nil {
			s.Error = fmt.Sprint(p)
		}
	}()
	var l raft.Log
	if err := r.GetLog(index, &l); err != nil {
		s.Error = err.Error()
		return s
	}
	s.Index, s.Term, s.Bytes = l.Index, l.Term, len(l.Data)
	s.Type = strings.ToLower(strings.TrimPrefix(l.Type.String(), "Log"))
	if !l.AppendedAt.IsZero() {
		at := l.AppendedAt.UTC()
		s.AppendedAt = &at
	}
	if l.Index != index {
		s.Error = fmt.Sprintf("it stands where entry %d should", index)
	}
	m, err := meaningOf(&l)
	if err != nil {
		s.Error = err.Error()
	}
	s.meaning = m
	return s
}

// meaningOf decodes an entry, or says why it means nothing. Over damaged bytes it
// may panic.
func meaningOf(l *raft.Log) (*meaning, error) {
	m := &meaning{}
	switch l.Type {
	case raft.LogNoop, raft.LogBarrier:
	case raft.LogConfiguration:
		for _, s := range raft.DecodeConfiguration(l.Data).Servers {
			m.Configuration = append(m.Configuration, shownServer{string(s.ID), string(s.Address), strings.ToLower(s.Suffrage.String())})
		}
	case raft.LogCommand:
		if verify.IsCheckpoint(l) {
			c, err := verify.Decode(l)
			if err != nil {
				return nil, err
			}
			m.Checkpoint = &shownCheckpoint{c.Start, c.End, fmt.Sprintf("%016x", c.Sum)}
			return m, nil
		}
		cmds, err := kv.DecodeBatch(l.Data)
		if err != nil {
			return nil, err
		}
		for _, c := range cmds {
			s := shownCommand{Op: c.Op.String(), Key: c.Key, ValueBytes: len(c.Value), Index: c.Index}
			s.Settings = slices.Sorted(maps.Keys(c.Settings))
			m.Commands = append(m.Commands, s)
		}
	default:
		return nil, fmt.Errorf("entry type %d is not one that this program writes", l.Type)
	}
	return m, nil
}

// maxShown is how many commands of an entry a line has room for.
const maxShown = 3

// short is an entry's meaning in a line.
func (s *shownEntry) short() string {
	switch m := s.meaning; {
	case s.Error != "":
		return "DAMAGED: " + s.Error
	case m.Checkpoint != nil:
		c := m.Checkpoint
		if c.RangeStart == c.RangeEnd {
			return "checkpoint that others begin from"
		}
		return fmt.Sprintf("checkpoint of %d to %d: %s", c.RangeStart, c.RangeEnd-1, c.Checksum)
	case m.Configuration != nil:
		var names []string
		for _, v := range m.Configuration {
			names = append(names, fmt.Sprintf("%s=%s (%s)", v.ID, v.Address, v.Suffrage))
		}
		return "servers " + strings.Join(names, ", ")
	default:
		var parts []string
		for i, c := range m.Commands {
			if i == maxShown {
				parts = append(parts, fmt.Sprintf("%d more", len(m.Commands)-maxShown))
				break
			}
			parts = append(parts, c.short())
		}
		return strings.Join(parts, "; ")
	}
}

func (c *shownCommand) short() string {
	switch c.Op {
	case kv.OpSettings.String():
		return c.Op + " " + strings.Join(c.Settings, ", ")
	case kv.OpPut.String(), kv.OpCAS.String():
		return fmt.Sprintf("%s %q (%d bytes)", c.Op, c.Key, c.ValueBytes)
	case kv.OpBarrier.String():
		return c.Op
	default:
		return fmt.Sprintf("%s %q", c.Op, c.Key)
	}
}
