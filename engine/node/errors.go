// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import "errors"

var (
	// ErrBusy is returned by Apply and Read when a queue on the way is full:
	// nothing was done, and the client should slow down.
	ErrBusy = errors.New("the node is overloaded and did nothing: send fewer requests at a time")
	// ErrStopping is returned to requests that meet a node on its way down.
	ErrStopping = errors.New("the node is stopping: try another one")
	// ErrLogLost is returned by Start where the log of a bootstrapped
	// partition is gone: votes and acknowledged entries went with it.
	ErrLogLost = errors.New("the raft log is gone")
	// ErrOrder is returned by Start where a store holds the log of another
	// partition than its place in Config.Stores gives it: an empty log would be
	// begun beside an old one, and votes and acknowledged entries forgotten.
	ErrOrder = errors.New("the stores are given in another order than they were made in, or one is left out")
	// ErrFailed wraps what ended an engine by itself; Wait returns it.
	ErrFailed = errors.New("the engine failed")

	// errForeign and errHandshake are a dialer's view of a refused connection.
	errForeign   = errors.New("the peer refused the connection")
	errHandshake = errors.New("the peer does not speak Holdfast's protocol")
)

// outcome is what became of one attempt at a call. The values cross the wire.
type outcome byte

const (
	// outcomeOK: the answer is there.
	outcomeOK outcome = 1
	// outcomeNotLeader: whoever got it is not the leader, or not yet ready to
	// be; nothing was done. Also for what was never sent.
	outcomeNotLeader outcome = 2
	// outcomeUnknown: a command is in a log, or may be; a retry with the same
	// ID finds out.
	outcomeUnknown outcome = 3
	// outcomeBusy: a queue was full; nothing was done.
	outcomeBusy outcome = 4
	// outcomeRefused: the leader could not make sense of it; the text says why.
	outcomeRefused outcome = 5
)
