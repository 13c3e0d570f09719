// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
)

// Info is what is remembered of an engine's process.
type Info struct {
	Identity
	Binary    string    `json:"binary"`
	StartedAt time.Time `json:"started_at"`
	// ConfigHash and Spec are the configuration that it was started with.
	ConfigHash string         `json:"config_hash"`
	Spec       *agentapi.Spec `json:"spec"`
	// LogOffset is where its part of engine.log begins.
	LogOffset int64 `json:"log_offset"`
}

// Names in the node's directory.
const (
	processFile = "engine-process.json"
	logFile     = "engine.log"
	format      = 1
)

// maxLog is the size above which engine.log is put aside before a start.
const maxLog = 32 << 20

// Engine launches `holdfast engine` from a node's directory.
type Engine struct {
	Dir        string
	Binary     string
	ConfigFile string
	// Config returns the configuration in force, for the record.
	Config func() (hash string, spec *agentapi.Spec)
}

type processRecord struct {
	Format int `json:"format"`
	Info
}

func (e *Engine) args() []string { return []string{"engine", "-config-file", e.ConfigFile} }

// Launch starts the engine in a session of its own, so that no signal to the
// agent's group or terminal reaches it, and its output goes to a file, so that
// nothing breaks when the agent goes.
func (e *Engine) Launch() (Process, error) {
	log, offset, err := e.openLog()
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the engine has its own descriptor
	info := Info{Binary: e.Binary, StartedAt: time.Now(), LogOffset: offset}
	info.ConfigHash, info.Spec = e.Config()

	cmd := exec.Command(e.Binary, e.args()...)
	cmd.Dir = e.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", e.Binary, err)
	}
	// Our child keeps its pid until it is waited for below.
	info.Identity, err = Identify(cmd.Process.Pid)
	if err == nil {
		err = atomicfile.WriteJSON(filepath.Join(e.Dir, processFile), processRecord{format, info})
	}
	var pfd *Pidfd
	if err == nil {
		// A child that has ended already opens as gone: its handle is not needed then.
		if pfd, err = Open(info.Identity); errors.Is(err, ErrGone) {
			err = nil
		}
	}
	if err != nil { // an engine that no later agent would find must not run
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
		return nil, fmt.Errorf("record the engine's process: %w", err)
	}
	p := &process{info: info, pidfd: pfd, done: make(chan struct{}), tail: e.tail(offset)}
	go func() { // owned by the child: it ends when the child does
		p.finish(exitOf(cmd.Wait(), cmd.ProcessState))
	}()
	return p, nil
}

// exitOf says how a child ended.
func exitOf(err error, st *os.ProcessState) string {
	if st == nil {
		return fmt.Sprintf("it is not known how: %v", err)
	}
	ws, ok := st.Sys().(syscall.WaitStatus)
	switch {
	case ok && ws.Signaled():
		return fmt.Sprintf("killed by signal %d (%s)", int(ws.Signal()), ws.Signal())
	default:
		return fmt.Sprintf("exited with code %d", st.ExitCode())
	}
}

func (e *Engine) openLog() (*os.File, int64, error) {
	path := filepath.Join(e.Dir, logFile)
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, 0, err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the engine's log: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

// tail returns a function that reads the end of what one engine wrote.
func (e *Engine) tail(offset int64) func() string {
	return func() string { return tail(filepath.Join(e.Dir, logFile), offset) }
}

// Adopt implements Launcher.
func (e *Engine) Adopt() (Process, string, error) {
	rec, err := e.record()
	if err != nil {
		return nil, "", err
	}
	exit := ""
	if rec != nil {
		p, err := Open(rec.Identity)
		if err == nil {
			return e.watch(rec.Info, p), "", nil
		}
		if !errors.Is(err, ErrGone) {
			return nil, "", err
		}
		exit = describe(rec.PID, "ended while no agent watched it", e.tail(rec.LogOffset)())
	}
	// The agent may have died between starting an engine and recording it.
	info, p, err := e.search()
	if err != nil || p == nil {
		return nil, exit, err
	}
	if err := atomicfile.WriteJSON(filepath.Join(e.Dir, processFile), processRecord{format, info}); err != nil {
		return nil, "", err
	}
	return e.watch(info, p), "", nil
}

func (e *Engine) watch(info Info, pfd *Pidfd) Process {
	p := &process{info: info, pidfd: pfd, done: make(chan struct{}), tail: e.tail(info.LogOffset)}
	go func() { // owned by the process: it ends when that does
		if pfd.Wait() == nil {
			p.finish("ended; how is not known, as an earlier agent had started it")
		}
	}()
	return p
}

// search looks for an engine of this node's configuration among all processes.
func (e *Engine) search() (Info, *Pidfd, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return Info{}, nil, err
	}
	want := strings.Join(e.args(), "\x00") + "\x00"
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil {
			continue // it has ended, or it is not ours to read
		}
		binary, args, _ := strings.Cut(string(b), "\x00")
		if args != want {
			continue
		}
		id, err := Identify(pid)
		if err != nil {
			continue
		}
		p, err := Open(id)
		if err != nil {
			continue
		}
		return Info{Identity: id, Binary: binary, StartedAt: time.Now()}, p, nil
	}
	return Info{}, nil, nil
}

// record reads engine-process.json; nil where there is none.
func (e *Engine) record() (*processRecord, error) {
	path := filepath.Join(e.Dir, processFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rec processRecord
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if rec.Format != format {
		return nil, fmt.Errorf("%s has format %d, this binary knows %d", path, rec.Format, format)
	}
	return &rec, nil
}

// SaveWanted implements Launcher.
func (e *Engine) SaveWanted(running bool) error { return record{e.Dir}.save(running) }

// LoadWanted implements Launcher.
func (e *Engine) LoadWanted() (bool, error) { return record{e.Dir}.load() }

// process implements Process.
type process struct {
	info  Info
	pidfd *Pidfd // nil where it had ended before it could be opened
	tail  func() string
	done  chan struct{} // closed by finish
	exit  string        // set before done is closed
}

func (p *process) finish(how string) {
	how = fmt.Sprintf("%s after %s", how, time.Since(p.info.StartedAt).Round(10*time.Millisecond))
	p.exit = describe(p.info.PID, how, p.tail())
	if p.pidfd != nil {
		_ = p.pidfd.Close() // it was only watched
	}
	close(p.done)
}

func (p *process) Info() Info            { return p.info }
func (p *process) Done() <-chan struct{} { return p.done }
func (p *process) Exit() string          { return p.exit }
func (p *process) Killed() bool          { return p.pidfd != nil && p.pidfd.Killed() }
func (p *process) Signal(sig syscall.Signal) error {
	if p.pidfd == nil {
		return nil
	}
	return p.pidfd.Signal(sig)
}
