// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Options are what a configuration does not say.
type Options struct {
	Name    string // of the logger
	Level   hclog.Level
	Stderr  io.Writer
	FS      vfs.FS          // the operating system's where nil
	Metrics *telemetry.Sink // one of its own where nil
	// MaxSync is how long a file may take to take one write; 0 is for ever.
	MaxSync time.Duration
	// Fatal is to end the process because of a disk that took longer. It is called
	// once, after the other sinks had lastWords to write why. Nothing happens
	// where it is nil.
	Fatal func(error)
}

const (
	openBound = 5 * time.Second // a disk that hangs does not keep a process from starting
	lastWords = 2 * time.Second // of a process that ends because of a disk
)

// ErrStalled is what Fatal gets.
var ErrStalled = errors.New("the disk of a log file hangs")

// Logs are the sinks of a process and the logger that feeds them. Its methods are
// safe for concurrent use.
type Logs struct {
	opts  Options
	log   hclog.InterceptLogger
	fatal sync.Once
	// ctx ends the sinks' network calls, at the end of Close.
	ctx    context.Context //nolint:containedctx // that of the goroutines which this value owns
	cancel context.CancelFunc

	// change is held by Reload and Close: one at a time.
	change sync.Mutex
	// mu is held for reading while a line is put into the queues, so that none
	// goes to a sink that was replaced.
	mu struct {
		sync.RWMutex
		routes
	}
	ending []*sink // replaced, and perhaps not done; guarded by change
	closed bool    // guarded by change
}

// routes are the sinks of one configuration.
type routes struct {
	stderr     *sink // also where it takes no lines of the log
	all        []*sink
	text, json []*sink // those of all that take lines, by format
}

// Open starts the sinks. A file that cannot be opened is an error; one whose disk
// does not answer is not, its lines wait.
func Open(c *Config, opts Options) (*Logs, error) {
	if opts.FS == nil {
		opts.FS = vfs.OS{}
	}
	if opts.Metrics == nil {
		opts.Metrics = telemetry.New()
	}
	if opts.Fatal == nil {
		opts.Fatal = func(error) {}
	}
	l := &Logs{opts: opts}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.log = hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: opts.Name, Level: opts.Level, Output: &lines{l, false}})
	l.log.RegisterSink(&adapter{l, hclog.NewSinkAdapter(&hclog.LoggerOptions{Level: hclog.Trace, JSONFormat: true, Output: &lines{l, true}})})
	r := l.build(c)
	l.mu.routes = r
	for _, s := range r.all {
		l.start(s, nil)
	}
	bound := time.After(openBound)
	for _, s := range r.all {
		select {
		case err := <-s.opened:
			if err != nil {
				_ = l.Close(l.ctx) // nothing was logged yet
				return nil, &agentapi.Error{What: "the log cannot be written", Why: fmt.Sprintf("sinks.%s: %v", s.Name, err),
					Next: "Give file-defaults.dir a directory that this user may write.", Field: "sinks." + s.Name}
			}
		case <-bound:
			return l, nil
		}
	}
	return l, nil
}

// build makes the sinks of a configuration.
func (l *Logs) build(c *Config) routes {
	var r routes
	add := func(s Sink, out output, attempts int) *sink {
		n := newSink(s, out, attempts, l.opts.Metrics)
		n.failed = func(s *sink, err error) { l.log.Error("a log sink fails", "sink", s.Name, "error", err) }
		r.all = append(r.all, n)
		switch {
		case s.Filter >= hclog.Off:
		case s.Format == JSON:
			r.json = append(r.json, n)
		default:
			r.text = append(r.text, n)
		}
		return n
	}
	r.stderr = add(c.Stderr, &streamOutput{w: l.opts.Stderr}, fileAttempts)
	r.stderr.key = c.Stderr.Name
	for _, f := range c.Files {
		if f.Filter >= hclog.Off {
			continue // not even its file is made
		}
		s := add(f.Sink, newFileOutput(l.opts.FS, f), fileAttempts)
		s.key, s.limit, s.stalled = f.path(), l.opts.MaxSync, l.stalled
	}
	for _, s := range c.Syslog {
		add(s.Sink, newSyslogOutput(s), serverAttempts)
	}
	for _, h := range c.HTTP {
		add(h.Sink, newHTTPOutput(h), serverAttempts)
	}
	for _, f := range c.Fluent {
		add(f.Sink, newFluentOutput(f), serverAttempts)
	}
	return r
}

func (l *Logs) start(s *sink, after []<-chan struct{}) {
	go s.run(l.ctx, after) // owned by the sink: close ends it
}

// Logger feeds every sink.
func (l *Logs) Logger() hclog.Logger { return l.log }

// Stderr writes to standard error as it is, behind the lines that its sink has
// queued, and does not wait for it either.
func (l *Logs) Stderr() io.Writer { return stderr{l} }

// Capture makes the loggers of the process, which write to standard error
// themselves, write here. They stay so.
func (l *Logs) Capture() {
	log.SetFlags(0)
	log.SetOutput(l.log.StandardWriter(&hclog.StandardLoggerOptions{InferLevels: true}))
	hclog.SetDefault(l.log)
}

// Reload makes lines go to the sinks of c. Those of before write what they have and
// end; one that writes where another did begins when that has ended.
func (l *Logs) Reload(c *Config) {
	l.change.Lock()
	defer l.change.Unlock()
	if l.closed {
		return
	}
	r := l.build(c)
	l.mu.Lock()
	old := l.mu.routes
	l.mu.routes = r
	l.mu.Unlock()
	l.ending = slices.DeleteFunc(append(l.ending, old.all...), (*sink).ended)
	for _, s := range r.all {
		var after []<-chan struct{}
		for _, o := range l.ending {
			if s.key != "" && s.key == o.key {
				after = append(after, o.done)
			}
		}
		l.start(s, after)
	}
	for _, s := range old.all {
		s.close()
	}
}

// Reopen makes files be opened again by name before the next write.
func (l *Logs) Reopen() {
	for _, s := range l.routes().all {
		s.reopen()
	}
}

func (l *Logs) routes() routes {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.routes
}

// Flush waits until every line of before has been written or given up.
func (l *Logs) Flush(ctx context.Context) error { return flush(ctx, l.routes().all) }

func flush(ctx context.Context, sinks []*sink) error {
	errs := make([]error, len(sinks))
	var wg sync.WaitGroup
	for i, s := range sinks {
		wg.Go(func() {
			if err := s.flush(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", s.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close writes what is queued and ends the sinks, as far as ctx lets them: a disk
// that hangs is left to itself. Lines that come after it are dropped.
func (l *Logs) Close(ctx context.Context) error {
	l.change.Lock()
	defer l.change.Unlock()
	defer l.cancel()
	l.closed = true
	all := append(slices.Clone(l.ending), l.routes().all...)
	for _, s := range all {
		s.close()
	}
	var left []string
	for _, s := range all {
		select {
		case <-s.done:
		case <-ctx.Done():
			if !s.ended() {
				left = append(left, s.Name)
			}
		}
	}
	if left != nil {
		return fmt.Errorf("these log sinks did not end: %s: %w", strings.Join(left, ", "), ctx.Err())
	}
	return nil
}

// stalled ends the process because of a sink whose write takes too long.
func (l *Logs) stalled(s *sink) {
	l.fatal.Do(func() {
		l.log.Error("the disk of a log file hangs: ending the process", "sink", s.Name, "file", s.key, "limit", l.opts.MaxSync)
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		defer cancel()
		others := slices.DeleteFunc(slices.Clone(l.routes().all), func(o *sink) bool { return o == s })
		_ = flush(ctx, others) // as far as they can
		l.opts.Fatal(fmt.Errorf("%w: %s took no write within %v", ErrStalled, s.key, l.opts.MaxSync))
	})
}
