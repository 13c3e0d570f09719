// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/sdk/freeport"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"holdfast": func() {
			os.Exit(Run(context.Background(), os.Args[1:], Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Version: "test"}))
		},
		"join": joinSocket,
	})
}

// joinSocket is join SOCKET: its input and output are joined to the socket.
func joinSocket() {
	conn, err := net.Dial("unix", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "join:", err)
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.UnixConn).CloseWrite() // nothing more is asked
	}()
	_, _ = io.Copy(os.Stdout, conn)
}

// scriptBound is how long a script waits for something to become so.
const scriptBound = 20 * time.Second

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		WorkdirRoot:         t.TempDir(), // testscript's own stays behind, empty
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			work := env.WorkDir
			env.Defer(func() { killAll(env.T(), work) })
			for _, name := range []string{"SERVER_PORT", "HTTP_PORT", "HTTPS_PORT"} {
				if err := setFreePort(env, name); err != nil {
					return err
				}
			}
			env.Setenv("HOLDFAST_HTTP_ADDR", "127.0.0.1:"+env.Getenv("HTTP_PORT"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"agent":   agentRequest,
			"until":   until,
			"getjson": getJSON,
			"send":    sendSignal,
			"gone":    gone,
			"subst":   subst,
			"occupy":  occupy,
			"damage":  damage,
		},
	})
}

// setFreePort gives a script a port, until it ends. No other program is given it
// meanwhile for a connection that it makes.
func setFreePort(env *testscript.Env, name string) error {
	ports, err := freeport.Take(1)
	if err != nil {
		return err
	}
	env.Defer(func() { freeport.Return(ports) })
	env.Setenv(name, strconv.Itoa(ports[0]))
	return nil
}

// killAll ends every process that a script started, whatever its session or
// parent: all of them inherited the script's WORK.
func killAll(t testscript.T, work string) {
	mark := []byte("\x00WORK=" + work + "\x00")
	for range 100 {
		found := false
		entries, err := os.ReadDir("/proc")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || pid == os.Getpid() {
				continue
			}
			env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
			if err == nil && bytes.Contains(append([]byte{0}, env...), mark) {
				found = true
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
			}
		}
		if !found {
			return
		}
		time.Sleep(10 * time.Millisecond) // for the kernel to take them away
	}
	t.Fatal("processes of the script are left")
}

// agentRequest: agent put|dry|status|devices|start|stop|restart DIR [SPEC].
func agentRequest(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: agent REQUEST DIR [SPEC]")
	}
	c := agentapi.NewClient(filepath.Join(ts.MkAbs(args[1]), "agent.sock"))
	ctx, cancel := context.WithTimeout(context.Background(), scriptBound)
	defer cancel()
	var answer any
	var err error
	switch args[0] {
	case "put", "dry":
		var spec *agentapi.Spec
		if spec, err = agentapi.DecodeSpec(strings.NewReader(ts.ReadFile(args[2]))); err != nil {
			ts.Fatalf("%s: %v", args[2], err)
		}
		if args[0] == "dry" {
			answer, err = c.DryRun(ctx, spec, nil)
		} else {
			answer, err = c.PutSpec(ctx, spec, nil)
		}
	case "status":
		answer, err = c.Status(ctx)
	case "devices":
		answer, err = c.Devices(ctx)
	case "start":
		answer, err = c.Start(ctx)
	case "stop":
		answer, err = c.Stop(ctx)
	case "restart":
		answer, err = c.Restart(ctx)
	default:
		ts.Fatalf("no request %q", args[0])
	}
	if err != nil {
		fmt.Fprintln(ts.Stderr(), err)
		if !neg {
			ts.Fatalf("agent %s: %v", args[0], err)
		}
		return
	}
	if neg {
		ts.Fatalf("agent %s succeeded", args[0])
	}
	b, err := json.MarshalIndent(answer, "", "  ")
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), string(b))
}

// until PATTERN COMMAND ARGS: runs it until its output, both streams, matches.
// As in the script's own commands, `agent …` is a request to an agent.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND [ARGS]")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	var out []byte
	for end := time.Now().Add(scriptBound); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if args[1] == "agent" {
			ctx, cancel := context.WithTimeout(context.Background(), scriptBound)
			st, err := agentapi.NewClient(filepath.Join(ts.MkAbs(args[2]), "agent.sock")).Status(ctx)
			cancel()
			out, _ = json.MarshalIndent(st, "", "  ")
			if err != nil {
				out = []byte(err.Error())
			}
		} else {
			path, err := exec.LookPath(args[1])
			ts.Check(err)
			cmd := exec.Command(path, args[2:]...)
			cmd.Dir = ts.MkAbs(".")
			cmd.Env = append(os.Environ(), "HOLDFAST_HTTP_ADDR="+ts.Getenv("HOLDFAST_HTTP_ADDR"))
			out, _ = cmd.CombinedOutput() // its failure is part of what is waited for to change
		}
		if re.Match(out) {
			_, _ = ts.Stdout().Write(out)
			return
		}
	}
	ts.Fatalf("it never became so; the last output:\n%s", out)
}

// getjson NAME FILE KEY: an environment variable from a file of JSON.
func getJSON(ts *testscript.TestScript, _ bool, args []string) {
	var m map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &m))
	v, ok := m[args[2]]
	if !ok {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	if f, ok := v.(float64); ok {
		v = strconv.FormatFloat(f, 'f', -1, 64)
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

var signals = map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT}

// send SIGNAL [PID]: to the script's last background command where no pid is given.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig, ok := signals[args[0]]
	if !ok {
		ts.Fatalf("no signal %q", args[0])
	}
	if len(args) == 1 {
		background := ts.BackgroundCmds()
		ts.Check(background[len(background)-1].Process.Signal(sig))
		return
	}
	pid, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(syscall.Kill(pid, sig))
}

// gone PID: waits until the process has ended; ! gone PID: it has not.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(args[0])
	ts.Check(err)
	for end := time.Now().Add(scriptBound); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		id, err := supervise.Identify(pid)
		if err == nil {
			_, err = supervise.Open(id)
		}
		switch {
		case err != nil && neg:
			ts.Fatalf("pid %d has ended", pid)
		case err != nil, neg:
			return
		}
	}
	ts.Fatalf("pid %d is there", pid)
}

// subst FILE [OLD=NEW …]: replaces $WORK and the ports in a file, and words of it.
func subst(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	for _, a := range args[1:] {
		from, to, _ := strings.Cut(a, "=>")
		if !strings.Contains(text, from) {
			ts.Fatalf("%s has no %q", args[0], from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// occupy ADDRESS: listens there until the script ends.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", args[0])
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
}

// damage DIR TEXT: flips a bit wherever a file below has the text.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	done := false
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// Every copy: a page that a B+tree has left behind may hold one too.
		text := []byte(args[1])
		found := false
		for at := bytes.Index(b, text); at >= 0; at = bytes.Index(b, text) {
			b[at] ^= 1
			found = true
		}
		if !found {
			return nil
		}
		done = true
		return os.WriteFile(path, b, 0o600)
	}))
	if !done {
		ts.Fatalf("no file in %s has %q", args[0], args[1])
	}
}
