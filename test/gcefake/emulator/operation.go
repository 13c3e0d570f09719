// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// work is what an operation does. The resource that it is about has already
// been changed, as far as others can see it, when the work begins.
type work struct {
	verb   string // operationType: insert
	target ref
	id     uint64
	hold   []ref // beside the target: resources that nobody else may change meanwhile
	// act does what takes place outside of this process's memory, without the
	// lock. Nil for nothing.
	act func(context.Context) error
	// commit makes the change final, and undo takes back what was done before
	// the work began. Both run with the lock, one of them, once. Nil for nothing.
	commit, undo func()
}

// operation is one that was accepted. Everything but done is guarded by the
// server's mutex.
type operation struct {
	msg   *computepb.Operation
	scope string
	work  work
	fail  *OperationError // injected
	// done is closed by finish, when msg has become DONE.
	done chan struct{}
}

// beginLocked accepts work and returns its operation, which is PENDING. It
// refuses when somebody else is at work on one of the resources.
func (s *Server) beginLocked(r *request, w work) *computepb.Operation {
	now := s.config.Clock.Now()
	s.mu.serial++
	op := &operation{scope: w.target.scope, work: w, fail: r.fail, done: make(chan struct{})}
	name := fmt.Sprintf("operation-%d-%06d", now.UnixMilli(), s.mu.serial)
	self := ref{s.config.Project, op.scope, "operations", name}
	op.msg = &computepb.Operation{
		Kind: new("compute#operation"), Id: new(s.nextIDLocked()), Name: &name, SelfLink: new(self.link()),
		OperationType: &w.verb, TargetLink: new(w.target.link()), TargetId: new(w.id),
		Status: new(computepb.Operation_PENDING), Progress: new(int32(0)), InsertTime: new(timestamp(now)),
		User: new("holdfast@" + s.config.Project + ".iam.gserviceaccount.com"),
	}
	if id := r.query.Get("requestId"); id != "" {
		op.msg.ClientOperationId = &id
		s.mu.replays[id] = replay{r.fingerprint(), op}
	}
	if z := w.target.zone(); z != "" {
		op.msg.Zone = new(apiRoot + "projects/" + s.config.Project + "/" + op.scope)
	} else if op.scope != "global" {
		op.msg.Region = new(apiRoot + "projects/" + s.config.Project + "/" + op.scope)
	}
	for _, held := range append(w.hold, w.target) {
		s.mu.busy[held.path()] = op
	}
	s.mu.operations = append(s.mu.operations, op)
	r.operation = op
	half := s.config.Delay / 2
	s.later(half, func() {
		s.mu.Lock()
		op.msg.Status, op.msg.Progress = new(computepb.Operation_RUNNING), new(int32(50))
		op.msg.StartTime = new(timestamp(s.config.Clock.Now()))
		s.mu.Unlock()
		s.later(s.config.Delay-half, func() { s.finish(op) })
	})
	return op.msg
}

// finish does the work of an operation and makes it DONE.
func (s *Server) finish(op *operation) {
	// Only beginLocked writes work and fail.
	var err error
	switch {
	case op.fail != nil:
		err = op.fail
	case op.work.act != nil:
		err = op.work.act(s.ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		fail := &OperationError{Code: "INTERNAL_ERROR", Message: err.Error(), HTTPStatus: 500, HTTPMessage: "INTERNAL"}
		if injected, ok := errors.AsType[*OperationError](err); ok {
			fail = injected
		}
		op.msg.Error = &computepb.Error{Errors: []*computepb.Errors{{Code: &fail.Code, Message: &fail.Message, ErrorDetails: fail.Details}}}
		if fail.HTTPStatus != 0 {
			op.msg.HttpErrorStatusCode, op.msg.HttpErrorMessage = &fail.HTTPStatus, &fail.HTTPMessage
		}
		if op.work.undo != nil {
			op.work.undo()
		}
	} else if op.work.commit != nil {
		op.work.commit()
	}
	op.msg.Status, op.msg.Progress = new(computepb.Operation_DONE), new(int32(100))
	op.msg.EndTime = new(timestamp(s.config.Clock.Now()))
	for path, holder := range s.mu.busy {
		if holder == op {
			delete(s.mu.busy, path)
		}
	}
	close(op.done)
}

// later calls f after d, unless the server is closed by then. Close waits for
// what runs.
func (s *Server) later(d time.Duration, f func()) {
	s.config.Clock.AfterFunc(d, func() {
		s.mu.Lock()
		if s.mu.closed {
			s.mu.Unlock()
			return
		}
		s.wg.Add(1)
		s.mu.Unlock()
		defer s.wg.Done()
		f()
	})
}

// readyLocked refuses when an operation is at work on one of the resources.
func (s *Server) readyLocked(refs ...ref) error {
	for _, r := range refs {
		if s.mu.busy[r.path()] != nil {
			return notReady(r.path())
		}
	}
	return nil
}

// waitLimit is the time after which operations.wait answers with an operation
// that is not DONE.
const waitLimit = 2 * time.Minute

// awaitOperation returns when the operation that the request names is DONE, or
// the time for waiting is over. Without the lock.
func (s *Server) awaitOperation(ctx context.Context, r *request) {
	s.mu.Lock()
	op := s.operationLocked(r)
	s.mu.Unlock()
	if op == nil {
		return
	}
	over := make(chan struct{}) // closed by the clock
	s.config.Clock.AfterFunc(waitLimit, func() { close(over) })
	select {
	case <-op.done:
	case <-over:
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
}

func (s *Server) operationLocked(r *request) *operation {
	for _, op := range s.mu.operations {
		if op.scope == r.scope() && op.msg.GetName() == r.params["operation"] {
			return op
		}
	}
	return nil
}

func getOperation(s *Server, r *request) (answer, error) {
	if op := s.operationLocked(r); op != nil {
		return op.msg, nil
	}
	return nil, notFound(ref{s.config.Project, r.scope(), "operations", r.params["operation"]}.path())
}

func listOperations(s *Server, r *request) (answer, error) {
	var rows []*computepb.Operation
	for _, op := range s.mu.operations {
		if op.scope == r.scope() {
			rows = append(rows, op.msg)
		}
	}
	return list(r, &computepb.OperationList{Kind: new("compute#operationList")}, rows)
}

// replay remembers which request an id stood for.
type replay struct {
	fingerprint string
	op          *operation
}

func timestamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000-07:00") }

// nextIDLocked is a number that no resource has yet.
func (s *Server) nextIDLocked() uint64 {
	s.mu.serial++
	return 1000000000000000000 + s.mu.serial
}
