// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package stall

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/stall/stalltest"
)

// The test binary is the thawer, too, and a program that can be killed.
const (
	roleVariable = "HOLDFAST_STALL_TEST_ROLE"
	roleThawer   = "thawer"
	roleProgram  = "program"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleThawer:
		if err := Serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	case roleProgram:
		program(os.Args[1])
	}
	_ = os.Setenv(roleVariable, roleThawer) // of every child from here on
	os.Exit(m.Run())
}

// program hangs the file system at point, says so with its thawer's pid, and
// waits to be killed.
func program(point string) {
	_ = os.Setenv(roleVariable, roleThawer)
	t, err := Start([]string{os.Args[0]})
	if err == nil {
		var dir *os.File
		if dir, err = os.Open(point); err == nil {
			_, err = t.Hang(context.Background(), dir, Most)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("hangs", t.cmd.Process.Pid)
	select {}
}

func start(t *testing.T) *Thawer {
	t.Helper()
	th, err := Start([]string{os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = th.Close() })
	return th
}

func hang(t *testing.T, th *Thawer, point string, most time.Duration) *Hang {
	t.Helper()
	h, err := tryHang(t, th, point, most)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func tryHang(t *testing.T, th *Thawer, point string, most time.Duration) (*Hang, error) {
	t.Helper()
	dir, err := os.Open(point)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }() // the hang has its own
	return th.Hang(t.Context(), dir, most)
}

func awaitOver(t *testing.T, h *Hang, byProgram bool) {
	t.Helper()
	select {
	case <-h.Over():
	case <-time.After(stalltest.Bound):
		t.Fatal("it hangs on")
	}
	if err := h.Err(); err != nil {
		t.Error(err)
	}
	if h.mu.byProgram != byProgram {
		t.Errorf("thawed by the program: %v, want %v", h.mu.byProgram, byProgram)
	}
}

func TestRelease(t *testing.T) {
	point := stalltest.Disk(t)
	th := start(t)
	for range 3 { // one thawer serves several hangs
		h := hang(t, th, point, Most)
		w := stalltest.Write(t, point)
		w.Held()
		if err := h.Release(); err != nil {
			t.Fatal(err)
		}
		w.Done()
		awaitOver(t, h, false)
		began, frozen, ended := h.Times()
		if frozen.Before(began) || ended.Before(frozen) {
			t.Errorf("began %v, frozen %v, ended %v", began, frozen, ended)
		}
		if err := h.Release(); err != nil {
			t.Errorf("released twice: %v", err)
		}
	}
}

func TestDeadline(t *testing.T) {
	point := stalltest.Disk(t)
	h := hang(t, start(t), point, 50*time.Millisecond)
	awaitOver(t, h, false)
	stalltest.Write(t, point).Done()
}

func TestTwoDisks(t *testing.T) {
	a, b := stalltest.Disk(t), stalltest.Disk(t)
	th := start(t)
	ha, hb := hang(t, th, a, Most), hang(t, th, b, Most)
	wa, wb := stalltest.Write(t, a), stalltest.Write(t, b)
	wa.Held()
	wb.Held()
	if err := ha.Release(); err != nil {
		t.Fatal(err)
	}
	wa.Done()
	wb.Held()
	if err := th.Close(); err != nil { // releases what is left
		t.Fatal(err)
	}
	wb.Done()
	awaitOver(t, hb, false)
}

// The program is killed: nobody but the thawer is left. Seen to fail: without
// closing stop at the end of the socket, the write hangs on.
func TestProgramKilled(t *testing.T) {
	point := stalltest.Disk(t)
	cmd := exec.Command(os.Args[0], point)
	cmd.Env = append(os.Environ(), roleVariable+"="+roleProgram)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	pid, found := strings.CutPrefix(strings.TrimSpace(said), "hangs ")
	if err != nil || !found {
		t.Fatalf("the program says %q, %v", said, err)
	}
	w := stalltest.Write(t, point)
	w.Held()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	w.Done()
	gone(t, pid)
}

// gone waits until a process has ended.
func gone(t *testing.T, pid string) {
	t.Helper()
	for end := time.Now().Add(stalltest.Bound); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil || strings.Contains(string(b), ") Z") {
			return
		}
	}
	t.Errorf("the thawer, pid %s, stays", pid)
}

// The thawer is killed: the program thaws. Seen to fail: without thawing in
// watch where the thawer is gone, the write hangs on.
func TestThawerKilled(t *testing.T) {
	point := stalltest.Disk(t)
	th := start(t)
	h := hang(t, th, point, Most)
	w := stalltest.Write(t, point)
	w.Held()
	if err := th.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.Done()
	awaitOver(t, h, true)
	if _, err := tryHang(t, th, point, Most); !errors.Is(err, ErrNoThawer) {
		t.Errorf("a hang without a thawer: %v", err)
	}
	if stalltest.Thaw(point) {
		t.Error("a hang without a thawer left the file system frozen")
	}
}

// The thawer is stopped, as by a debugger: it is late, and the program thaws.
// Seen to fail: without the timer in watch, the write hangs on.
func TestThawerStopped(t *testing.T) {
	point := stalltest.Disk(t)
	// A busy machine may deliver the signal after the deadline: once more then,
	// with a later one.
	for most := 100 * time.Millisecond; most < Most; most *= 4 {
		th := start(t)
		h := hang(t, th, point, most)
		pid := th.cmd.Process.Pid
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		select {
		case <-h.Over():
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			continue
		default:
		}
		awaitOver(t, h, true)
		stalltest.Write(t, point).Done()
		return
	}
	t.Fatal("no thawer could be stopped before its deadline")
}

// What a terminal sends to everybody ends the thawer only after it has thawed.
// Seen to fail: with the signals ignored, the first one; with their default, by
// the program instead of the thawer.
func TestThawerSignalled(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			point := stalltest.Disk(t)
			th := start(t)
			h := hang(t, th, point, Most)
			if err := th.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			awaitOver(t, h, false)
			gone(t, strconv.Itoa(th.cmd.Process.Pid))
		})
	}
}

// What somebody else froze is neither counted as ours nor thawed.
func TestFrozenByAnother(t *testing.T) {
	point := stalltest.Disk(t)
	hang(t, start(t), point, Most)
	th := start(t)
	if _, err := tryHang(t, th, point, Most); !errors.Is(err, ErrFrozen) {
		t.Errorf("frozen twice: %v", err)
	}
	if err := th.Close(); err != nil {
		t.Error(err)
	}
	if !stalltest.Thaw(point) {
		t.Error("it was thawed by who did not freeze it")
	}
}

func TestInterrupted(t *testing.T) {
	point := stalltest.Disk(t)
	dir, err := os.Open(point)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	th := start(t)
	for range 20 { // the freeze or the end of ctx may be seen first
		if h, err := th.Hang(ctx, dir, Most); err == nil {
			err = h.Release()
			if err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if stalltest.Thaw(point) {
			t.Fatal("left frozen")
		}
	}
}

// Without root or a disk: what is refused, and what is no thawer.
func TestRefused(t *testing.T) {
	th := start(t)
	for _, most := range []time.Duration{0, -time.Second, Most + 1} {
		if _, err := tryHang(t, th, t.TempDir(), most); !errors.Is(err, unix.EINVAL) {
			t.Errorf("for %v: %v", most, err)
		}
	}
	if _, err := tryHang(t, th, "/proc", time.Second); !errors.Is(err, ErrCannot) && !errors.Is(err, unix.EPERM) {
		t.Errorf("/proc: %v", err)
	}
	if _, err := Start([]string{"/nonexistent"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
	if _, err := Start([]string{"true"}); !errors.Is(err, ErrNoThawer) {
		t.Errorf("another program: %v", err)
	}
}
