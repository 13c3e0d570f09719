// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"fmt"
	"sync"
)

// progress tells steps to whoever runs Ensure or Destroy, one at a time.
type progress struct {
	mu   sync.Mutex
	told func(string) // nil: nobody
}

// to has f get the steps until the function that it returns is called.
func (p *progress) to(f func(string)) (stop func()) {
	set := func(f func(string)) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = f
	}
	set(f)
	return func() { set(nil) }
}

// line is a step that somebody else tells.
func (p *progress) line(text string) { p.step("%s", text) }

func (p *progress) step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told != nil {
		p.told(fmt.Sprintf(format, args...))
	}
}
