// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Identity names one process for good: pids are used again, pids with a start
// time and a boot are not.
type Identity struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"start_ticks"` // field 22 of /proc/PID/stat, clock ticks since boot
	BootID     string `json:"boot_id"`
}

// ErrGone is returned where the process that an Identity names is not there any more.
var ErrGone = errors.New("the process is gone")

// Identify returns the identity of the process that has this pid now.
func Identify(pid int) (Identity, error) {
	boot, err := bootID()
	if err != nil {
		return Identity{}, err
	}
	st, err := readStat(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTicks: st.startTicks, BootID: boot}, nil
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// stat is what we need of /proc/PID/stat.
type stat struct {
	state      byte
	startTicks uint64
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return stat{}, fmt.Errorf("pid %d: %w", pid, ErrGone)
	}
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// parseStat reads a line of proc(5). The command in it may hold spaces and
// parentheses, so counting starts behind the last one.
func parseStat(b []byte) (stat, error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return stat{}, fmt.Errorf("not a line of /proc/PID/stat: %q", b)
	}
	fields := strings.Fields(string(b[i+1:])) // from field 3, the state, on
	if len(fields) < 20 || len(fields[0]) != 1 {
		return stat{}, fmt.Errorf("not a line of /proc/PID/stat: %q", b)
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("start time in /proc/PID/stat: %w", err)
	}
	return stat{state: fields[0][0], startTicks: ticks}, nil
}

// Pidfd is a handle of one process that a reused pid cannot confuse.
type Pidfd struct {
	id   Identity
	file *os.File
}

// Open returns a handle of the process that id names, ErrGone if it has ended.
// A process counts as there until its last thread is gone: a killed one whose
// thread sits in a hung disk keeps its files, locks and sockets.
func Open(id Identity) (*Pidfd, error) {
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("pid %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd_open %d: %w", id.PID, err)
	}
	p := &Pidfd{id: id, file: os.NewFile(uintptr(fd), fmt.Sprintf("pidfd %d", id.PID))}
	// With the descriptor open the pid cannot change hands below the comparison.
	now, err := Identify(id.PID)
	if err == nil && now != id {
		err = fmt.Errorf("pid %d is another process now: %w", id.PID, ErrGone)
	}
	if err == nil && p.ended() {
		err = fmt.Errorf("pid %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		_ = p.file.Close() // nothing was done with it
		return nil, err
	}
	return p, nil
}

func (p *Pidfd) ended() bool {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	_ = conn.Control(func(fd uintptr) { ended = readable(fd) }) // it fails on a closed file only
	return ended
}

// A pidfd is readable once the whole thread group has ended.
func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// Wait returns nil when the process has ended, an error when Close came first.
func (p *Pidfd) Wait() error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(readable) // parks in the runtime's poller, no thread waits
}

// Signal sends sig. A process that has ended, or a closed handle, is no error.
func (p *Pidfd) Signal(sig syscall.Signal) error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := conn.Control(func(fd uintptr) { serr = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); errors.Is(err, os.ErrClosed) {
		return nil
	} else if err != nil {
		return err
	}
	if serr != nil && !errors.Is(serr, unix.ESRCH) {
		return fmt.Errorf("signal pid %d: %w", p.id.PID, serr)
	}
	return nil
}

// Close ends Wait. It does nothing to the process.
func (p *Pidfd) Close() error { return p.file.Close() }

// Killed reports whether the process has been killed and has not ended yet:
// SIGKILL is pending, or its first thread has gone while another has not.
func (p *Pidfd) Killed() bool {
	if p.ended() {
		return false
	}
	st, err := readStat(p.id.PID)
	if err != nil || st.startTicks != p.id.StartTicks {
		return false
	}
	if st.state == 'Z' || st.state == 'X' {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.id.PID))
	return err == nil && killPending(b)
}

// killPending looks for SIGKILL in the sets of pending signals of /proc/PID/status.
func killPending(status []byte) bool {
	for line := range strings.Lines(string(status)) {
		name, mask, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		if err == nil && bits&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}
