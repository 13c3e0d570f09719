// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

var timeRE = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`)

// Stories of what is planned and done on a host, with its record on disk. Commands of
// shell steps are not run: "run fail=x" makes a step fail, "run crash=x" is the end of
// the agent within a step. Rewritten by -rewrite; only commit what you understand.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/plan", func(t *testing.T, path string) {
		root := t.TempDir()
		var steps []Step
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			host := NewHost(filepath.Join(root, "record"), argument(d, "node", "n1"))
			switch d.Cmd {
			case "wanted":
				steps = nil
				for line := range strings.Lines(d.Input) {
					steps = append(steps, parseStep(t, root, line))
				}
				if err := Validate(steps); err != nil {
					return show(root, err.Error()) + "\n"
				}
				return "ok\n"
			case "disk": // what somebody does to files
				for line := range strings.Lines(d.Input) {
					meddle(t, root, strings.Fields(line))
				}
				return "ok\n"
			case "plan":
				plan, err := host.Plan(steps)
				if err != nil {
					return err.Error() + "\n"
				}
				return show(root, plan.String())
			case "run", "resume":
				do := host.Run
				if d.Cmd == "resume" {
					do = host.Resume
				}
				return show(root, tell(host, do, steps, argument(d, "fail", ""), argument(d, "crash", "")))
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func show(root, s string) string {
	return timeRE.ReplaceAllString(strings.ReplaceAll(s, root, ""), "TIME")
}

// tell runs the steps and writes down what happened.
func tell(host *Host, do func(context.Context, []Step, func(Event)) (Result, error), steps []Step, fail, crash string) (text string) {
	type end struct{}
	host.attempt = func(_ context.Context, s *Step, g given) (*Disk, error) {
		switch {
		case s.Name == crash:
			panic(end{})
		case s.Name == fail:
			return nil, errors.New("no")
		case s.File != nil:
			return writeFile(s, g.key)
		}
		return nil, nil
	}
	defer func() {
		if r := recover(); r == (end{}) {
			text += "the agent dies\n"
		} else if r != nil {
			panic(r)
		}
	}()
	_, err := do(context.Background(), steps, func(e Event) {
		text += fmt.Sprintf("%s %s\n", e.Kind, e.Decision.Step)
	})
	if err != nil {
		text += err.Error() + "\n"
	}
	if text == "" {
		text = "nothing to do\n"
	}
	return text
}

func argument(d *datadriven.TestData, key, value string) string {
	if d.HasArg(key) {
		for _, a := range d.CmdArgs {
			if a.Key == key {
				return a.Vals[0]
			}
		}
	}
	return value
}

// parseStep reads "file NAME path=… content=…" and "shell NAME run=…", with then=,
// only=, except=, mode=, var=NAME:VALUE, secret=NAME:VALUE,
// unknown=NAME:SECRET.
func parseStep(t *testing.T, root, line string) Step {
	words := strings.Fields(line)
	s := Step{Name: words[1]}
	values := map[string]Value{}
	if words[0] == "file" {
		s.File = &File{Owner: strconv.Itoa(os.Getuid()), Group: strconv.Itoa(os.Getgid())}
	} else {
		s.Shell = &Shell{Env: values}
	}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		name, text, _ := strings.Cut(value, ":")
		switch key {
		case "path":
			s.File.Path = root + value
		case "content":
			s.File.Content = value
		case "template":
			s.File.Template = value
			s.File.Vars = values
		case "mode":
			m, err := strconv.ParseUint(value, 8, 32)
			if err != nil {
				t.Fatal(err)
			}
			s.File.Mode = fs.FileMode(m)
		case "run":
			s.Shell.Inline = strings.Split(value, ";")
		case "user":
			s.Shell.User = value
		case "var":
			values[name] = Plain(text)
		case "secret":
			values[name] = Secret(text)
		case "unknown":
			values[name] = Unknown(text)
		case "then":
			s.Then = value
		case "only":
			s.Only = strings.Split(value, ",")
		case "except":
			s.Except = strings.Split(value, ",")
		default:
			t.Fatalf("unknown %s", w)
		}
	}
	return s
}

func meddle(t *testing.T, root string, words []string) {
	path := root + words[1]
	var err error
	switch words[0] {
	case "write":
		err = os.WriteFile(path, []byte(words[2]), 0o644)
	case "remove":
		err = os.Remove(path)
	case "chmod":
		m, perr := strconv.ParseUint(words[2], 8, 32)
		if perr != nil {
			t.Fatal(perr)
		}
		err = os.Chmod(path, fs.FileMode(m))
	case "link":
		err = errors.Join(os.Remove(path), os.Symlink("/etc/hostname", path))
	default:
		t.Fatalf("unknown %s", words[0])
	}
	if err != nil {
		t.Fatal(err)
	}
}
