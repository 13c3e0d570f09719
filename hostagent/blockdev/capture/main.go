// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

// Command capture records what a discovery of block devices reads on this
// machine, and what lsblk prints there, as one txtar file for the tests:
//
//	make capture OUT=hostagent/blockdev/testdata/NAME.txtar
//
// Run it as root where blkid has to read devices. Without lsblk the machine is
// recorded all the same, and tests have nothing to compare with. The file holds serial
// numbers, labels and UUIDs of the machine; look at it before you share it.
//
// Names in the archive are sys/…, proc/…, udev/…, dev/…; a name "a -> b" is a
// symbolic link, one with a slash at its end a directory. blkid/PATH and
// statfs/PATH are answers, lsblk.txt and lsblk.json what lsblk says.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/tools/txtar"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "capture:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: capture FILE.txtar")
	}
	r := newRecord()
	host := blockdev.Host()
	roots := blockdev.Roots{
		Sys:  r.tree("sys", "/sys"),
		Proc: r.tree("proc", "/proc"),
		Udev: r.tree("udev", "/run/udev"),
		Dev:  r.tree("dev", "/dev"),
		Probe: func(ctx context.Context, path string) (blockdev.Properties, error) {
			p, err := host.Probe(ctx, path)
			if err == nil {
				err = r.answer("blkid", path, p)
			}
			return p, err
		},
		Identify: host.Identify, // bytes, which the archive has no place for
		Usage: func(ctx context.Context, point string) (blockdev.Usage, error) {
			u, err := host.Usage(ctx, point)
			if err == nil {
				err = r.answer("statfs", point, u)
			}
			return u, err
		},
	}
	devices, err := blockdev.Discover(ctx, roots)
	if err != nil {
		return err
	}
	for name, options := range map[string][]string{"lsblk.txt": nil, "lsblk.json": {"--json", "--bytes", "--output-all"}} {
		cmd := exec.CommandContext(ctx, "lsblk", options...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintln(os.Stderr, "capture: no lsblk here: its answer is left out")
			break
		}
		if err != nil {
			return fmt.Errorf("running lsblk: %w", err)
		}
		r.put(name, out)
	}
	if err := os.WriteFile(args[0], txtar.Format(r.archive()), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d devices, %d files in %s\n", len(devices), r.len(), args[0])
	return nil
}

// answer records what a device or a file system said.
func (r *record) answer(kind, about string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	r.put(filepath.Join(kind, strings.TrimPrefix(about, "/"), "answer.json"), data)
	return nil
}
