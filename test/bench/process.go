// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is a running node. It dies with this program.
//
// Its goroutine starts it and waits for it; it ends when the process has ended
// and is not to be started again.
type process struct {
	argv []string
	log  string
	done chan struct{} // closed by its goroutine when the last process ended
	stop chan struct{} // closed by end
	err  error         // set before done is closed
	mu   struct {
		sync.Mutex
		cmd      *exec.Cmd
		stopping bool
		restarts int
	}
}

var errStopping = errors.New("it is to end")

// restartPause is a host agent's, at first.
const restartPause = time.Second

// launch starts a program. With keep it is started again when it ends, as a host
// agent would: an engine whose disk hangs for too long ends by itself.
func launch(argv []string, logFile string, keep bool) (*process, error) {
	out, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	p := &process{argv: argv, log: logFile, done: make(chan struct{}), stop: make(chan struct{})}
	started := make(chan error) // from the goroutine below, once
	go func() {
		defer func() { _ = out.Close() }() // the process has its own descriptor
		// Pdeathsig watches the thread that starts the process: this
		// goroutine keeps it to itself until the process ended.
		runtime.LockOSThread()
		cmd, err := p.start(out)
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		for keep && err == nil && p.again() {
			if cmd, err = p.start(out); err == nil {
				p.err = cmd.Wait()
			}
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) start(out *os.File) (*exec.Cmd, error) {
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.stopping {
		return nil, errStopping
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.mu.cmd = cmd
	return cmd, nil
}

// again waits before a restart, and tells whether there is to be one.
func (p *process) again() bool {
	select {
	case <-p.stop:
		return false
	case <-time.After(restartPause):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.restarts++
	return true
}

// end asks the process to end, once and for all.
func (p *process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mu.stopping {
		p.mu.stopping = true
		close(p.stop)
	}
	_ = p.mu.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
}

func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.mu.cmd.Process.Kill() // it may be gone
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.cmd.Process.Pid
}

func (p *process) restarts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.restarts
}

// tail is the end of a log.
func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	if len(data) > most {
		data = data[len(data)-most:]
		if _, rest, ok := bytes.Cut(data, []byte("\n")); ok {
			data = rest
		}
	}
	return string(data)
}
