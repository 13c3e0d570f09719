// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Command bench measures a three-node cluster on this machine, beside the
// bare disk and, with -peers, beside etcd. With -scenario it measures what
// clients see while disks hang, beside the same engine without failover and etcd.
//
// As root each node of each system has an ext4 of its own on a loop device;
// otherwise each has a directory. All of it lives in a mount and a PID
// namespace: when the benchmark ends, be it by SIGKILL, the kernel ends its
// nodes, unmounts their disks and frees the space.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/stall"
	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

// nodes is the size of each cluster.
const nodes = 3

// options are the command line.
type options struct {
	holdfast    string
	peers       bool
	etcd        string
	backend     string
	target      string
	dir         string
	network     string
	writers     []int
	readers     []int
	valueSize   int
	keys        int
	connections int
	duration    time.Duration
	warmup      time.Duration
	rounds      int
	json        bool
	diskSize    int64
	scenarios   []scenario // of stalls; none: throughput and latency
	rate        float64
	clients     int
}

// thawerArg is the command line of the process that freezes and thaws.
const thawerArg = "thawer"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "load" {
		exit(load.Main(context.Background(), os.Stdin, os.Stdout, connect))
	}
	if len(os.Args) == 2 && os.Args[1] == thawerArg {
		exit(stall.Serve())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, os.Args[1:]))
}

func exit(err error) {
	var code exitCode
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &code):
		os.Exit(int(code)) // the inner process said what was wrong
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	if o.holdfast, err = filepath.Abs(o.holdfast); err != nil {
		return err
	}
	if _, err := os.Stat(o.holdfast); err != nil {
		return fmt.Errorf("no engine to measure: %w: run make build, or name it with -holdfast", err)
	}
	if o.peers {
		if o.etcd == "" {
			o.etcd = filepath.Join(filepath.Dir(o.holdfast), "etcdpeer")
			progress("building etcd (some minutes the first time)")
			if err := buildPeer(ctx, o.etcd); err != nil {
				return err
			}
		}
		if o.etcd, err = filepath.Abs(o.etcd); err != nil {
			return err
		}
	}
	if os.Getuid() == 0 && !inNamespace() {
		return enterNamespace(ctx, o, args)
	}
	var report interface {
		writeJSON(w io.Writer) error
		writeText(w io.Writer) error
	}
	if len(o.scenarios) > 0 {
		report, err = measureStalls(ctx, o)
	} else {
		report, err = measure(ctx, o)
	}
	if err != nil {
		return err
	}
	if o.json {
		return report.writeJSON(os.Stdout)
	}
	return report.writeText(os.Stdout)
}

func parse(args []string, errOut io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.StringVar(&o.holdfast, "holdfast", "../../bin/holdfast", "the engine's `program`")
	f.BoolVar(&o.peers, "peers", false, "measure etcd too, pair by pair")
	f.StringVar(&o.etcd, "etcd", "", "a built etcdpeer `program`; empty: build it beside the engine")
	f.StringVar(&o.backend, "backend", "wal", "raft_logstore.backend: wal or boltdb")
	f.StringVar(&o.target, "target", "all", "nodes that clients talk to: all, or leader")
	f.StringVar(&o.dir, "dir", os.TempDir(), "`directory` on the disk to measure")
	f.StringVar(&o.network, "net", "127.0.35", "first three bytes of the `addresses`; .1 to .3, .11 to .13 and .21 to .23 are used")
	writers := f.String("writers", "1,16,64,256", "numbers of writing `clients`")
	readers := f.String("readers", "64", "numbers of reading `clients`; empty: no reads")
	f.IntVar(&o.valueSize, "value-size", 256, "`bytes` of each value")
	f.IntVar(&o.keys, "keys", 10000, "`number` of keys, used with equal probability")
	f.IntVar(&o.connections, "etcd-clients", 1, "client `objects` that etcd's load shares; with one it is fastest here")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "window of each measurement")
	f.DurationVar(&o.warmup, "warmup", time.Second, "time before it")
	f.IntVar(&o.rounds, "rounds", 3, "`times` that everything is measured; medians are shown")
	f.BoolVar(&o.json, "json", false, "print JSON")
	stalls := f.String("scenario", "", "measure stalls instead: `names` of scenarios with commas, or all; see -list")
	list := f.Bool("list", false, "list the scenarios and do nothing")
	brief := f.Bool("short", false, "the scenarios' short form, each below a minute for a system")
	f.Float64Var(&o.rate, "rate", 200, "the scenarios' `writes` per second of all clients")
	f.IntVar(&o.clients, "clients", 16, "the scenarios' `number` of clients")
	f.Int64Var(&o.diskSize, "disk-size", 4<<30, "`bytes` of each node's sparse disk")
	if err := f.Parse(args); err != nil {
		return o, flag.ErrHelp
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q: see bench -h", f.Arg(0))
	}
	if *list {
		for _, s := range scenarios(*brief) {
			fmt.Fprintf(errOut, "%-9s %s\n", s.name, s.title)
		}
		return o, flag.ErrHelp
	}
	var err error
	if o.scenarios, err = chosen(*stalls, *brief); err != nil {
		return o, err
	}
	if o.writers, err = numbers("-writers", *writers); err != nil {
		return o, err
	}
	if o.readers, err = numbers("-readers", *readers); err != nil {
		return o, err
	}
	switch {
	case o.target != "all" && o.target != "leader":
		return o, fmt.Errorf("-target %s: write all or leader", o.target)
	case o.rounds < 1:
		return o, fmt.Errorf("-rounds %d: write 1 or more", o.rounds)
	case o.duration <= 0 || o.warmup < 0:
		return o, fmt.Errorf("-duration %v, -warmup %v: write positive times", o.duration, o.warmup)
	case !(o.rate > 0) || o.clients < 1:
		return o, fmt.Errorf("-rate %v, -clients %d: write positive numbers", o.rate, o.clients)
	case o.keys < 1 || o.valueSize < 1:
		return o, fmt.Errorf("-keys %d, -value-size %d: write positive numbers", o.keys, o.valueSize)
	case len(o.writers)+len(o.readers) == 0:
		return o, errors.New("nothing to measure: -writers and -readers are empty")
	}
	return o, nil
}

func numbers(name, list string) ([]int, error) {
	var out []int
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: %q is no number of clients", name, word)
		}
		out = append(out, n)
	}
	return out, nil
}

func address(o options, last int) string { return fmt.Sprintf("%s.%d", o.network, last) }

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// progress goes to stderr; the result alone goes to stdout.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
