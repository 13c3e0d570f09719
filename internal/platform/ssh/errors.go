// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

var (
	errOther      = errors.New("the machine belongs to another cluster")
	errOtherNode  = errors.New("the machine is another node")
	errBlank      = errors.New("nothing there belongs to this cluster")
	errDestroying = errors.New("the cluster is half destroyed")
	errTwice      = errors.New("two nodes are one machine")
	errDisagree   = errors.New("the machines belong to different clusters")
	errRecord     = errors.New("node.json is damaged")
	errNewer      = errors.New("node.json was written by another version of the provider")
	errAgent      = errors.New("another agent answers")
	errNoBinary   = errors.New("its holdfast binary is gone, and what it made is not")
	errPort       = errors.New("something listens there already")
	errForwarding = errors.New("its SSH server forwards no connections")
	errAddress    = errors.New("the machine has no such address")
	errBinary     = errors.New("it is not an executable file")
	errFailed     = errors.New("its agent did not come up")
)

// together is several failures of one node in one; nil where there is none.
func together(all []error) error {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return &platform.Error{What: fmt.Sprintf("%d things are in the way", len(all)), Err: errors.Join(all...), Next: "Mend each of them and try again."}
}

// errs are the failures of single nodes.
type errs []nodeError

type nodeError struct {
	node string
	err  error
}

func (e nodeError) Error() string { return "node " + e.node + ": " + e.err.Error() }
func (e nodeError) Unwrap() error { return e.err }

func (e *errs) add(node string, err error) {
	if err != nil {
		*e = append(*e, nodeError{node, err})
	}
}

// join is all of them in one, by name; nil where there is none. total is how many
// nodes there are.
func (e *errs) join(total int) error {
	list := *e
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	slices.SortStableFunc(list, func(a, b nodeError) int { return strings.Compare(a.node, b.node) })
	var all []error
	names := map[string]bool{}
	for _, one := range list {
		all = append(all, one)
		names[one.node] = true
	}
	return &platform.Error{What: fmt.Sprintf("%d of %d machines need mending", len(names), total), Err: errors.Join(all...), Next: "Mend each of them and try again."}
}
