// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

// Owned is a device with the file system of a disk of a spec.
type Owned struct {
	Device, Number string
	Signature      Signature
	// Mounts are the mount points of the device.
	Mounts []string
	// Proven says that nobody else's can look like it: the store in it is of d's cluster
	// and node, and there is nothing beside it; or d has no store and a label of its own.
	Proven bool
	Beside []string // what there is beside the store
}

// Find returns the device that has the file system of d, with its type and label, nil
// where none has: a blank one, and one that has something else, are not d's. A file
// system of that label with a store of another cluster or node is a [*Refusal], and so is
// one of which nobody can say whose store is in it. Nothing is written.
func Find(ctx context.Context, h Host, d Disk) (*Owned, error) {
	if err := (Spec{Disks: []Disk{d}}).Validate(); err != nil {
		return nil, err
	}
	m, err := Look(ctx, h.Roots, Spec{Disks: []Disk{d}})
	if err != nil {
		return nil, err
	}
	dev, c := owned(d, m)
	if dev == nil {
		return nil, nil
	}
	known := c
	known.Beside = nil // it keeps the file system from being erased, not from being found
	if err := sameStore(anyStore(d), dev.Path, known); err != nil {
		return nil, err
	}
	return &Owned{Device: dev.Path, Number: dev.MajMin(), Signature: c.Signature, Mounts: dev.MountPoints,
		Proven: d.Store == nil || c.Store != nil && len(c.Beside) == 0, Beside: c.Beside}, nil
}

// anyStore is d with any store of its cluster and node, also where none is any more.
func anyStore(d Disk) Disk {
	if d.Store != nil {
		id := *d.Store
		id.StoreID = ""
		d.Store = &id
	}
	return d
}

// owned is the device that a match chooses, if it has the disk's file system.
func owned(d Disk, m Machine) (*blockdev.Device, Content) {
	chosen, err := choose(Spec{Disks: []Disk{d}}, m)
	if err != nil || chosen[0] == nil {
		return nil, Content{} // none, or several blank ones
	}
	c := m.Content[chosen[0].KName]
	if c.Signature.Type != d.FSType || c.Signature.Label != d.Label {
		return nil, Content{}
	}
	return chosen[0], c
}

// Reason says to a person why a file system that is not proven to be d's stays.
func (o *Owned) Reason() string {
	if len(o.Beside) > 0 {
		return "there is more in it than a store of the node: " + few(o.Beside)
	}
	return "there is no store in it, and nobody can say whose it is"
}

// Erase takes the signature from the file system of d, where it is proven to be d's, so
// that its device is blank, and reports whether there was one. A device that is mounted
// is refused by the kernel. It is durable when Erase returns; again, it does nothing.
func Erase(ctx context.Context, h Host, d Disk) (erased bool, err error) {
	l, err := lock(h.StateDir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	o, err := Find(ctx, h, d)
	if err != nil || o == nil || !o.Proven {
		return false, err
	}
	step := Step{Do: Wipe, Field: d.Field, Device: o.Device, Number: o.Number, Signature: &o.Signature}
	if h.Note != nil {
		h.Note(step)
	}
	return true, h.step(ctx, newSystem(h, l), step)
}
