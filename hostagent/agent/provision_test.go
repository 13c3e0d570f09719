// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// shell is a step of the node's whose commands run in its directory.
func (n *node) shell(name string, commands ...string) agentapi.Step {
	return agentapi.Step{Name: name, Shell: &agentapi.ShellStep{Inline: commands, Dir: n.dir}}
}

// marks is what steps wrote to the file marks, a word each.
func (n *node) marks() string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "marks"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

func atRest(st agentapi.Status) bool { return st.Converging == nil }

// planned is what a dry run says would be done.
func (n *node) planned(spec *agentapi.Spec, secrets agentapi.Secrets) []string {
	n.t.Helper()
	res, err := n.client.DryRun(n.t.Context(), spec, secrets)
	if err != nil || len(res.Problems) > 0 {
		n.t.Fatalf("%+v %v", res.Problems, err)
	}
	var texts []string
	for _, o := range res.Operations {
		texts = append(texts, o.String())
	}
	return texts
}

// Steps are done in their order before the engine is there, shown in the plan before
// they are, and not again after.
func TestProvision(t *testing.T) {
	n := newNode(t)
	n.start()
	motd := filepath.Join(n.dir, "etc", "motd")
	n.spec.Provision = []agentapi.Step{
		{Name: "motd", File: &agentapi.FileStep{Path: motd, Template: "hello {{.who}}\n", Vars: map[string]string{"who": "you"}, Mode: "0640"}},
		n.shell("tune", "cat etc/motd", "ls data && exit 1", "echo tune >> marks"), // no store is there yet
		{Name: "other", Only: []string{"z"}, Shell: &agentapi.ShellStep{Script: "exit 1"}},
	}
	check := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, n.planned(n.spec, nil)); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	check("before", "provision: run step motd: it was never done here", "provision: run step tune: it was never done here")
	n.spec.Provision[1] = n.shell("tune", "cat etc/motd", "! ls data", "echo tune >> marks")
	if res := n.put(n.spec); len(res.Problems) > 0 {
		t.Fatalf("%+v", res.Problems)
	}
	st := n.running()
	if b, err := os.ReadFile(motd); err != nil || string(b) != "hello you\n" {
		t.Errorf("%q %v", b, err)
	}
	if len(st.Provision) != 2 || st.Provision[0].Name != "motd" || st.Provision[1].State != "finished" || st.Provision[1].Hash == "" {
		t.Errorf("status: %+v", st.Provision)
	}
	check("after")
	n.put(n.spec)
	if got := n.marks(); got != "tune" {
		t.Errorf("run: %s", got)
	}

	// Edited, and a file that somebody changed: a new agent leaves both for the next PUT.
	if err := os.WriteFile(motd, []byte("mine"), 0o640); err != nil {
		t.Fatal(err)
	}
	check("a changed file", "provision: run step motd again: its file was changed on disk: content")
	n.spec.Provision[1] = n.shell("tune", "echo again >> marks")
	check("both", "provision: run step motd again: its file was changed on disk: content",
		"provision: step tune differs: shell.script sha256:"+digestOf("cat etc/motd\n! ls data\necho tune >> marks\n")+"… → sha256:"+digestOf("echo again >> marks\n")+"…")
	n.stop()
	n.start()
	n.until("the next agent has converged", atRest)
	if b, _ := os.ReadFile(motd); string(b) != "mine" || n.marks() != "tune" {
		t.Errorf("a new agent did what nobody asked for: %q, %s", b, n.marks())
	}
	n.put(n.spec)
	if b, _ := os.ReadFile(motd); string(b) != "hello you\n" || n.marks() != "tune again" {
		t.Errorf("%q, %s", b, n.marks())
	}
	n.spec.Provision = nil
	check("none", "provision: forget step motd: not among the steps any more; what it did stays",
		"provision: forget step tune: not among the steps any more; what it did stays")
	n.put(n.spec)
	if st := n.status(); len(st.Provision) > 0 || st.Engine.PID != n.running().Engine.PID {
		t.Errorf("%+v", st)
	}
}

// What makes no sense is refused with its field, dry or not, and nothing changes.
func TestProvisionRefused(t *testing.T) {
	n := newNode(t)
	n.start()
	for field, edit := range map[string]func(*agentapi.Step){
		"provision.s.timeout":            func(s *agentapi.Step) { s.Timeout = "5 minutes" },
		"provision.s.retries":            func(s *agentapi.Step) { s.Retries = -1 },
		"provision.s.then":               func(s *agentapi.Step) { s.Then = "some" },
		"provision.s":                    func(s *agentapi.Step) { s.Shell = &agentapi.ShellStep{Script: "true"} },
		"provision.s.file.mode":          func(s *agentapi.Step) { s.File.Mode = "rw-r--r--" },
		"provision.s.file.path":          func(s *agentapi.Step) { s.File.Path = "etc" },
		"provision.s.file.secret_vars.a": func(s *agentapi.Step) { s.File.SecretVars = map[string]string{"a": "db"} },
		"provision.s.file.secret_vars.b": func(s *agentapi.Step) { s.File.SecretVars = map[string]string{"b": ""} },
		"provision.s.file.template":      func(s *agentapi.Step) { s.File.Template = "{{.c}}" },
		"provision.0.name":               func(s *agentapi.Step) { s.Name = "" },
		"provision.s.shell.secret_env.PW": func(s *agentapi.Step) {
			s.File, s.Shell = nil, &agentapi.ShellStep{Script: "true", Env: map[string]string{"PW": ""}, SecretEnv: map[string]string{"PW": "db"}}
		},
	} {
		s := agentapi.Step{Name: "s", File: &agentapi.FileStep{Path: "/none", Template: "{{.a}}", Vars: map[string]string{"a": "1"}}}
		edit(&s)
		spec := n.changed(func(spec *agentapi.Spec) { spec.Provision = []agentapi.Step{s} })
		_, dry := n.client.DryRun(t.Context(), spec, nil)
		_, wet := n.client.PutSpec(t.Context(), spec, nil)
		for _, err := range []error{dry, wet} {
			if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Field != field || e.Next == "" {
				t.Errorf("%v, want a refusal of %s", err, field)
			}
		}
	}
	if st := n.status(); st.Spec != nil {
		t.Error("a spec is in force")
	}
}

// On a new node the engine waits for its steps. One that failed is run again when the
// spec is sent again, not before: not in the background, not by the next agent.
// Where there was an engine, it is kept, also one that has to be started again.
//
// Seen to fail with provisionLocked returning the problem whatever is placed: the
// killed engine stays away.
func TestFailedStep(t *testing.T) {
	n := newNode(t)
	n.start()
	n.spec.Provision = []agentapi.Step{n.shell("one", "echo one >> marks"), n.shell("two", "echo two >> marks", "echo the reason", "test -e ready")}
	n.spec.Provision[1].Retries, n.spec.Provision[1].Backoff = 1, "1ms"
	res := n.put(n.spec)
	if len(res.Problems) != 1 || res.Problems[0].What != "step two failed" || !strings.Contains(res.Problems[0].Why, "2 attempts") || !strings.Contains(res.Problems[0].Why, "the reason") {
		t.Fatalf("%+v", res.Problems)
	}
	if st := n.status(); st.Engine.State != agentapi.EngineFailed || st.Engine.PID != 0 || st.Provision[1].State != "failed" {
		t.Errorf("%+v %+v", st.Engine, st.Provision)
	}
	n.stop()
	n.start()
	st := n.until("the next agent has converged", atRest)
	if len(st.Problems) == 0 {
		t.Fatal("no problem")
	}
	if p := st.Problems[0]; p.What != "step two failed" || !strings.Contains(p.Why, "not run again by itself") || st.Engine.PID != 0 {
		t.Errorf("%+v %+v", p, st.Engine)
	}
	if got := n.marks(); got != "one two two" {
		t.Errorf("run: %s", got)
	}
	n.write("ready", "")
	if res := n.put(n.spec); len(res.Problems) > 0 {
		t.Fatalf("%+v", res.Problems)
	}
	engine := n.running().Engine
	if got := n.marks(); got != "one two two two" {
		t.Errorf("run: %s", got)
	}

	// A later step that fails.
	n.spec.Provision = append(n.spec.Provision, n.shell("three", "echo three >> marks", "false"))
	if res := n.put(n.spec); len(res.Problems) != 1 || res.Problems[0].What != "step three failed" {
		t.Fatalf("%+v", res.Problems)
	}
	if st := n.running(); st.Engine.PID != engine.PID || len(st.Problems) == 0 {
		t.Errorf("%+v %+v", st.Engine, st.Problems)
	}
	if err := syscall.Kill(engine.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.until("another engine", func(st agentapi.Status) bool {
		return st.Engine.State == agentapi.EngineRunning && st.Engine.PID != engine.PID && len(st.Problems) > 0
	})
	if got := n.marks(); got != "one two two two three" {
		t.Errorf("run: %s", got)
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A secret reaches the environment of its command and the file it is for, and nothing
// else: no file of the agent's, argument, status, answer or log. A new agent does not
// know it any more, and says so where it is needed.
//
// Seen to fail with a spec.json that is the whole request, and with newOutput without secrets.
func TestSecretsAreNowhere(t *testing.T) {
	const secret, second = "hunter2-of-the-database", "0ther-token"
	n := newNode(t)
	log := &lines{}
	n.logger = hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Trace})
	n.start()
	outside, err := os.MkdirTemp(scratch, "") //nolint:usetesting // what a killed run left is found below scratch
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(outside) })
	gate := filepath.Join(outside, "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	app := filepath.Join(outside, "app.conf")
	load := n.shell("load", `test "$PW" = "$(sed s/pw=// app.conf)"`, "echo at the gate > gate", "read go < gate", "echo it is $PW $TOKEN", "exit 1")
	load.Shell.Dir = outside
	load.Shell.SecretEnv = map[string]string{"PW": "db", "TOKEN": "ci"}
	n.spec.Provision = []agentapi.Step{
		{Name: "conf", File: &agentapi.FileStep{Path: app, Template: "pw={{.pw}}", SecretVars: map[string]string{"pw": "db"}}},
		load,
	}
	secrets := agentapi.Secrets{"db": secret, "ci": second}
	var said []any // answers
	planned := n.planned(n.spec, secrets)
	said = append(said, planned)

	put := make(chan any, 1) // one answer
	go func() {
		res, err := n.client.PutSpec(t.Context(), n.spec, secrets)
		put <- []any{res, fmt.Sprint(err)}
	}()
	if b, err := os.ReadFile(gate); err != nil || string(b) != "at the gate\n" { // the command runs, and waits
		t.Fatalf("%q %v", b, err)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	found := false
	for _, path := range lines {
		b, _ := os.ReadFile(path) // it may have ended
		found = found || strings.HasPrefix(string(b), "/bin/sh\x00-eu\x00/dev/fd/3")
		said = append(said, string(b))
	}
	if err != nil || !found {
		t.Errorf("the command's arguments were not seen: %v", err)
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	said = append(said, n.status(), <-put)
	if b, err := os.ReadFile(app); err != nil || string(b) != "pw="+secret {
		t.Errorf("%q %v", b, err)
	}
	if fi, err := os.Stat(app); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi, err)
	}
	st := n.status()
	if len(st.Problems) != 1 || !strings.Contains(st.Problems[0].Why, "it is (secret) (secret)") {
		t.Errorf("%+v", st.Problems)
	}
	said = append(said, st)

	places := map[string]string{}
	collect := func() { // the files of the agent's as they are
		t.Helper()
		err := filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) {
				return nil // a temporary file of the engine's
			}
			places[path] += string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	collect()

	// Another agent, another step: what was done stays done, what has to run cannot.
	n.stop()
	n.spec.Provision[1].Shell.Inline = []string{`echo "$PW" | wc -c >> marks`}
	n.spec.Provision[1].Shell.Dir = n.dir
	n.start()
	res := n.put(n.spec)
	if len(res.Problems) != 1 || res.Problems[0].What != "step load lacks a secret" || !strings.Contains(res.Problems[0].Why, "its secret ci, db is not known any more") {
		t.Errorf("%+v", res)
	}
	said = append(said, res)
	if res, err := n.client.PutSpec(t.Context(), n.spec, secrets); err != nil || len(res.Problems) > 0 || n.marks() != fmt.Sprint(len(secret)+1) {
		t.Errorf("%+v %v, %s", res, err, n.marks())
	}
	n.running()
	n.stop()
	n.start()
	st = n.until("the next agent has converged", func(st agentapi.Status) bool {
		return st.Engine.State == agentapi.EngineRunning && st.Converging == nil
	})
	if len(st.Problems) > 0 || n.planned(n.spec, nil) != nil {
		t.Errorf("%+v, %q", st.Problems, n.planned(n.spec, nil))
	}
	if diff := cmp.Diff([]string{"provision: step load differs: shell.env.PW (secret) → (secret)"},
		n.planned(n.spec, agentapi.Secrets{"db": secret + "!", "ci": second})[1:]); diff != "" {
		t.Errorf("another secret: %s", diff)
	}
	said = append(said, st)

	collect()
	text, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	places["answers"], places["the log"] = string(text), log.String()
	for place, text := range places {
		for _, s := range []string{secret, second} {
			if strings.Contains(text, s) {
				t.Errorf("%s is in %s", s, place)
			}
		}
	}
	if !strings.Contains(n.records()["spec.json"], `"PW": "db"`) {
		t.Error("spec.json lacks the name of the secret")
	}
}

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:12]
}
