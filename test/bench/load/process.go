// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Main is the load generator of a system: it reads a Spec from in, runs it
// and writes the Result to out. connect makes the clients of a cell and what
// closes them.
func Main(ctx context.Context, in io.Reader, out io.Writer, connect func(Spec) (func(i int) Client, func(), error)) error {
	var spec Spec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return fmt.Errorf("load: reading the cell: %w", err)
	}
	clients, closeAll, err := connect(spec)
	if err != nil {
		return err
	}
	defer closeAll()
	r, err := Run(ctx, spec, clients)
	if err != nil {
		return err
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("load: getrusage: %w", err)
	}
	r.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return json.NewEncoder(out).Encode(r)
}

// Start runs a cell in a process of program and returns what it measured.
func Start(ctx context.Context, cmd *exec.Cmd, spec Spec) (Result, error) {
	in, err := json.Marshal(spec)
	if err != nil {
		return Result{}, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Result{}, err
	}
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	if err := cmd.Start(); err != nil {
		return Result{}, fmt.Errorf("starting the load generator: %w", err)
	}
	_, writeErr := stdin.Write(in)
	_ = stdin.Close() // a generator that is gone is reported by Wait
	var r Result
	decodeErr := json.NewDecoder(stdout).Decode(&r)
	for _, err := range []error{ctx.Err(), cmd.Wait(), writeErr, decodeErr} {
		if err != nil {
			return Result{}, fmt.Errorf("running the load generator: %w", err)
		}
	}
	return r, nil
}
