// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package status

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNoAnswer is returned, wrapped, for what did not answer in time.
var ErrNoAnswer = errors.New("no answer in time")

// Bounded runs calls that may hang. The zero value is ready. Safe for
// concurrent use.
type Bounded struct {
	mu struct {
		sync.Mutex
		busy map[string]chan struct{} // per subject, closed when its call is over
	}
}

// Do runs f and waits for it, bound at most. While an earlier call about the
// same subject hangs, f is not started: at most one goroutine per subject is
// ever parked. f goes on after its caller has left; what it returns then is
// lost.
func (b *Bounded) Do(subject string, bound time.Duration, f func() error) error {
	timer := time.NewTimer(bound)
	defer timer.Stop()
	late := func() error { return fmt.Errorf("%s: %w (%v)", subject, ErrNoAnswer, bound) }
	var over chan struct{}
	for {
		b.mu.Lock()
		earlier := b.mu.busy[subject]
		if earlier == nil {
			if b.mu.busy == nil {
				b.mu.busy = map[string]chan struct{}{}
			}
			over = make(chan struct{})
			b.mu.busy[subject] = over
		}
		b.mu.Unlock()
		if earlier == nil {
			break
		}
		select {
		case <-earlier:
		case <-timer.C:
			return late()
		}
	}
	result := make(chan error, 1) // one result, whether somebody waits or not
	go func() {                   // ends when the disk answers
		err := f()
		b.mu.Lock()
		delete(b.mu.busy, subject)
		b.mu.Unlock()
		result <- err
		close(over)
	}()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		return late()
	}
}
