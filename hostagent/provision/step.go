// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Step is one thing to be done. Exactly one of File and Shell is set.
type Step struct {
	// Name identifies the step on the host: letters, digits, dots, dashes, underscores.
	Name string
	// Only, where not empty, are the nodes that the step is for; Except are those it
	// is not for.
	Only, Except []string
	// PauseBefore is waited before each run of the step, not between attempts.
	PauseBefore time.Duration
	// Timeout bounds one attempt; 0 is DefaultTimeout.
	Timeout time.Duration
	// Retries is how many more attempts there are after one that failed; Backoff is
	// the wait before the first of them, doubled each time up to MaxBackoff; 0 is
	// DefaultBackoff.
	Retries int
	Backoff time.Duration
	// Then = ThenAll makes the later steps run whenever this one does.
	Then string

	File  *File
	Shell *Shell
}

// ThenAll is what Step.Then may say.
const ThenAll = "all"

// What is meant where nothing is said, and bounds.
const (
	DefaultTimeout = 5 * time.Minute
	DefaultBackoff = time.Second
	MaxBackoff     = time.Minute
	DefaultMode    = fs.FileMode(0o644)
	SecretMode     = fs.FileMode(0o600) // of a file with secret variables
	maxRetries     = 100
	maxText        = 1 << 20
)

// File is a file with this content. Missing directories above it are made.
type File struct {
	Path string
	// Content is the text; or Template is one of text/template, with Vars as
	// {{.name}} and nothing else in reach. A variable that is missing or not used by
	// name anywhere is refused.
	Content  string
	Template string
	Vars     map[string]Value
	// Owner and Group are names or numbers; empty is who runs the agent.
	Owner, Group string
	Mode         fs.FileMode // permissions; 0 is DefaultMode, or SecretMode
}

// Shell is commands for /bin/sh -eu. Their environment is PATH, LANG, HOME, USER,
// HOLDFAST_NODE, HOLDFAST_STEP and Env; standard input is empty.
type Shell struct {
	Inline []string // commands, one a line; or
	Script string   // a whole script, whose first line chooses no other shell
	Env    map[string]Value
	User   string // empty is who runs the agent
	Dir    string // working directory; empty is /
	// ValidExitCodes are those that mean success; empty is 0 alone.
	ValidExitCodes []int
}

// Value is a text that may be secret. It prints, encodes and logs as "(secret)" then.
type Value struct {
	text   string
	secret bool
	// unknown is the name of a secret whose text is not known.
	unknown string
}

// Plain and Secret make values.
func Plain(s string) Value  { return Value{text: s} }
func Secret(s string) Value { return Value{text: s, secret: true} }

// Unknown is a secret of which only the name is known. A step with one counts as
// unchanged where nothing else of it differs from what was done; it cannot be run.
func Unknown(name string) Value { return Value{secret: true, unknown: name} }

const hidden = "(secret)"

// String implements fmt.Stringer.
func (v Value) String() string {
	if v.secret {
		return hidden
	}
	return v.text
}

// GoString implements fmt.GoStringer.
func (v Value) GoString() string { return fmt.Sprintf("%q", v.String()) }

// MarshalText implements encoding.TextMarshaler; a secret does not come back.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// appliesTo reports whether the step is for a node.
func (s *Step) appliesTo(node string) bool {
	return (len(s.Only) == 0 || slices.Contains(s.Only, node)) && !slices.Contains(s.Except, node)
}

func (s *Step) timeout() time.Duration {
	if s.Timeout == 0 {
		return DefaultTimeout
	}
	return s.Timeout
}

// backoff is the wait after the n-th attempt, which failed.
func (s *Step) backoff(n int) time.Duration {
	d := s.Backoff
	if d == 0 {
		d = DefaultBackoff
	}
	for ; n > 1 && d < MaxBackoff; n-- {
		d *= 2
	}
	return min(d, MaxBackoff)
}

func (f *File) mode() fs.FileMode {
	switch {
	case f.Mode != 0:
		return f.Mode
	case hasSecret(f.Vars):
		return SecretMode
	}
	return DefaultMode
}

func (sh *Shell) text() string {
	if sh.Script != "" {
		return sh.Script
	}
	return strings.Join(sh.Inline, "\n") + "\n"
}

func (sh *Shell) validExitCodes() []int {
	if len(sh.ValidExitCodes) == 0 {
		return []int{0}
	}
	codes := slices.Clone(sh.ValidExitCodes)
	slices.Sort(codes)
	return slices.Compact(codes)
}

func hasSecret(vars map[string]Value) bool {
	for _, v := range vars {
		if v.secret {
			return true
		}
	}
	return false
}

// values are the variables of the step, by name.
func (s *Step) values() map[string]Value {
	if s.File != nil {
		return s.File.Vars
	}
	return s.Shell.Env
}

// secrets are the texts that must not be shown.
func (s *Step) secrets() []string {
	var texts []string
	for _, v := range s.values() {
		if v.secret && v.unknown == "" {
			texts = append(texts, v.text)
		}
	}
	return texts
}

// unknown are the names of the step's secrets that are not known, sorted.
func (s *Step) unknown() []string {
	var names []string
	for _, v := range s.values() {
		if v.unknown != "" {
			names = append(names, v.unknown)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var (
	stepRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	envRE  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	userRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$`)
)

// Validate reports the first field whose value makes no sense. It looks at the steps
// alone, not at the host. The error is an *agentapi.Error.
func Validate(steps []Step) error {
	seen := map[string]bool{}
	for i := range steps {
		s := &steps[i]
		if !stepRE.MatchString(s.Name) {
			return bad(fmt.Sprintf("provision.%d.name", i), s.Name, "not a name", "Use letters, digits, dots, dashes and underscores, 64 at most.")
		}
		if seen[s.Name] {
			return bad("provision."+s.Name+".name", s.Name, "named twice", "Give every step a name of its own: its record on the host is kept under it.")
		}
		seen[s.Name] = true
		if e := s.check("provision." + s.Name); e != nil {
			return e
		}
	}
	return nil
}

func bad(field string, value any, why, next string) *agentapi.Error {
	return &agentapi.Error{What: "the provisioning steps are refused", Why: fmt.Sprintf("%s = %q: %s", field, fmt.Sprint(value), why), Next: next, Field: field}
}

func (s *Step) check(at string) *agentapi.Error {
	switch {
	case s.PauseBefore < 0:
		return bad(at+".pause_before", s.PauseBefore, "below zero", "Write a duration such as 10s, or leave it out.")
	case s.Timeout < 0:
		return bad(at+".timeout", s.Timeout, "below zero", "Write a duration such as 5m, or leave it out.")
	case s.Backoff < 0:
		return bad(at+".backoff", s.Backoff, "below zero", "Write a duration such as 1s, or leave it out.")
	case s.Retries < 0 || s.Retries > maxRetries:
		return bad(at+".retries", s.Retries, fmt.Sprintf("outside 0 to %d", maxRetries), "Use a few.")
	case s.Then != "" && s.Then != ThenAll:
		return bad(at+".then", s.Then, "not known", "Use all, or leave it out.")
	case (s.File == nil) == (s.Shell == nil):
		return bad(at, s.Name, "not exactly one of file and shell", "Give it one of them.")
	case s.File != nil:
		return s.File.check(at + ".file")
	}
	return s.Shell.check(at + ".shell")
}

func (f *File) check(at string) *agentapi.Error {
	if !cleanPath(f.Path) {
		return bad(at+".path", f.Path, "not an absolute path in its shortest form", "Write it from / on, without . or .. or a closing slash.")
	}
	if f.Content != "" && f.Template != "" {
		return bad(at+".template", "…", "there is content too", "Give one of them.")
	}
	if f.Template == "" && len(f.Vars) > 0 {
		return bad(at+".vars", strings.Join(slices.Sorted(maps.Keys(f.Vars)), ","), "there is no template", "Give a template, or leave the variables out.")
	}
	if len(f.Content) > maxText || len(f.Template) > maxText {
		return bad(at+".content", fmt.Sprintf("%d bytes", max(len(f.Content), len(f.Template))), fmt.Sprintf("more than %d", maxText), "Fetch large files in a shell step.")
	}
	for name, id := range map[string]string{"owner": f.Owner, "group": f.Group} {
		if id != "" && !userRE.MatchString(id) {
			return bad(at+"."+name, id, "not a name", "Use the name or the number of a user or group.")
		}
	}
	if f.Mode&^fs.ModePerm != 0 {
		return bad(at+".mode", fmt.Sprintf("%#o", uint32(f.Mode)), "more than permissions", "Write an octal number up to 0777.")
	}
	if hasSecret(f.Vars) && f.mode()&0o007 != 0 {
		return bad(at+".mode", fmt.Sprintf("%#o", f.mode()), "everybody could read a file with a secret in it", "Use 0600, or 0640 with a group.")
	}
	if err := f.checkTemplate(); err != nil {
		return bad(at+".template", "…", err.Error(), "Each variable is written {{.name}} and stands in vars.")
	}
	return nil
}

func cleanPath(p string) bool {
	return filepath.IsAbs(p) && filepath.Clean(p) == p && p != "/" && !strings.ContainsRune(p, 0)
}

func (sh *Shell) check(at string) *agentapi.Error {
	if (len(sh.Inline) == 0) == (sh.Script == "") {
		return bad(at+".inline", strings.Join(sh.Inline, "; "), "not exactly one of inline and script", "Give it one of them.")
	}
	if text := sh.text(); len(text) > maxText || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return bad(at+".script", fmt.Sprintf("%d bytes", len(text)), "not a text of 1 MiB at most", "Keep large data in files.")
	}
	for _, name := range slices.Sorted(maps.Keys(sh.Env)) {
		switch {
		case !envRE.MatchString(name):
			return bad(at+".env", name, "not a name of a variable", "Use letters, digits and underscores.")
		case strings.ContainsRune(sh.Env[name].text, 0):
			return bad(at+".env."+name, sh.Env[name], "it has a zero byte", "Encode it.")
		}
	}
	if sh.User != "" && !userRE.MatchString(sh.User) {
		return bad(at+".user", sh.User, "not a name", "Use the name or the number of a user.")
	}
	if sh.Dir != "" && sh.Dir != "/" && !cleanPath(sh.Dir) {
		return bad(at+".dir", sh.Dir, "not an absolute path in its shortest form", "Write it from / on.")
	}
	for _, c := range sh.ValidExitCodes {
		if c < 0 || c > 255 {
			return bad(at+".valid_exit_codes", c, "outside 0 to 255", "List exit codes of the command.")
		}
	}
	return nil
}

// Errors of a host.
var (
	// ErrBusy is returned where another run is on.
	ErrBusy = errors.New("another run of provisioning steps is on")
	// ErrTimeout is returned, wrapped, for an attempt that took too long.
	ErrTimeout = errors.New("it took too long")
	// ErrUnknownSecret is returned, wrapped, for a step that has to run and whose secret
	// is not known. Nothing of it was done.
	ErrUnknownSecret = errors.New("not known any more")
	// ErrFailedBefore is returned, wrapped, by Resume for a step that failed in an
	// earlier run.
	ErrFailedBefore = errors.New("not run again by itself")
	// ErrHeld is returned, wrapped, for a command that was killed and does not go: the
	// kernel holds it, as a hung disk does.
	ErrHeld = errors.New("it was killed and is held in the kernel")
	// ErrCorrupt is returned, wrapped, for a record whose checksum or text is wrong.
	ErrCorrupt = errors.New("the record is damaged")
	// ErrVersion is returned, wrapped, for a record of a version that is not known.
	ErrVersion = errors.New("the record is of another version")
)
