// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	monitorEnd, inherited, given, err := inherit(l)
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
		closeAll(given)
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

// inherit makes the descriptors that QEMU gets, from qmpFD on; given are those among them that
// nobody needs once it has them.
func inherit(l launch) (monitor net.Conn, inherited, given []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(given)
		}
	}()
	pair := func() (net.Conn, error) {
		mine, theirs, err := socketPair()
		if err == nil {
			inherited, given = append(inherited, theirs), append(given, theirs)
		}
		return mine, err
	}
	if monitor, err = pair(); err != nil {
		return nil, nil, nil, err
	}
	switch {
	case l.Cloud != nil:
		inherited = append(inherited, l.Cloud.Tap)
		console, err := pair()
		if err != nil {
			_ = monitor.Close()
			return nil, nil, given, err
		}
		go l.Cloud.listen(console)
	case l.Network != nil:
		wire, err := l.Network.connect(l.Name)
		if err != nil {
			_ = monitor.Close()
			return nil, nil, given, err
		}
		inherited, given = append(inherited, wire), append(given, wire)
	}
	return monitor, inherited, given, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// listen hands on what the guest writes to its console. It ends with QEMU.
func (c *Cloud) listen(console net.Conn) {
	to := c.Serial
	if to == nil {
		to = io.Discard
	}
	_, _ = io.Copy(to, console) // the end of QEMU ends it
	_ = console.Close()
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
