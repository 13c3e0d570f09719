// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package world

import (
	"errors"
	"fmt"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// ErrNoPower is returned for a machine that is off.
var ErrNoPower = errors.New("the machine has no power")

// Powered are the machines that have power. Whoever takes one ends it, and nobody else. The zero value has none.
// Safe for concurrent use.
type Powered[M comparable] struct {
	mu  sync.Mutex
	all map[uint64]M // by the instance's ID
}

// Add tells of a machine that has power. When off is closed and nobody has taken it, the guest has powered itself off.
func (p *Powered[M]) Add(m emulator.Machine, machine M, off <-chan struct{}) {
	p.mu.Lock()
	if p.all == nil {
		p.all = map[uint64]M{}
	}
	p.all[m.ID] = machine
	p.mu.Unlock()
	go func() { // ends with the machine
		<-off
		p.mu.Lock()
		itself := p.all[m.ID] == machine
		p.mu.Unlock()
		if itself {
			m.Guest.PoweredOff()
		}
	}()
}

// Find is the machine of an instance that has power.
func (p *Powered[M]) Find(m emulator.Machine) (M, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	machine, ok := p.all[m.ID]
	if !ok {
		return machine, fmt.Errorf("%s: %w", m.Name, ErrNoPower)
	}
	return machine, nil
}

// Take is Find for whoever ends the machine; false where it has no power.
func (p *Powered[M]) Take(m emulator.Machine) (M, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	machine, ok := p.all[m.ID]
	delete(p.all, m.ID)
	return machine, ok
}

// TakeAll is Take for all.
func (p *Powered[M]) TakeAll() []M {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []M
	for _, machine := range p.all {
		all = append(all, machine)
	}
	p.all = nil
	return all
}

// Any is a machine with power that matches.
func (p *Powered[M]) Any(matches func(M) bool) (M, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, machine := range p.all {
		if matches(machine) {
			return machine, nil
		}
	}
	var none M
	return none, ErrNoPower
}
