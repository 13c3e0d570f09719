// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// workdir is a working directory of the provider that was built, as its users run it.
type workdir struct {
	*site
	dir      string
	binary   string
	progress string // what HOLDFAST_PROGRESS names
	env      []string
}

func newWorkdir(s *site) *workdir {
	s.t.Helper()
	bin := filepath.Dir(os.Getenv("HOLDFAST_BINARY"))
	if _, err := os.Stat(filepath.Join(bin, "terraform-provider-holdfast")); err != nil {
		s.t.Fatalf("the provider is not beside HOLDFAST_BINARY (%v): `make testacc` builds both", err)
	}
	tf := &workdir{site: s, dir: s.t.TempDir(), binary: os.Getenv("TF_ACC_TERRAFORM_PATH")}
	if tf.binary == "" {
		tf.binary = "terraform"
	}
	tf.progress = filepath.Join(tf.dir, "progress")
	rc := filepath.Join(tf.dir, "dev.tfrc")
	tf.file("dev.tfrc", fmt.Sprintf(`provider_installation {
  dev_overrides {
    "registry.terraform.io/holdfastdb/holdfast" = %q
  }
  direct {}
}`, bin))
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TF_") {
			tf.env = append(tf.env, v)
		}
	}
	tf.env = append(tf.env, "TF_CLI_CONFIG_FILE="+rc, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "HOLDFAST_PROGRESS="+tf.progress)
	return tf
}

// file writes a file of the working directory.
func (tf *workdir) file(name, text string) {
	tf.t.Helper()
	if err := os.WriteFile(filepath.Join(tf.dir, name), []byte(text), 0o600); err != nil {
		tf.t.Fatal(err)
	}
}

// configure replaces the configuration.
func (tf *workdir) configure(body string) {
	tf.t.Helper()
	tf.file("main.tf", `
terraform {
  required_providers {
    holdfast = { source = "registry.terraform.io/holdfastdb/holdfast" }
  }
}
`+tf.config(body))
}

func (tf *workdir) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	var out bytes.Buffer
	cmd := exec.CommandContext(tf.t.Context(), tf.binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = tf.dir, tf.env, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the provider is its child
	cmd.WaitDelay = 10 * time.Second
	return cmd, &out
}

// run runs a command to its end and returns its exit code.
func (tf *workdir) run(args ...string) (code int, out string) {
	tf.t.Helper()
	cmd, buf := tf.command(append(args, "-no-color", "-input=false")...)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), buf.String()
	}
	if err != nil {
		tf.t.Fatal(err)
	}
	return 0, buf.String()
}

// must runs a command that has to end with the code.
func (tf *workdir) must(code int, args ...string) string {
	tf.t.Helper()
	got, out := tf.run(args...)
	if got != code {
		tf.t.Fatalf("terraform %s: exit code %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

// killAt starts a command and kills it as soon as the provider's progress says the
// words; with group its provider, too, which else ends by itself.
func (tf *workdir) killAt(words string, group bool, args ...string) {
	tf.t.Helper()
	if err := os.Remove(tf.progress); err != nil && !errors.Is(err, os.ErrNotExist) {
		tf.t.Fatal(err)
	}
	cmd, out := tf.command(append(args, "-no-color", "-input=false")...)
	if err := cmd.Start(); err != nil {
		tf.t.Fatal(err)
	}
	ended := make(chan error, 1) // one result
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				tf.t.Fatalf("it ended before it said %q: %v\n%s", words, err, out)
			}
			tf.t.Logf("%s ended well and never said %q", strings.Join(args, " "), words)
			return
		case <-tick.C:
		}
		b, err := os.ReadFile(tf.progress)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			tf.t.Fatal(err)
		}
		if strings.Contains(string(b), words) {
			break
		}
	}
	pid := cmd.Process.Pid
	if group {
		pid = -pid
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		tf.t.Fatal(err)
	}
	if err := <-ended; err == nil {
		tf.t.Logf("%s ended well before it could be killed", strings.Join(args, " "))
		return
	}
	tf.t.Logf("%s killed at %q", strings.Join(args, " "), words)
}

// TestAccKilledApply kills Terraform while it makes a cluster, changes it and destroys
// it, each time at another point. The next command goes on from there: one and the same
// cluster, and nothing of it is left in the end.
func TestAccKilledApply(t *testing.T) {
	t.Parallel()
	s := newSite(t, os.Geteuid() != 0) // the built provider decides: as root, loop devices
	tf := newWorkdir(s)
	tf.configure("")
	var points []string
	for _, p := range []struct {
		words string
		disks bool // only where there are loop devices
	}{
		{"make machines", false},
		{"recorded cluster", false},
		{"formatting disk", true},
		{"attached disk", true},
		{"mounted", true},
		{"started the agent", false},
		{"spec: its first", false},
		{"wait for a leader", false},
		{"ready: ", false},
	} {
		if !p.disks || !s.plain {
			points = append(points, p.words)
		}
	}
	var id string
	for i, words := range points {
		tf.killAt(words, i%2 == 0, "apply", "-auto-approve")
		_, now, ok, err := s.Adopt(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ok && id == "" {
			id = now
		}
		if now != id {
			t.Fatalf("the cluster was %s, and is %s", id, now)
		}
	}
	tf.must(0, "apply", "-auto-approve")
	tf.must(0, "plan", "-detailed-exitcode")
	state, err := os.ReadFile(filepath.Join(tf.dir, "terraform.tfstate"))
	if err != nil || !strings.Contains(string(state), id) {
		t.Errorf("the state does not hold the cluster %s: %v\n%s", id, err, state)
	}
	s.serves(time.Second)
	s.write(16)

	// A drift as a person reads it.
	s.putSpec("b", func(spec *agentapi.Spec) { spec.RaftLogStore.Verification.Interval = "5m" })
	out := tf.must(2, "plan", "-detailed-exitcode")
	for _, want := range []string{`~ "b" = {`, `~ interval = "5m" -> "60s"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not say %s:\n%s", want, out)
		}
	}
	tf.must(0, "apply", "-auto-approve")
	tf.must(0, "plan", "-detailed-exitcode")

	// A change that restarts every engine, killed in the middle of it.
	tf.configure("raft_logstore = { disable_log_cache = true }")
	tf.killAt("restart engine", true, "apply", "-auto-approve")
	tf.must(0, "apply", "-auto-approve")
	tf.must(0, "plan", "-detailed-exitcode")
	for name, n := range s.nodes() {
		if !n.Status.Spec.RaftLogStore.DisableLogCache || len(n.Status.Engine.RestartRequired) > 0 {
			t.Errorf("node %s: %v, restart required for %v", name, n.Status.Spec.RaftLogStore, n.Status.Engine.RestartRequired)
		}
		s.read(name, 16)
	}

	points = []string{"stopping the engine", ": unmounted", ": removed"}
	if s.plain {
		points = slices.Delete(points, 1, 2)
	}
	for _, words := range points {
		tf.killAt(words, true, "destroy", "-auto-approve")
	}
	tf.must(0, "destroy", "-auto-approve")
	if left := leftovers(s.dir); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}
