// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shown are the properties of a unit that are asked for.
const shown = "LoadState,ActiveState,SubState,UnitFileState,Result,MainPID,NRestarts," +
	"ExecMainPID,ExecMainCode,ExecMainStatus,ExecMainStartTimestamp,ExecMainExitTimestamp,Job,ControlGroup"

// unitState is what systemd says of a unit. The last process is the one that runs, or
// the one that ran last.
type unitState struct {
	loaded, enabled     bool
	active, sub, result string
	mainPID             int    // 0 where there is none
	restarts            int    // by systemd itself, since somebody started the unit
	job                 bool   // something is about to happen to it
	group               string // its cgroup
	last                lastProcess
}

type lastProcess struct {
	pid            int
	code, status   int // as waitid(2) has them; 0 while it runs
	started, ended time.Time
}

// parseUnit reads what systemctl show prints.
func parseUnit(out string) (unitState, error) {
	var u unitState
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
		var err error
		switch name {
		case "LoadState":
			u.loaded = value == "loaded"
		case "ActiveState":
			u.active = value
		case "SubState":
			u.sub = value
		case "UnitFileState":
			u.enabled = value == "enabled"
		case "Result":
			u.result = value
		case "MainPID":
			u.mainPID, err = number(value)
		case "NRestarts":
			u.restarts, err = number(value)
		case "Job":
			u.job = value != "" && value != "0"
		case "ControlGroup":
			u.group = value
		case "ExecMainPID":
			u.last.pid, err = number(value)
		case "ExecMainCode":
			u.last.code, err = number(value)
		case "ExecMainStatus":
			u.last.status, err = number(value)
		case "ExecMainStartTimestamp":
			u.last.started, err = seconds(value)
		case "ExecMainExitTimestamp":
			u.last.ended, err = seconds(value)
		}
		if err != nil {
			return unitState{}, fmt.Errorf("systemctl show: %s: %w", strings.TrimSpace(line), err)
		}
	}
	return u, nil
}

func number(s string) (int, error) {
	if s == "" || s == "[not set]" {
		return 0, nil
	}
	return strconv.Atoi(s)
}

// seconds reads "@1764130000", empty for never.
func seconds(s string) (time.Time, error) {
	digits, ok := strings.CutPrefix(s, "@")
	if !ok {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return time.Unix(n, 0), err
}

// ended tells which process ended between two looks, 0 for none, and whether the later
// one knows how.
func ended(old, now lastProcess) (pid int, known bool) {
	switch {
	case now.code > 0 && (now.pid != old.pid || old.code == 0):
		return now.pid, true
	case now.pid != old.pid && old.pid > 0 && old.code == 0:
		return old.pid, false
	}
	return 0, false
}

// How a process ended, CLD_ of waitid(2).
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// how says how the last process ended, and why where systemd knows more.
func (u *unitState) how() string {
	s := "ended; how is not known"
	switch sig := syscall.Signal(u.last.status); u.last.code {
	case cldExited:
		s = fmt.Sprintf("exited with code %d", u.last.status)
	case cldKilled, cldDumped:
		s = fmt.Sprintf("killed by signal %d (%s)", int(sig), sig)
	}
	if !u.last.started.IsZero() && u.last.ended.After(u.last.started) {
		s += " after " + u.last.ended.Sub(u.last.started).String()
	}
	switch u.result {
	case "", "success", "exit-code", "signal", "core-dump":
	default: // timeout, oom-kill, resources, protocol …
		s += ", systemd says " + u.result
	}
	return s
}
