// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Host provisions one host. Its directory, mode 0700, holds the record. Safe for
// concurrent use, also by several processes: runs exclude each other.
type Host struct {
	dir, node string
	// attempt does a step once. The disk is that of a file step.
	attempt func(ctx context.Context, s *Step, g given) (*Disk, error)
}

// given is what a step does not bring along itself.
type given struct {
	key Key
	// secrets are those of all steps: a command may print what an earlier step wrote.
	// Where some are not known, no output can be shown without them: unknown are their
	// names.
	secrets, unknown []string
	// lock is the run's, handed to commands: see Host.lock.
	lock *os.File
}

// NewHost returns the host of a node, which keeps its record in dir.
func NewHost(dir, node string) *Host {
	h := &Host{dir: dir, node: node}
	h.attempt = h.do
	return h
}

// Kind says what an Event tells.
type Kind string

// Kinds of events.
const (
	EventStart  Kind = "start"  // of a step
	EventRetry  Kind = "retry"  // an attempt failed; Err says why, Wait how long the next one waits
	EventDone   Kind = "done"   // a step is done
	EventFailed Kind = "failed" // a step failed for good
	EventForget Kind = "forget" // a step was forgotten
)

// Event is progress. No text of it holds a secret.
type Event struct {
	Kind     Kind
	Decision Decision
	Attempt  int // from 1
	Wait     time.Duration
	Err      error
}

// Result is how a run went.
type Result struct {
	Plan Plan
	// Done are the steps that were done, in order.
	Done []string
	// Failed is the step that ended the run, empty where there was none.
	Failed string
}

// StepError is the failure of a step.
type StepError struct {
	Step     string
	Attempts int
	Err      error
}

// Error implements error.
func (e *StepError) Error() string {
	if e.Attempts <= 1 {
		return fmt.Sprintf("step %s failed: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("step %s failed %d times: %v", e.Step, e.Attempts, e.Err)
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Plan says what Run would do. It changes nothing and waits for no run that is on:
// the answer is then that of a moment within it. It reads the files of steps that were
// done, and hangs with their disk.
func (h *Host) Plan(steps []Step) (Plan, error) {
	if err := Validate(steps); err != nil {
		return nil, err
	}
	key, _, err := readKey(vfs.OS{}, h.dir)
	if err != nil {
		return nil, err
	}
	plan, _, err := h.plan(steps, key, true)
	return plan, err
}

// Record returns what is on record. It looks at nothing else.
func (h *Host) Record() (Record, error) { return readRecord(vfs.OS{}, h.dir) }

// plan looks at the files of steps that were done only where it is told to.
func (h *Host) plan(steps []Step, key Key, look bool) (Plan, Record, error) {
	record, err := readRecord(vfs.OS{}, h.dir)
	if err != nil {
		return nil, record, err
	}
	disk := map[string]*Disk{}
	for i := range steps {
		if !look {
			break
		}
		if was := record.Steps[steps[i].Name].Disk; was != nil {
			if disk[steps[i].Name], err = lookAt(was.Path, steps[i].Name, key); err != nil {
				return nil, record, err
			}
		}
	}
	return MakePlan(steps, Facts{Node: h.node, Record: record, Key: key, Disk: disk}), record, nil
}

// Run does what a plan made at its beginning says, in order, and ends at the first
// step that fails, with a *StepError, or when ctx does. Each start and each end is
// durable before the next thing happens. report, where not nil, is called from this
// goroutine. Run returns ErrBusy where another run is on.
func (h *Host) Run(ctx context.Context, steps []Step, report func(Event)) (Result, error) {
	return h.run(ctx, steps, report, false)
}

// Resume does what a Run of the same steps, which nobody saw the end of, left to do. It
// differs from Run in what nobody asked for again: a step that failed ends it, with
// ErrFailedBefore in the *StepError, and files are not looked at, so that one which
// somebody changed since stays.
func (h *Host) Resume(ctx context.Context, steps []Step, report func(Event)) (Result, error) {
	return h.run(ctx, steps, report, true)
}

func (h *Host) run(ctx context.Context, steps []Step, report func(Event), resume bool) (res Result, err error) {
	if err := Validate(steps); err != nil {
		return res, err
	}
	lock, err := h.lock()
	if err != nil {
		return res, err
	}
	defer func() { unlock(lock, errors.Is(err, ErrHeld)) }()
	key, err := makeKey(vfs.OS{}, h.dir)
	if err != nil {
		return res, err
	}
	plan, record, err := h.plan(steps, key, !resume)
	if err != nil {
		return res, err
	}
	res.Plan = plan
	if report == nil {
		report = func(Event) {}
	}
	r := &run{host: h, record: record, given: given{key: key, lock: lock}, report: report}
	byName := map[string]*Step{}
	for i := range steps {
		byName[steps[i].Name] = &steps[i]
		r.given.secrets = append(r.given.secrets, steps[i].secrets()...)
		r.given.unknown = append(r.given.unknown, steps[i].unknown()...)
	}
	slices.Sort(r.given.unknown)
	r.given.unknown = slices.Compact(r.given.unknown)
	if err := r.due(plan); err != nil {
		return res, err
	}
	for _, d := range plan {
		switch {
		case d.Action == Forget:
			if err := r.forget(d); err != nil {
				return res, err
			}
		case resume && d.failed:
			res.Failed = d.Step
			return res, &StepError{Step: d.Step, Err: fmt.Errorf("%s, and is %w", d.Why, ErrFailedBefore)}
		case len(d.Unknown) > 0:
			res.Failed = d.Step
			return res, &StepError{Step: d.Step, Err: fmt.Errorf("its secret %s is %w", strings.Join(d.Unknown, ", "), ErrUnknownSecret)}
		case d.Runs():
			if err := r.step(ctx, byName[d.Step], d); err != nil {
				res.Failed = d.Step
				return res, err
			}
			res.Done = append(res.Done, d.Step)
		}
	}
	return res, nil
}

// lock takes the host's lock. It belongs to the open file: a command that is handed it
// holds it too, so that a step which outlives its agent, killed in the midst of it, is not
// run a second time beside itself. The kernel gives it back when the last of them ends.
func (h *Host) lock() (*os.File, error) {
	if err := (vfs.OS{}).MkdirAll(h.dir); err != nil {
		return nil, err
	}
	l, err := (vfs.OS{}).Lock(filepath.Join(h.dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if err != nil {
		return nil, err
	}
	f, ok := l.(*os.File)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the lock of %s is no file: %w", h.dir, errors.ErrUnsupported), l.Close())
	}
	return f, nil
}

// unlock gives the lock back, also where a command left something running that was handed
// it; but not while the kernel holds a command that was ended.
func unlock(lock *os.File, held bool) {
	if !held {
		_ = unix.Flock(int(lock.Fd()), unix.LOCK_UN) // Close does it where nobody else has the file
	}
	_ = lock.Close()
}

// run is one run, which holds the lock.
type run struct {
	host   *Host
	record Record
	given  given
	report func(Event)
}

func (r *run) forget(d Decision) error {
	delete(r.record.Steps, d.Step)
	if err := writeRecord(vfs.OS{}, r.host.dir, r.record); err != nil {
		return err
	}
	r.report(Event{Kind: EventForget, Decision: d})
	return nil
}

// due records which steps have to run because an earlier one does, before that one
// does: a crash between the two must not leave them as if they were done.
func (r *run) due(plan Plan) error {
	changed := false
	for _, d := range plan {
		if e, ok := r.record.Steps[d.Step]; ok && d.forced && e.State == Finished {
			e.State = Due
			r.record.Steps[d.Step], changed = e, true
		}
	}
	if !changed {
		return nil
	}
	return writeRecord(vfs.OS{}, r.host.dir, r.record)
}

func (r *run) put(s *Step, d Decision, state string, disk *Disk) error {
	r.record.Steps[s.Name] = Entry{Hash: d.hash, Attributes: d.attrs, State: state, At: time.Now().UTC().Truncate(time.Second), Disk: disk}
	return writeRecord(vfs.OS{}, r.host.dir, r.record)
}

func (r *run) step(ctx context.Context, s *Step, d Decision) error {
	if err := sleep(ctx, s.PauseBefore); err != nil {
		return &StepError{Step: s.Name, Err: err}
	}
	if err := r.put(s, d, Started, nil); err != nil {
		return err
	}
	r.report(Event{Kind: EventStart, Decision: d, Attempt: 1})
	disk, attempts, err := r.attempts(ctx, s, d)
	if err != nil {
		err = &StepError{Step: s.Name, Attempts: attempts, Err: err}
		if ctx.Err() == nil { // one that was called off stays "started"
			err = errors.Join(err, r.put(s, d, Failed, nil))
		}
		r.report(Event{Kind: EventFailed, Decision: d, Attempt: attempts, Err: err})
		return err
	}
	if err := r.put(s, d, Finished, disk); err != nil {
		return err
	}
	r.report(Event{Kind: EventDone, Decision: d, Attempt: attempts})
	return nil
}

// attempts tries a step as often as it may be tried.
func (r *run) attempts(ctx context.Context, s *Step, d Decision) (*Disk, int, error) {
	for n := 1; ; n++ {
		limit := fmt.Errorf("%w: more than %v", ErrTimeout, s.timeout())
		bounded, cancel := context.WithTimeoutCause(ctx, s.timeout(), limit)
		disk, err := r.host.attempt(bounded, s, r.given)
		cancel()
		if err == nil {
			return disk, n, nil
		}
		// A command that the kernel holds could still act: no second one beside it.
		if ctx.Err() != nil || n > s.Retries || errors.Is(err, ErrHeld) {
			return nil, n, err
		}
		r.report(Event{Kind: EventRetry, Decision: d, Attempt: n, Wait: s.backoff(n), Err: err})
		if serr := sleep(ctx, s.backoff(n)); serr != nil {
			return nil, n, errors.Join(serr, err)
		}
	}
}

func (h *Host) do(ctx context.Context, s *Step, g given) (*Disk, error) {
	if s.File != nil {
		return writeFile(s, g.key)
	}
	return nil, runShell(ctx, h.node, s, g)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
