// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"errors"
	"fmt"
)

// Limits on what a client may store, checked by Validate. The machine itself
// applies whatever an entry holds, so that a lower limit in a later version
// cannot make replicas disagree about an old entry.
const (
	// MaxKeyBytes is the longest key. Consul has no limit of its own beyond
	// what an URL can carry; a key here is in every log entry, radix path and
	// list answer, and must stay small beside its value.
	MaxKeyBytes = 512
	// MaxValueBytes is the largest value, Consul's default for kv_max_value_size.
	MaxValueBytes = 512 << 10
)

// Errors that decoding and applying return, wrapped.
var (
	// ErrCorrupt: bytes that no encoder of this package wrote.
	ErrCorrupt = errors.New("corrupt encoding")
	// ErrVersion: a format or an operation that a newer Holdfast wrote.
	ErrVersion = errors.New("written by a newer version")
	// ErrInvalid: a command that Validate refuses.
	ErrInvalid = errors.New("invalid command")
	// ErrStopped: an earlier entry could not be applied, and so no later one
	// may be. The error that is wrapped beside it says which and why.
	ErrStopped = errors.New("the state machine is stopped")
)

// Op is what a command does. The values are on disk: never renumber one.
type Op byte

const (
	// OpPut sets Key to Value and Flags.
	OpPut Op = 1
	// OpDelete removes Key; a key that is not there is no error.
	OpDelete Op = 2
	// OpDeleteTree removes every key that starts with Key, all keys where it
	// is empty.
	OpDeleteTree Op = 3
	// OpCAS puts if Key's ModifyIndex is Index, or, with Index 0, if there is
	// no such key.
	OpCAS Op = 4
	// OpDeleteCAS deletes if Key's ModifyIndex is Index. As in Consul, a key
	// that is already gone is a success.
	OpDeleteCAS Op = 5
	// OpSettings changes cluster settings, all of Settings or nothing.
	OpSettings Op = 6
	// OpBarrier changes nothing. Its result says that everything before it
	// in the log is applied.
	OpBarrier Op = 7

	maxOp = OpBarrier
)

// String is the operation's name in messages.
func (o Op) String() string {
	names := [...]string{OpPut: "put", OpDelete: "delete", OpDeleteTree: "delete-tree",
		OpCAS: "cas", OpDeleteCAS: "delete-cas", OpSettings: "settings", OpBarrier: "barrier"}
	if int(o) < len(names) && names[o] != "" {
		return names[o]
	}
	return fmt.Sprintf("op(%d)", byte(o))
}

// ID names one command for good, so that a retry can be told from a new
// command. The zero ID (Origin 0) is never deduplicated.
type ID struct {
	// Origin is the node process that made the command: random, not 0.
	Origin uint64
	// Seq counts the origin's commands; it starts at 1 and only grows.
	Seq uint64
	// Floor is the lowest Seq that the origin may still retry. Results below
	// it are forgotten.
	Floor uint64
}

// Command is one change. Which fields count depends on Op.
type Command struct {
	ID       ID
	Op       Op
	Key      string
	Value    []byte
	Flags    uint64
	Index    uint64             // compared by OpCAS and OpDeleteCAS
	Settings map[string]*string // of OpSettings; nil resets to the default
}

// Validate says why a node should not accept the command from a client.
func (c *Command) Validate() error {
	switch {
	case c.Op == 0 || c.Op > maxOp:
		return fmt.Errorf("%w: unknown operation %v", ErrInvalid, c.Op)
	case len(c.Key) > MaxKeyBytes:
		return fmt.Errorf("%w: the key is %d bytes long, the limit is %d: use a shorter key", ErrInvalid, len(c.Key), MaxKeyBytes)
	case len(c.Value) > MaxValueBytes:
		return fmt.Errorf("%w: the value has %d bytes, the limit is %d: split it over several keys", ErrInvalid, len(c.Value), MaxValueBytes)
	case c.Key == "" && (c.Op == OpPut || c.Op == OpDelete || c.Op == OpCAS || c.Op == OpDeleteCAS):
		return fmt.Errorf("%w: a %v needs a key", ErrInvalid, c.Op)
	case c.Op == OpSettings && len(c.Settings) == 0:
		return fmt.Errorf("%w: a change of settings names none", ErrInvalid)
	}
	return nil
}
