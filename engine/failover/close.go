// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// An ending is the one release of what a log holds.
type ending struct {
	begin sync.Once
	done  chan struct{} // closed when err is there
	err   error
}

// Close stops the log. What is acknowledged is durable already; a clean stop
// also drains, fences and disarms the side, so that the node starts without it.
// Where the primary hangs it returns ErrHung once ctx is done, and the side
// stays armed; the process should end then. A later Close tries again. Callers
// that still wait get ErrClosed, and cannot know what became of their operation.
//
// Order: the applier drains and ends, then watcher and armer, then the files of
// fence, side and primary are closed, and last the lock.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.mu.closed {
		l.mu.closed = true
		l.mu.mode.why = "the log is being closed"
		l.mu.led.startClosing()
	}
	l.mu.Unlock()
	l.poke()

	var late error
	select {
	case <-l.drained:
	case <-ctx.Done():
		late = fmt.Errorf("%w: closing the log %s: %w", ErrHung, l.cfg.Dir, ctx.Err())
		if err := l.primaryErr(); err != nil {
			late = errors.Join(late, err)
		}
	}
	l.halt.Do(func() { close(l.stop) })
	if late != nil {
		// A primary that fails and does not hang lets go at once.
		select {
		case <-l.drained:
		case <-time.After(100 * time.Millisecond):
			return late
		}
	}
	l.ending.begin.Do(func() {
		go func() {
			l.ending.err = l.letGo()
			close(l.ending.done)
		}()
	})
	select {
	case <-l.ending.done:
		return errors.Join(late, l.ending.err)
	case <-time.After(armPatience):
	}
	select {
	case <-l.ending.done:
		return errors.Join(late, l.ending.err)
	case <-ctx.Done():
		return fmt.Errorf("%w: closing the files of the log %s: %w", ErrHung, l.cfg.Dir, ctx.Err())
	}
}

func (l *Log) primaryErr() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.primaryErr
}

// letGo closes everything. The applier has ended.
func (l *Log) letGo() error {
	l.owned.Wait()
	l.mu.Lock()
	led, journal := l.mu.led, l.mu.side.journal
	for _, o := range l.mu.unacked {
		o.done <- ErrClosed
	}
	l.mu.unacked = nil
	l.mu.Unlock()

	var errs []error
	if led.pending() == 0 {
		errs = append(errs, l.disarm(led))
	}
	l.primaryM.Lock()
	if l.primary != nil {
		errs = append(errs, l.primary.Close())
		l.primary = nil
	}
	l.primaryM.Unlock()
	errs = append(errs, l.fence.Close())
	if journal != nil {
		// A side that hangs does not keep the primary's lock.
		ctx, cancel := context.WithTimeout(context.Background(), armPatience)
		defer cancel()
		errs = append(errs, l.side.forget(ctx, journal))
	}
	return errors.Join(append(errs, l.release())...)
}

// disarm fences what is applied and records that no side is needed.
func (l *Log) disarm(led ledger) error {
	if led.open {
		if err := l.fence.write(fence{epoch: led.epoch, seq: led.applied}); err != nil {
			return err
		}
	}
	if len(l.record.Armed) == 0 {
		return nil
	}
	return writeRecord(l.fs, l.cfg.Dir, logRecord{Log: l.record.Log})
}
