// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"bytes"
	"time"

	"github.com/hashicorp/go-hclog"
)

// lines is where hclog writes, in one format. Its lock is held meanwhile, and
// nothing here waits.
type lines struct {
	l    *Logs
	json bool
}

var _ hclog.LevelWriter = (*lines)(nil)

// LevelWrite implements hclog.LevelWriter.
func (w *lines) LevelWrite(level hclog.Level, p []byte) (int, error) {
	w.l.mu.RLock()
	defer w.l.mu.RUnlock()
	sinks := w.l.mu.text
	if w.json {
		sinks = w.l.mu.json
	}
	var r record
	for _, s := range sinks {
		if !s.takes(level) {
			continue
		}
		if r.line == nil { // hclog uses its own again
			r = record{level: level, at: time.Now(), line: bytes.Clone(p)}
		}
		s.offer(r)
	}
	return len(p), nil
}

// Write implements io.Writer.
func (w *lines) Write(p []byte) (int, error) { return w.LevelWrite(hclog.Info, p) }

// adapter makes hclog write a line in JSON too, where somebody wants it. The
// logger's own level holds here too.
type adapter struct {
	l  *Logs
	to hclog.SinkAdapter
}

// Accept implements hclog.SinkAdapter.
func (a *adapter) Accept(name string, level hclog.Level, msg string, args ...any) {
	if level < a.l.log.GetLevel() {
		return
	}
	a.l.mu.RLock()
	wanted := len(a.l.mu.json) > 0
	a.l.mu.RUnlock()
	if wanted {
		a.to.Accept(name, level, msg, args...)
	}
}

// stderr is standard error for what is not a line of the log.
type stderr struct{ l *Logs }

// Write implements io.Writer.
func (w stderr) Write(p []byte) (int, error) {
	w.l.mu.RLock()
	defer w.l.mu.RUnlock()
	w.l.mu.stderr.offer(record{level: hclog.Info, at: time.Now(), line: bytes.Clone(p)})
	return len(p), nil
}
