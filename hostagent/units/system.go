// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
)

// System is a host on which actions are done.
type System interface {
	// WriteFile replaces a file atomically and durably, with directories above it.
	WriteFile(f File) error
	// Delete removes a file durably; that there is none is no error.
	Delete(path string) error
	// Run runs a command to its end and returns its output. An error tells the output's end.
	Run(ctx context.Context, argv ...string) (string, error)
}

// Do does actions in order and ends at the first that fails. report, where not nil, is
// told of each before it is done, and of what is only said.
func Do(ctx context.Context, sys System, actions []Action, report func(Action)) error {
	for _, a := range actions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if report != nil {
			report(a)
		}
		var err error
		switch {
		case a.Kind == Write:
			err = sys.WriteFile(a.file)
		case a.Kind == Delete:
			err = sys.Delete(a.Target)
		case len(a.Command) > 0:
			_, err = sys.Run(ctx, a.Command...)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(string(a.Kind)+" "+a.Target), err)
		}
	}
	return nil
}

// Local is this machine. The zero value is ready; Root, for tests, is put before paths.
type Local struct{ Root string }

// WriteFile implements System.
func (l Local) WriteFile(f File) error {
	path := l.Root + f.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // nobody but root writes below /etc
		return err
	}
	return atomicfile.Write(path, []byte(f.Text), atomicfile.Mine(f.Mode))
}

// Delete implements System.
func (l Local) Delete(path string) error {
	path = l.Root + path
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if dir == l.Root+filepath.Dir(previousPath) { // its own drop-in; with those of others it is not empty
		if err := os.Remove(dir); err == nil {
			dir = filepath.Dir(dir)
		}
	}
	return vfs.OS{}.SyncDir(dir)
}

// Run implements System.
func (l Local) Run(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
	out, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() != nil { // and not "signal: killed", which it was by us
		err = fmt.Errorf("it did not end in time: %w", context.Cause(ctx))
	}
	if err != nil {
		const most = 2048
		text := strings.TrimSpace(string(out[max(0, len(out)-most):]))
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, text)
	}
	return string(out), nil
}

// Observe looks at this machine for what a plan of the set needs.
func (l Local) Observe(ctx context.Context, set Set) (State, error) {
	s := State{Files: map[string]Installed{}, Units: map[string]UnitState{}, Sysctl: map[string]string{}}
	paths, names := []string{}, []string{journaldUnit}
	for _, f := range set.Files {
		paths = append(paths, f.Path)
	}
	if !set.part {
		mounts, err := filepath.Glob(l.Root + unitDir + "*.mount") // those of disks that are gone
		if err != nil {
			return s, err
		}
		for _, m := range mounts {
			paths = append(paths, strings.TrimPrefix(m, l.Root))
		}
	}
	paths = append(paths, set.optional...)
	for _, path := range paths {
		f, err := l.look(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s, err
		}
		s.Files[path] = f
		if name, ok := unitOf(path); ok && ours(f.Text) {
			names = append(names, name)
		}
	}
	for _, u := range set.Units {
		names = append(names, u.Name)
	}
	for _, v := range sysctls {
		b, err := os.ReadFile(l.Root + "/proc/sys/" + strings.ReplaceAll(v.name, ".", "/"))
		if err == nil {
			s.Sysctl[v.name] = strings.TrimSpace(string(b))
		}
	}
	s.Overridden = overridden(l.Root)
	_, err := user.Lookup(set.User)
	_, gerr := user.LookupGroup(set.User)
	s.User = err == nil && gerr == nil
	_, err = os.Stat(l.Root + runDir)
	s.RunDir = err == nil
	out, err := l.Run(ctx, append([]string{"systemctl", "show", "--timestamp=unix",
		"--property=Id,ActiveState,UnitFileState,NeedDaemonReload,ActiveEnterTimestamp", "--"}, names...)...)
	if err != nil {
		return s, err
	}
	s.Units, err = parseShow(out)
	return s, err
}

func (l Local) look(path string) (Installed, error) {
	b, err := os.ReadFile(l.Root + path)
	if err != nil {
		return Installed{}, err
	}
	fi, err := os.Stat(l.Root + path)
	if err != nil {
		return Installed{}, err
	}
	// systemd tells seconds: a file of the second of a start counts as read by it.
	return Installed{Text: string(b), Modified: fi.ModTime().Truncate(time.Second)}, nil
}

// parseShow reads what systemctl show prints: a block for each unit, an empty line
// between two.
func parseShow(out string) (map[string]UnitState, error) {
	units := map[string]UnitState{}
	for block := range strings.SplitSeq(strings.TrimSpace(out), "\n\n") {
		name := ""
		var u UnitState
		for l := range strings.Lines(block) {
			property, value, _ := strings.Cut(strings.TrimRight(l, "\n"), "=")
			switch property {
			case "Id":
				name = value
			case "ActiveState":
				u.Active = value == "active" || value == "activating" || value == "reloading"
			case "UnitFileState":
				u.Enabled = value == "enabled"
			case "NeedDaemonReload":
				u.NeedDaemonReload = value == "yes"
			case "ActiveEnterTimestamp":
				seconds, ok := strings.CutPrefix(value, "@")
				if !ok {
					continue // it never was
				}
				n, err := strconv.ParseInt(seconds, 10, 64)
				if err != nil {
					return nil, fmt.Errorf("systemctl show: %s: %w", l, err)
				}
				u.Since = time.Unix(n, 0)
			}
		}
		if name != "" {
			units[name] = u
		}
	}
	return units, nil
}
