// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

const kvHelp = `Read and write keys of a cluster, as consul kv does.

  $ holdfast kv put config/greeting hello
  $ holdfast kv get config/greeting
  $ holdfast kv delete config/greeting`

var kvGetCommand = command{
	synopsis: "Read a key, or all keys with a prefix",
	usage:    "[options] KEY",
	help: `Prints the value of a key, and a line feed after it unless -raw is given.

  $ holdfast kv get config/greeting
  $ holdfast kv get -raw certificate > cert.pem
  $ holdfast kv get -recurse config/        (lines of key:value)
  $ holdfast kv get -keys -separator / ""   (names only)
  $ holdfast kv get -json config/greeting   (with indexes and flags, value in base64)
  $ holdfast kv get -consistent config/greeting`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var o kvGet
		o.define(env, flags)
		o.definePartition(flags)
		flags.BoolVar(&o.consistent, "consistent", false, "have the leader ask a majority first whether it still leads")
		flags.BoolVar(&o.stale, "stale", false, "take the answer of the node that was asked, leader or not")
		flags.BoolVar(&o.raw, "raw", false, "print the bytes of the value and nothing else")
		flags.BoolVar(&o.detailed, "detailed", false, "print indexes and flags too")
		flags.BoolVar(&o.recurse, "recurse", false, "print every key with the prefix KEY")
		flags.BoolVar(&o.keys, "keys", false, "print the names of the keys with the prefix KEY")
		flags.StringVar(&o.separator, "separator", "", "with -keys: cut names after this `text`")
		flags.BoolVar(&o.base64, "base64", false, "print values in base64")
		flags.BoolVar(&o.json, "json", false, "print JSON")
		return o.run
	},
}

type kvGet struct {
	target
	consistent, stale, raw, detailed, recurse, keys, base64, json bool
	separator                                                     string
}

func (o *kvGet) run(ctx context.Context, args []string) error {
	if len(args) != 1 && (len(args) != 0 || !o.recurse && !o.keys) {
		return usage("one KEY is needed, %d given", len(args))
	}
	key := strings.Join(args, "")
	if o.consistent && o.stale {
		return usage("-consistent and -stale exclude each other")
	}
	read := api.Read{Partition: o.partition}
	switch {
	case o.consistent:
		read.Consistency = api.Consistent
	case o.stale:
		read.Consistency = api.Stale
	}
	c, ctx, done, err := o.client(ctx)
	if err != nil {
		return err
	}
	defer done()
	out := o.env.Stdout
	switch {
	case o.keys:
		names, _, err := c.Keys(ctx, key, o.separator, read)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(out, append([]string{}, names...))
		}
		for _, n := range names {
			fmt.Fprintln(out, n)
		}
		return nil
	case o.recurse:
		pairs, _, err := c.List(ctx, key, read)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(out, append([]api.KVPair{}, pairs...))
		}
		for i, p := range pairs {
			if o.detailed && i > 0 {
				fmt.Fprintln(out)
			}
			o.print(out, p, p.Key+":")
		}
		return nil
	}
	p, _, err := c.Get(ctx, key, read)
	if err != nil {
		return err
	}
	switch {
	case o.json:
		return printJSON(out, p)
	case o.raw:
		_, err := out.Write(p.Value)
		return err
	}
	o.print(out, p, "")
	return nil
}

func (o *kvGet) print(out io.Writer, p api.KVPair, prefix string) {
	value := string(p.Value)
	if o.base64 {
		value = base64.StdEncoding.EncodeToString(p.Value)
	}
	if !o.detailed {
		fmt.Fprintf(out, "%s%s\n", prefix, value)
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 6, ' ', 0)
	fmt.Fprintf(w, "CreateIndex\t%d\nFlags\t%d\nKey\t%s\nLockIndex\t%d\nModifyIndex\t%d\nSession\t%s\nValue\t%s\n",
		p.CreateIndex, p.Flags, p.Key, p.LockIndex, p.ModifyIndex, orDash(p.Session), value)
	_ = w.Flush() // standard output; nobody is left to tell
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

var kvPutCommand = command{
	synopsis: "Write a key",
	usage:    "[options] KEY [VALUE | @FILE | -]",
	help: `Writes a key on a quorum of the servers. Without a value it is empty; @FILE takes
it from a file and - from standard input.

  $ holdfast kv put config/greeting hello
  $ holdfast kv put certificate @cert.pem
  $ date | holdfast kv put last/run -
  $ holdfast kv put -cas -modify-index 42 config/greeting hi   (only if nobody wrote since)
  $ holdfast kv put -cas -modify-index 0 lock me               (only if there is none)`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var o kvPut
		o.define(env, flags)
		o.definePartition(flags)
		o.defineCAS(flags)
		flags.Uint64Var(&o.flags, "flags", 0, "a `number` kept beside the value")
		flags.BoolVar(&o.base64, "base64", false, "the value is given in base64")
		return o.run
	},
}

// cas is the flags of a check-and-set.
type cas struct {
	on    bool
	index uint64
}

func (c *cas) defineCAS(flags *flag.FlagSet) {
	flags.BoolVar(&c.on, "cas", false, "do it only if the key's ModifyIndex is that of -modify-index")
	flags.Uint64Var(&c.index, "modify-index", 0, "the `index` for -cas; 0 means that there is no such key")
}

func (c *cas) check() error {
	if !c.on && c.index != 0 {
		return usage("-modify-index is for -cas")
	}
	return nil
}

type kvPut struct {
	target
	cas
	flags  uint64
	base64 bool
}

func (o *kvPut) run(ctx context.Context, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return usage("KEY and at most one VALUE are needed, %d arguments given", len(args))
	}
	if err := o.check(); err != nil {
		return err
	}
	value, err := o.value(args[1:])
	if err != nil {
		return err
	}
	c, ctx, done, err := o.client(ctx)
	if err != nil {
		return err
	}
	defer done()
	w := api.Write{Flags: o.flags, Partition: o.partition}
	if !o.on {
		err = c.Put(ctx, args[0], value, w)
	} else {
		var ok bool
		if ok, err = c.CAS(ctx, args[0], value, o.index, w); err == nil && !ok {
			err = fmt.Errorf("did not write to %s: its ModifyIndex is not %d", args[0], o.index)
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(o.env.Stdout, "Success! Data written to: %s\n", args[0])
	return nil
}

func (o *kvPut) value(args []string) (value []byte, err error) {
	switch {
	case len(args) == 0:
		return nil, nil
	case args[0] == "-":
		value, err = io.ReadAll(o.env.Stdin)
	case strings.HasPrefix(args[0], "@"):
		value, err = os.ReadFile(args[0][1:])
	default:
		value = []byte(args[0])
	}
	if err != nil {
		return nil, fmt.Errorf("read the value: %w", err)
	}
	if o.base64 {
		if value, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(value))); err != nil {
			return nil, usage("the value is not base64: %w", err)
		}
	}
	return value, nil
}

var kvDeleteCommand = command{
	synopsis: "Delete a key, or all keys with a prefix",
	usage:    "[options] KEY",
	help: `Deletes a key; one that is not there is no error.

  $ holdfast kv delete config/greeting
  $ holdfast kv delete -recurse config/
  $ holdfast kv delete -cas -modify-index 42 config/greeting`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var o kvDelete
		o.define(env, flags)
		o.definePartition(flags)
		o.defineCAS(flags)
		flags.BoolVar(&o.recurse, "recurse", false, "delete every key with the prefix KEY")
		return o.run
	},
}

type kvDelete struct {
	target
	cas
	recurse bool
}

func (o *kvDelete) run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return usage("one KEY is needed, %d given", len(args))
	}
	if err := o.check(); err != nil {
		return err
	}
	if o.recurse && o.on {
		return usage("-recurse and -cas exclude each other")
	}
	c, ctx, done, err := o.client(ctx)
	if err != nil {
		return err
	}
	defer done()
	w := api.Write{Partition: o.partition}
	switch {
	case o.recurse:
		err = c.DeleteTree(ctx, args[0], w)
	case o.on:
		var ok bool
		if ok, err = c.DeleteCAS(ctx, args[0], o.index, w); err == nil && !ok {
			err = fmt.Errorf("did not delete %s: its ModifyIndex is not %d", args[0], o.index)
		}
	default:
		err = c.Delete(ctx, args[0], w)
	}
	if err != nil {
		return err
	}
	if o.recurse {
		fmt.Fprintf(o.env.Stdout, "Success! Deleted keys with prefix: %s\n", args[0])
	} else {
		fmt.Fprintf(o.env.Stdout, "Success! Deleted key: %s\n", args[0])
	}
	return nil
}
