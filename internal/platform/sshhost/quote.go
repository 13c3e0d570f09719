// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	errNUL      = errors.New("it has a NUL byte")
	errVariable = errors.New("it is no name of an environment variable")
	errLines    = errors.New("it has more than one line: send it by standard input")
)

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// commandLine is what the user's login shell gets, and head what goes before the standard
// input of the command. Whoever may list processes on the machine sees all of the line,
// so secrets are in head, from where the script reads them into its environment:
// the shell's read takes no byte beyond the line's end.
func (c Command) commandLine(sudo bool) (line, head string, err error) {
	var script strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.SecretEnv)) {
		value := c.SecretEnv[name]
		if err := checkVariable(name, value); err != nil {
			return "", "", err
		}
		if strings.ContainsAny(value, "\n\r") {
			return "", "", fmt.Errorf("%w: %s: %w", ErrConfig, name, errLines)
		}
		fmt.Fprintf(&script, "IFS= read -r %s && export %s || exit 125\n", name, name)
		head += value + "\n"
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if err := checkVariable(name, c.Env[name]); err != nil {
			return "", "", err
		}
		fmt.Fprintf(&script, "export %s=%s\n", name, quote(c.Env[name]))
	}
	if len(c.Args) > 0 {
		script.WriteString("exec")
		for _, a := range c.Args {
			script.WriteString(" " + quote(a))
		}
	} else {
		script.WriteString(c.Script)
	}
	if strings.ContainsRune(script.String(), 0) {
		return "", "", fmt.Errorf("%w: %s: %w", ErrConfig, c.name(), errNUL)
	}
	line = "exec "
	if sudo {
		line += "sudo -n -- "
	}
	if c.Timeout > 0 {
		// The machine ends the command also where this side cannot any more; a
		// second later, so that it is this side that usually does.
		line += fmt.Sprintf("timeout -k 5 %d ", int(c.Timeout.Seconds())+1)
	}
	return line + "/bin/sh -c " + quote(script.String()), head, nil
}

func checkVariable(name, value string) error {
	switch {
	case !variable.MatchString(name):
		return fmt.Errorf("%w: %q: %w", ErrConfig, name, errVariable)
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("%w: %s: %w", ErrConfig, name, errNUL)
	}
	return nil
}
