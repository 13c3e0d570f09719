// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	_ "embed" // the script
	"fmt"
	"strconv"
	"strings"
	"time"
)

//go:embed script/facts.sh
var factsScript string

// RootBy is how the user becomes root.
type RootBy string

// The ways to be root, and the two ways not to be.
const (
	RootItself  RootBy = "yes"     // the user is root
	RootSudo    RootBy = "sudo"    // sudo asks for nothing
	RootMissing RootBy = "missing" // there is no sudo
	RootRefused RootBy = "refused" // sudo wants a password, or refuses the user
)

// Facts is what a machine is.
type Facts struct {
	System  string // "Linux"
	Kernel  string // as uname -r says it
	Machine string // as uname -m says it
	// Systemd is its version; 0 where the machine was not started by it.
	Systemd int
	UID     int
	Root    RootBy
	// Free is in bytes, on the file system of the path that was asked for;
	// Where is the directory that was there.
	Free  int64
	Where string
	// Clock is how far the machine's clock is ahead of this one, and
	// ClockError how wrong that can be.
	Clock, ClockError time.Duration
}

// Facts asks for all facts in one round trip. install is the path that room is needed on.
func (h *Host) Facts(ctx context.Context, install string) (Facts, error) {
	if !validPath(install) {
		return Facts{}, fmt.Errorf("%w: %q: %w", ErrConfig, install, errPath)
	}
	ctx, cancel := h.bound(ctx)
	defer cancel()
	return repeat(ctx, h, h.cfg.Repeats, func(c *connection) (Facts, error) {
		before := time.Now()
		result, err := h.run(ctx, c, Command{What: "the facts of the machine", Script: factsScript,
			Env: map[string]string{"INSTALL": install, "LC_ALL": "C"}}, false)
		if err != nil {
			return Facts{}, err
		}
		return parseFacts(result.Stdout, before, time.Now())
	})
}

// parseFacts reads the script's answer to a question asked at before and answered at after.
func parseFacts(out []byte, before, after time.Time) (Facts, error) {
	a := parseAnswer(out)
	f := Facts{System: a["os"], Kernel: a["kernel"], Machine: a["arch"], Root: RootBy(a["root"]), Where: a["where"]}
	for _, key := range []string{"os", "kernel", "arch", "root", "where"} {
		if a[key] == "" {
			return Facts{}, fmt.Errorf("%w: it does not say its %s", ErrAnswer, key)
		}
	}
	switch f.Root {
	case RootItself, RootSudo, RootMissing, RootRefused:
	default:
		return Facts{}, fmt.Errorf("%w: root is %q", ErrAnswer, f.Root)
	}
	uid, err := a.number("uid")
	if err != nil {
		return Facts{}, err
	}
	f.UID = int(uid)
	if f.Free, err = a.number("free"); err != nil {
		return Facts{}, err
	}
	if words := strings.Fields(a["systemd"]); len(words) > 1 && words[0] == "systemd" {
		f.Systemd = leadingNumber(words[1])
	}
	clock, err := parseTime(a["time"])
	if err != nil {
		return Facts{}, err
	}
	f.ClockError = after.Sub(before)/2 + time.Millisecond
	f.Clock = clock.Sub(before.Add(after.Sub(before) / 2))
	return f, nil
}

// parseTime reads seconds and nanoseconds since 1970, with a point between.
func parseTime(s string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	// Year 9999 is the last that time can be formatted with.
	if err != nil || seconds < 0 || seconds > 253402300799 {
		return time.Time{}, fmt.Errorf("%w: the time is %q", ErrAnswer, s)
	}
	nanos, err := strconv.ParseInt(fraction, 10, 64)
	if err != nil || nanos < 0 || nanos > 999999999 || len(fraction) != 9 {
		nanos = 0 // a date without %N
	}
	return time.Unix(seconds, nanos), nil
}

// leadingNumber is the number that s begins with: 252 of "252.39-1", 0 of "v9".
func leadingNumber(s string) int {
	end := 0
	for end < len(s) && end < 9 && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(s[:end]) // an empty one is 0
	return n
}
