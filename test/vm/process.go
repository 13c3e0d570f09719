// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// process is one run of QEMU. Its goroutine starts it and waits for it, and
// ends when it has ended.
type process struct {
	cmd  *exec.Cmd
	qmp  *QMP
	done chan struct{} // closed by the goroutine when QEMU has ended
}

// begin starts QEMU, which does not survive this process.
func begin(ctx context.Context, l launch, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // QEMU has its own descriptor
	monitorEnd, inherited, err := inherit(l)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, l.args()...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = l.dir, out, out, inherited
	// Its own group: it ends by this process, or with it, and by no terminal.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error) // from the goroutine, once
	go func() {
		// Pdeathsig watches the thread that starts the process: this goroutine
		// keeps it to itself, and takes it along when it ends.
		runtime.LockOSThread()
		err := cmd.Start()
		for _, f := range inherited {
			_ = f.Close()
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its ProcessState
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		_ = monitorEnd.Close()
		return nil, err
	}
	if p.qmp, err = monitor(ctx, monitorEnd); err != nil {
		said, _ := os.ReadFile(log)
		return nil, errors.Join(err, p.kill(), errors.New(tail(string(said), 5)))
	}
	return p, nil
}

// inherit makes what QEMU finds at qmpFD and lanFD.
func inherit(l launch) (monitor net.Conn, inherited []*os.File, err error) {
	monitor, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	inherited = []*os.File{theirs}
	if l.Network != nil {
		wire, err := l.Network.connect(l.Name)
		if err != nil {
			_, _ = monitor.Close(), theirs.Close()
			return nil, nil, err
		}
		inherited = append(inherited, wire)
	}
	return monitor, inherited, nil
}

// kill ends QEMU at once and waits for that: to the guest, a power cut.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending QEMU: %w", err)
	}
	<-p.done
	return nil
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}
