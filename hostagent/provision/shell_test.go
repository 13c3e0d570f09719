// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func shell(script string) *Step { return &Step{Name: "s", Shell: &Shell{Script: script}} }

func TestShell(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name string
		step *Step
		says string // of the error, empty for success
	}{
		{"success", shell("true"), ""},
		{"a command in the middle fails", shell("false\ntrue"), "exit status 1; it wrote nothing"},
		{"an unset variable", shell(`echo "$HOLDFAST_NO_SUCH"`), "HOLDFAST_NO_SUCH"},
		{"its output is told", shell("echo out; echo err >&2; exit 3"), "exit status 3; its output ends:\nout\nerr"},
		{"standard input is empty", shell(`test -z "$(cat)"`), ""},
		{"where it runs", &Step{Name: "s", Shell: &Shell{Dir: dir, Script: `test "$(pwd -P)" = "$WANT"`, Env: map[string]Value{"WANT": Plain(dir)}}}, ""},
		{"no such directory", &Step{Name: "s", Shell: &Shell{Dir: dir + "/none", Script: "true"}}, "no such file or directory"},
		{"who and what it is told", shell(`test "$HOLDFAST_NODE/$HOLDFAST_STEP" = n1/s && test -n "$HOME" && test "$USER" = "$(id -un)"`), ""},
		{"valid exit codes", &Step{Name: "s", Shell: &Shell{Script: "exit 3", ValidExitCodes: []int{0, 3}}}, ""},
		{"0 is not valid", &Step{Name: "s", Shell: &Shell{Script: "exit 0", ValidExitCodes: []int{3}}}, "exit status 0"},
		{"killed from outside", &Step{Name: "s", Shell: &Shell{Script: "kill -9 $$"}}, "signal: killed"},
		{"the text is in no argument", shell("tr '\\0' ' ' < /proc/$$/cmdline | grep -q 'sh -eu /dev/fd/3 $'"), ""},
		{"no such user", &Step{Name: "s", Shell: &Shell{User: "no-such-user", Script: "true"}}, "unknown user"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := runShell(t.Context(), "n1", tc.step, given{})
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
		})
	}
}

// The agent's own environment does not reach a command.
func TestEnvironmentIsClean(t *testing.T) {
	t.Setenv("HOLDFAST_PROVISION_TEST", "leaked")
	if err := runShell(t.Context(), "n1", shell(`test -z "${HOLDFAST_PROVISION_TEST-}"`), given{}); err != nil {
		t.Error(err)
	}
}

// Another user reads the script and has no privileges of ours.
func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root changes users")
	}
	err := runShell(t.Context(), "n1", &Step{Name: "s", Shell: &Shell{User: "nobody", Script: `test "$(id -un) $USER $(id -G)" = "nobody nobody $(id -g)"`}}, given{})
	if err != nil {
		t.Error(err)
	}
}

// pidFile waits until a file has a pid in it, and returns 0 where the test's end is first.
func pidFile(t *testing.T, path string) int {
	for t.Context().Err() == nil {
		b, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && strings.HasSuffix(string(b), "\n") {
			return pid
		}
		time.Sleep(time.Millisecond) // polled: a file of another process
	}
	return 0
}

// gone reports whether a process has ended; a zombie of somebody else's has.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ") || strings.Contains(string(b), ") X ")
}

// A command that takes too long is ended with everything in its group: a grandchild
// that is deaf to SIGTERM too. Seen to fail with signalGroup signalling the shell alone.
func TestTimeoutEndsTheGroup(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ name, script string }{
		{"the shell hears SIGTERM", `sh -c 'trap "" TERM; echo $$ > child; while :; do sleep 1; done' & wait`},
		{"in the foreground", `sh -c 'trap "" TERM; sh -c "echo \$\$ > child; while :; do sleep 1; done"; true'`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(dir, "child")
			_ = os.Remove(path) // of the case before
			s := &Step{Name: "s", Shell: &Shell{Dir: dir, Script: tc.script}}
			ctx, cancel := context.WithCancelCause(t.Context())
			var child int
			go func() { // ends with the file, which the command writes at once
				child = pidFile(t, path)
				cancel(fmt.Errorf("%w: more than 1s", ErrTimeout))
			}()
			err := runShell(ctx, "n1", s, given{})
			if !errors.Is(err, ErrTimeout) {
				t.Errorf("ended with %v", err)
			}
			if !eventually(t, func() bool { return gone(child) }) {
				t.Errorf("the grandchild %d is still there", child)
				end(t, child)
			}
		})
	}
}

// eventually waits for the kernel to have done what it was told.
func eventually(t *testing.T, done func() bool) bool {
	for range 5000 {
		if done() {
			return true
		}
		if t.Context().Err() != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// end ends the group of a process that the executor should have ended.
func end(t *testing.T, pid int) {
	group, err := unix.Getpgid(pid)
	if err == nil && pid > 1 && group > 1 {
		err = unix.Kill(-group, unix.SIGKILL)
	}
	if err != nil {
		t.Error(err)
	}
}

// What a command leaves in the background ends with it, and does not hold the run.
func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	s := &Step{Name: "s", Shell: &Shell{Dir: dir, Script: "sleep 1000 & echo $! > child"}}
	if err := runShell(t.Context(), "n1", s, given{}); err != nil {
		t.Fatal(err)
	}
	if child := pidFile(t, filepath.Join(dir, "child")); !eventually(t, func() bool { return gone(child) }) {
		t.Errorf("%d is still there", child)
		end(t, child)
	}
}

// The output of a command that writes without end is bounded, and its end is kept.
func TestOutputIsBounded(t *testing.T) {
	err := runShell(t.Context(), "n1", shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; exit 1"), given{})
	if err == nil || len(err.Error()) > tailBytes+200 || !strings.HasSuffix(err.Error(), "line 20000") || !strings.Contains(err.Error(), "ends:\n… ") {
		t.Errorf("%d bytes: %.200v", len(fmt.Sprint(err)), err)
	}
}

// A secret is in no error, event, record or plan, also where the command prints it.
func TestSecretsAreNowhere(t *testing.T) {
	dir := t.TempDir()
	const secret, other, pem = "hunter2-hunter2", "only-in-the-file", "-----BEGIN-----\nMIIBVgIBADANBgkq\n-----END-----"
	steps := []Step{
		{Name: "conf", File: &File{Path: filepath.Join(dir, "conf"), Template: "pw={{.pw}}", Vars: map[string]Value{"pw": Secret(other)}}},
		{Name: "print", Retries: 1, Backoff: time.Millisecond, Shell: &Shell{
			Env: map[string]Value{"TOKEN": Secret(secret), "PEM": Secret(pem), "PLAIN": Plain("shown")}, Dir: dir, Script: `set -x; cat conf; echo; echo "$TOKEN $PLAIN"; echo "$PEM" | tail -n 2; echo "x${TOKEN}x"; exit 1`,
		}},
	}
	h := NewHost(filepath.Join(dir, "record"), "n1")
	var all strings.Builder
	res, err := h.Run(t.Context(), steps, func(e Event) { fmt.Fprintf(&all, "%+v %#v %v\n", e, e.Decision, e.Err) })
	if err == nil || !strings.Contains(err.Error(), "(secret) shown") || !strings.Contains(err.Error(), "x(secret)x") || !strings.Contains(err.Error(), "pw=(secret)") {
		t.Errorf("the error: %v", err)
	}
	fmt.Fprintf(&all, "%v\n%+v\n%#v\n%+v\n", err, res, steps[1].Shell.Env, steps)
	record, rerr := os.ReadFile(filepath.Join(dir, "record", recordName))
	if rerr != nil {
		t.Fatal(rerr)
	}
	all.Write(record)
	for _, s := range []string{secret, other, "MIIBVg", digest(secret)} {
		if strings.Contains(all.String(), s) {
			t.Errorf("%q is in:\n%s", s, all.String())
		}
	}
	b, _ := os.ReadFile(filepath.Join(dir, "conf"))
	fi, serr := os.Stat(filepath.Join(dir, "conf"))
	if string(b) != "pw="+other || serr != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the file: %q %v %v", b, fi.Mode(), serr)
	}
}

// A FIFO in the place of a file holds nobody, and a directory is refused.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	h := NewHost(filepath.Join(dir, "record"), "n1")
	steps := []Step{{Name: "f", File: &File{Path: path, Content: "x"}}}
	if _, err := h.Run(t.Context(), steps, nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if res, err := h.Run(t.Context(), steps, nil); err != nil || len(res.Done) != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Run(t.Context(), steps, nil); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("%v", err)
	}
}

func TestMask(t *testing.T) {
	for _, tc := range []struct {
		text    string
		from    int
		secrets []string
		want    string
	}{
		{"a secret b", 0, []string{"secret"}, "a (secret) b"},
		{"aaaa", 0, []string{"aa"}, "(secret)"},
		{"abcabd", 0, []string{"abc", "cab"}, "(secret)d"},
		{"password", 4, []string{"password"}, "(secret)"}, // cut within it
		{"ends with passw", 0, []string{"password"}, "ends with (secret)"},
		{"ends with pas", 0, []string{"password"}, "ends with pas"},
		{"nothing", 0, nil, "nothing"},
		{"", 0, []string{"x"}, ""},
	} {
		if got := mask(tc.text, tc.from, tc.secrets); got != tc.want {
			t.Errorf("mask(%q, %d, %q) = %q, want %q", tc.text, tc.from, tc.secrets, got, tc.want)
		}
	}
}

// Of a secret that the cut goes through, no piece is shown. Seen to fail with extra left
// out of what is kept.
func TestSecretAtTheCut(t *testing.T) {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "<%d>", i)
	}
	secret := b.String()
	for n := range 2 * len(secret) {
		o := newOutput(given{secrets: []string{secret}})
		// One write, so that what is kept begins n bytes further on each time.
		_, _ = o.Write([]byte(strings.Repeat(secret, 200) + strings.Repeat(".", n)))
		if got := strings.ReplaceAll(o.String(), hidden, ""); strings.Trim(got, "… .") != "" {
			t.Fatalf("%d dots: %q", n, got)
		}
	}
}

// However output is cut into writes, a secret of it is never shown, nor its end
// where the beginning was dropped.
func FuzzOutput(f *testing.F) {
	f.Add("before ", "hunter2", " after", uint16(5000), uint8(3))
	f.Fuzz(func(t *testing.T, before, secret, after string, n uint16, step uint8) {
		if len(secret) < 4 || len(secret) > 2000 || strings.ContainsAny(secret, "(secret)… ?") || strings.TrimSpace(secret) != secret {
			return
		}
		text := strings.Repeat(before+secret+after, int(n)%2000+1)
		o := newOutput(given{secrets: []string{secret}})
		for len(text) > 0 {
			k := min(int(step)+1, len(text))
			_, _ = o.Write([]byte(text[:k]))
			text = text[k:]
		}
		got := o.String()
		if strings.Contains(got, secret) {
			t.Fatalf("%q is in %q", secret, got)
		}
	})
}

// The shell of the executor is there: a skip here would hide everything above.
func TestShellIsThere(t *testing.T) {
	if _, err := exec.LookPath(shellPath); err != nil {
		t.Fatal(err)
	}
}

// While a secret is not known, it cannot be taken out of what a command wrote: an
// earlier step may have put it where this one reads. Seen to fail with the clause taken
// out of output.String.
func TestUnknownSecretHidesOutput(t *testing.T) {
	h := NewHost(t.TempDir(), "n1")
	steps := func(pw Value) []Step {
		return []Step{
			{Name: "first", Shell: &Shell{Script: "true", Env: map[string]Value{"PW": pw}}},
			{Name: "second", Shell: &Shell{Script: "echo hunter2; exit 1"}},
		}
	}
	if _, err := h.Run(t.Context(), steps(Secret("hunter2")), nil); err == nil || !strings.HasSuffix(err.Error(), "ends:\n"+hidden) {
		t.Errorf("with the secret: %v", err)
	}
	_, err := h.Run(t.Context(), steps(Unknown("db")), nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "the secret db") {
		t.Errorf("without: %v", err)
	}
}
