// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package terraform runs a real terraform, with the provider that was built, in a copy of one of
// the examples: for tests of whole clusters.
package terraform

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Dir is a working directory with the configuration of an example, and the
// provider that was built, as its users run it.
type Dir struct {
	Path     string
	Env      []string
	program  string
	progress string // what HOLDFAST_PROGRESS names
}

// Built is the holdfast binary that was built; the provider lies beside it.
func Built(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(cmp.Or(os.Getenv("HOLDFAST_BINARY"), filepath.Join("..", "..", "bin", "holdfast")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("make build makes the binary that this needs: ", err)
	}
	return path
}

// New copies the configuration of an example to a directory of the test.
func New(t *testing.T, example string) *Dir {
	t.Helper()
	tf := &Dir{Path: t.TempDir()}
	var err error
	if tf.program, err = exec.LookPath(cmp.Or(os.Getenv("TF_ACC_TERRAFORM_PATH"), "terraform")); err != nil {
		t.Skip("make testvm names the terraform that this needs: ", err)
	}
	holdfast := Built(t)
	if _, err := os.Stat(filepath.Join(filepath.Dir(holdfast), "terraform-provider-holdfast")); err != nil {
		t.Skip("make build makes the provider that this needs: ", err)
	}
	if err := os.CopyFS(tf.Path, os.DirFS(filepath.Join("..", "..", "examples", example))); err != nil {
		t.Fatal(err)
	}
	tf.progress = filepath.Join(tf.Path, "progress")
	rc := tf.File(t, "dev.tfrc", fmt.Sprintf(`provider_installation {
  dev_overrides {
    "registry.terraform.io/holdfastdb/holdfast" = %[1]q
    "registry.opentofu.org/holdfastdb/holdfast" = %[1]q
  }
  direct {}
}`, filepath.Dir(holdfast)))
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TF_") && !strings.HasPrefix(v, "HOLDFAST_") && !strings.HasPrefix(v, "SSH_AUTH_SOCK=") {
			tf.Env = append(tf.Env, v)
		}
	}
	tf.Env = append(tf.Env, "TF_CLI_CONFIG_FILE="+rc, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1",
		"HOLDFAST_BINARY="+holdfast, "HOLDFAST_PROGRESS="+tf.progress)
	return tf
}

// File writes a file of the working directory, for its owner alone.
func (tf *Dir) File(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(tf.Path, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// JSON is file of a value.
func (tf *Dir) JSON(t *testing.T, name string, value any) {
	t.Helper()
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	tf.File(t, name, string(b))
}

// terraformMax is what one command may take.
const terraformMax = 8 * time.Minute

// Command is a command under way.
type Command struct {
	args  []string
	cmd   *exec.Cmd
	out   bytes.Buffer  // read once Ended is closed
	err   error         // likewise
	Ended chan struct{} // closed when it has ended
}

// Start starts a command. It does not survive this process, and neither does its
// provider, which ends with it.
func (tf *Dir) Start(t *testing.T, args ...string) *Command {
	t.Helper()
	if err := os.Remove(tf.progress); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	b := &Command{args: args, Ended: make(chan struct{})}
	b.cmd = exec.CommandContext(t.Context(), tf.program, append(args, "-no-color")...)
	b.cmd.Dir, b.cmd.Env, b.cmd.Stdout, b.cmd.Stderr = tf.Path, tf.Env, &b.out, &b.out
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	b.cmd.WaitDelay = 10 * time.Second
	began := make(chan error) // from the goroutine, once
	go func() {
		runtime.LockOSThread() // Pdeathsig watches the thread
		defer close(b.Ended)
		err := b.cmd.Start()
		began <- err
		if err == nil {
			b.err = b.cmd.Wait()
		}
	}()
	if err := <-began; err != nil {
		t.Fatal(err)
	}
	return b
}

// Wait is the exit code and what it said.
func (b *Command) Wait(t *testing.T) (code int, out string) {
	t.Helper()
	timer := time.NewTimer(terraformMax)
	defer timer.Stop()
	select {
	case <-b.Ended:
	case <-timer.C:
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // it is not waited for yet
		<-b.Ended
		t.Fatalf("terraform %s: not after %s:\n%s", b.args[0], terraformMax, b.out.String())
	}
	if exit, ok := errors.AsType[*exec.ExitError](b.err); ok {
		return exit.ExitCode(), b.out.String()
	}
	if b.err != nil {
		t.Fatal(b.err)
	}
	return 0, b.out.String()
}

// Kill ends it and its provider at once, wherever they are.
func (b *Command) Kill() {
	select {
	case <-b.Ended:
	default:
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // it is not waited for yet, or it has just ended
	}
}

// Run runs a command to its end.
func (tf *Dir) Run(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	began := time.Now()
	code, out = tf.Start(t, args...).Wait(t)
	t.Logf("terraform %s: exit code %d after %s", strings.Join(args, " "), code, time.Since(began).Round(100*time.Millisecond))
	return code, out
}

// Must runs a command that has to end with the code.
func (tf *Dir) Must(t *testing.T, code int, args ...string) string {
	t.Helper()
	got, out := tf.Run(t, args...)
	if got != code {
		t.Fatalf("terraform %s: exit code %d, want %d:\n%s\nprogress:\n%s", strings.Join(args, " "), got, code, Tail(out, 60), Tail(tf.Told(), 60))
	}
	return out
}

// Told is the progress of the newest command.
func (tf *Dir) Told() string {
	b, err := os.ReadFile(tf.progress)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// notReady is what an apply says that makes a cluster and does not get there. What it
// made stays, to be gone on with: after an error terraform would make all of it anew.
const notReady = "Warning: The cluster is not ready"

// Apply has to get there.
func (tf *Dir) Apply(t *testing.T) {
	t.Helper()
	if out := tf.Must(t, 0, "apply", "-auto-approve", "-input=false"); strings.Contains(out, notReady) {
		t.Errorf("%s\nprogress:\n%s", Tail(out[strings.Index(out, notReady):], 40), Tail(tf.Told(), 20))
		tf.Must(t, 0, "apply", "-auto-approve", "-input=false") // for what comes after it
	}
}

// NothingDiffers plans, and nothing may differ.
func (tf *Dir) NothingDiffers(t *testing.T) {
	t.Helper()
	tf.Must(t, 0, "plan", "-detailed-exitcode", "-input=false")
}

// Settles plans until nothing differs: where machines started again, an engine on a busy
// one may be asked too early.
func (tf *Dir) Settles(t *testing.T) {
	t.Helper()
	const plans = 3
	for range plans - 1 {
		code, out := tf.Run(t, "plan", "-detailed-exitcode", "-input=false")
		if code == 0 {
			return
		}
		t.Log(Tail(out, 40))
	}
	tf.NothingDiffers(t)
}

// Refused applies, and is to be told why not, in words that hold all of these.
func (tf *Dir) Refused(t *testing.T, words ...string) {
	t.Helper()
	code, out := tf.Run(t, "apply", "-auto-approve", "-input=false")
	if code != 1 && !strings.Contains(out, notReady) {
		t.Errorf("exit code %d, want an error:\n%s", code, Tail(out, 40))
	}
	plain := Unwrap(out)
	for _, w := range words {
		if !strings.Contains(plain, w) {
			t.Errorf("it does not say %q", w)
		}
	}
	t.Log(Tail(out, 25))
}

// Unwrap undoes the frame and the line breaks that terraform puts into an error.
func Unwrap(out string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(out)), " ")
}

// Tail is the last lines of a text.
func Tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\r\n "), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
