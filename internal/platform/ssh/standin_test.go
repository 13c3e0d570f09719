// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package ssh

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
)

// The holdfast binary of these machines is this test binary under the name holdfast: a
// stand-in that has the commands which the platform runs, without systemd. "agent install" writes
// a unit file and starts a process that answers GET /v1/status; it is what
// this package asks of the real one, whose own tests are elsewhere. What is appended
// to the file makes another version of it, and one that contains brokenMark does not start.

const (
	callsPath  = "/var/lib/calls" // a line per command
	pidPath    = "/run/holdfast/agent.pid"
	brokenMark = "THIS BINARY IS BROKEN"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == binaryName {
		if err := standIn(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for _, name := range []string{sshhost.EnvironmentKey, "SSH_AUTH_SOCK"} {
		_ = os.Unsetenv(name)
	}
	sshdtest.Setup()
	os.Exit(m.Run())
}

func standIn(args []string) error {
	if len(args) == 3 && args[0] == "image" && args[1] == "prepare" {
		return prepare(os.Stdin)
	}
	if len(args) < 2 || args[0] != "agent" && args[0] != "image" {
		return fmt.Errorf("no such command: %q", args)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	version := fmt.Sprintf("%x", sha256.Sum256(self))
	if args[1] != "connect" && args[1] != "serve" {
		f, err := os.OpenFile(callsPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		fmt.Fprintln(f, strings.Join(args, " "))
		if err := f.Close(); err != nil {
			return err
		}
	}
	switch {
	case args[0] == "image":
		return nil
	case args[1] == "connect" && len(args) == 3:
		return connect(args[2])
	case args[1] == "serve" && len(args) == 3:
		return serve(args[2], version)
	case args[1] == "install" && len(args) == 4 && args[2] == "-node":
		tail := self[max(0, len(self)-100):]
		return install(args[3], version, bytes.Contains(tail, []byte(brokenMark)))
	case args[1] == "remove" && len(args) == 4 && args[2] == "-cluster-id":
		return remove(args[3])
	}
	return fmt.Errorf("no such command: %q", args)
}

// prepare tells the names of the steps, and shows a secret as a bad step does. A step "fails" does.
func prepare(in io.Reader) error {
	var recipe struct {
		Steps   []agentapi.Step
		Secrets agentapi.Secrets
	}
	if err := json.NewDecoder(in).Decode(&recipe); err != nil {
		return err
	}
	for _, s := range recipe.Steps {
		fmt.Printf("step %s with %s\n", s.Name, recipe.Secrets["token"])
		if s.Name == "fails" {
			return fmt.Errorf("it failed with %s", recipe.Secrets["token"])
		}
	}
	return nil
}

func connect(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, conn)
	return err
}

func serve(node, version string) error {
	l, err := agentapi.Listen(socketPath)
	if err != nil {
		return err
	}
	fmt.Println("ready") // install waits for it
	started := time.Now()
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(agentapi.Status{Node: node, Agent: agentapi.Agent{Version: version, PID: os.Getpid(), StartedAt: started}})
	}))
}

func install(node, version string, broken bool) error {
	if _, err := os.Stat(recordPath); err != nil {
		return fmt.Errorf("the machine is not claimed: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(socketPath), 0o755); err != nil {
		return err
	}
	if b, err := os.ReadFile(unitPath); err != nil || string(b) != node {
		if err := os.WriteFile(unitPath, []byte(node), 0o644); err != nil {
			return err
		}
	}
	client := agentapi.NewClient(socketPath)
	st, err := client.Status(context.Background())
	if err == nil && st.Agent.Version == version {
		return nil
	}
	endAgent()
	if broken {
		return errors.New("holdfast-agent.service failed")
	}
	fmt.Println("start holdfast-agent.service")
	cmd := exec.Command(binaryPath, "agent", "serve", node)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(pidPath, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return err
	}
	_, err = bufio.NewReader(out).ReadString('\n')
	return err
}

func endAgent() {
	b, err := os.ReadFile(pidPath)
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(string(b)); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = os.RemoveAll(filepath.Dir(socketPath))
	_ = os.MkdirAll(filepath.Dir(socketPath), 0o755)
}

func remove(id string) error {
	b, err := os.ReadFile(recordPath)
	if err != nil {
		return err
	}
	r, err := decodeRecord(b)
	if err != nil {
		return err
	}
	if r.Cluster.ID != id {
		return fmt.Errorf("the machine belongs to %s, not to %s", r.Cluster.ID, id)
	}
	fmt.Println("stop holdfast-agent.service")
	endAgent()
	return errors.Join(os.RemoveAll(filepath.Join(stateDir, "spec.json")), os.RemoveAll(unitPath), os.RemoveAll(filepath.Dir(socketPath)))
}
