// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/stall"
)

// Options are what a drill does.
type Options struct {
	Directory string // of the local cluster
	Node      string // a name, leader or follower
	Disk      string // data, data1 …, side or both
	Duration  time.Duration
	Warmup    time.Duration
	After     time.Duration
	Clients   int
	Rate      float64 // writes per second of all clients
	Keep      bool    // the keys
	// Thawer is the command line of a process that calls stall.Serve.
	Thawer []string
}

// Validate names the flag that makes no sense, and its value.
func (o Options) Validate() error {
	for _, d := range []struct {
		flag        string
		value, most time.Duration
	}{{"duration", o.Duration, stall.Most}, {"warmup", o.Warmup, time.Hour}, {"after", o.After, time.Hour}} {
		if d.value <= 0 || d.value > d.most {
			return fmt.Errorf("-%s %v: it must be above 0 and at most %v", d.flag, d.value, d.most)
		}
	}
	if o.Directory == "" {
		return errors.New("-directory is empty: name the directory of a local cluster")
	}
	if err := o.plan().Validate(); err != nil {
		return fmt.Errorf("-clients %d -rate %v: %w", o.Clients, o.Rate, err)
	}
	return nil
}

// answerBound is what a write may take beyond the stall: elections, retries.
const answerBound = 30 * time.Second

func (o Options) plan() pace.Plan {
	return pace.Plan{Clients: o.Clients, Rate: o.Rate, Timeout: o.Duration + answerBound}
}

// Progress gets what happens while a drill runs.
type Progress interface {
	// Begin is called once, before the load begins.
	Begin(c *Cluster, n Node, disks []Disk, o Options)
	// Second is called for every second of it.
	Second(Second)
	// Note is called for what takes a while after it.
	Note(text string)
}

// ErrLost: an acknowledged key is not on every node as it was written.
var ErrLost = errors.New("the drill found acknowledged writes that are not on every node")

// homeBound is how long a drill waits, after its load, for logs to come back.
const homeBound = 30 * time.Second

// Run runs a drill. The result is complete where the error is nil or ErrLost.
// Where ctx ends, the disk is thawed and the keys are deleted before it returns.
func Run(ctx context.Context, o Options, p Progress) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c, err := Find(ctx, o.Directory)
	if err != nil {
		return nil, err
	}
	n, disks, err := c.Choose(o.Node, o.Disk)
	if err != nil {
		return nil, err
	}
	var dirs []*os.File
	defer func() {
		for _, d := range dirs {
			_ = d.Close() // nothing was written through it
		}
	}()
	for _, d := range disks {
		dir, err := openDisk(c, n, d)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	thawer, err := stall.Start(o.Thawer)
	if err != nil {
		return nil, err
	}
	s, err := newSession(c, o)
	if err != nil {
		return nil, errors.Join(err, thawer.Close())
	}
	p.Begin(c, n, disks, o)
	r := &Result{
		Cluster: c.Name, Directory: c.Directory, Node: n.Name, Role: "follower", Disks: disks, Failover: n.Mode,
		StartedAt: time.Now(), Load: Load{Clients: o.Clients, Rate: o.Rate, ValueSize: valueSize},
	}
	if n.state == "Leader" {
		r.Role = "leader"
	}
	err = s.run(ctx, thawer, dirs, p, r)
	// Thawed in any case, before anything else.
	return r, errors.Join(thawer.Close(), s.close(ctx, p, r, err))
}

// session is a drill that runs.
//
// Goroutines: those of load and watch, and one that tells of each second; all of
// them are ended and waited for by run.
type session struct {
	cluster *Cluster
	options Options
	keys    keys
	clients []*api.Client // each prefers another node
	own     []*api.Client // each knows one node only
	mu      struct {
		sync.Mutex
		ops          []pace.Op
		began, ended time.Time // of the stall, zero before
	}
}

func newSession(c *Cluster, o Options) (*session, error) {
	s := &session{cluster: c, options: o, keys: newKeys()}
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.Address)
	}
	for i, a := range all {
		rotated, err := api.New(api.Config{Addresses: slices.Concat(all[i:], all[:i])})
		if err != nil {
			return nil, err
		}
		own, err := api.New(api.Config{Addresses: []string{a}})
		if err != nil {
			return nil, err
		}
		s.clients, s.own = append(s.clients, rotated), append(s.own, own)
	}
	return s, nil
}

// run is the drill itself, from the load's begin to the last key's check.
func (s *session) run(ctx context.Context, thawer *stall.Thawer, dirs []*os.File, p Progress, r *Result) error {
	watching, stopWatch := context.WithCancel(ctx)
	began := time.Now()
	w := newWatch(watching, began, s.cluster.names(), s.asks())
	defer func() { stopWatch(); w.wait() }()

	load, err := pace.Start(ctx, s.options.plan(), s.put, s.record)
	if err != nil {
		return err
	}
	telling, stopTelling := context.WithCancel(ctx)
	told := make(chan []Second, 1) // from tell, once
	go func() { told <- s.tell(telling, began, load, w, p) }()

	err = s.stall(ctx, thawer, dirs, r)
	if err == nil {
		err = sleep(ctx, s.options.After)
	}
	grace := s.options.Duration + answerBound
	if err != nil {
		grace = 0
	}
	r.Unsent = load.Stop(grace)
	stopTelling()
	r.Seconds = <-told
	if err != nil {
		return err
	}
	if !w.home() {
		p.Note("waiting for the logs to come back to their own disks")
		for until := time.Now().Add(homeBound); !w.home() && time.Now().Before(until) && err == nil; {
			err = sleep(ctx, watchEvery)
		}
	}
	s.summarize(r)
	w.fill(r, s.mu.ended)
	if err == nil {
		p.Note(fmt.Sprintf("reading %d acknowledged keys from every node", r.All.Acknowledged))
		s.verify(ctx, r)
		err = ctx.Err()
	}
	return err
}

// stall hangs the disks once the warm-up is over, and returns when all are back.
func (s *session) stall(ctx context.Context, thawer *stall.Thawer, dirs []*os.File, r *Result) error {
	if err := sleep(ctx, s.options.Warmup); err != nil {
		return err
	}
	s.mu.Lock()
	s.mu.began = time.Now()
	s.mu.Unlock()
	hangs, errs := make([]*stall.Hang, len(dirs)), make([]error, len(dirs))
	var wg sync.WaitGroup
	for i, d := range dirs {
		wg.Go(func() { hangs[i], errs[i] = thawer.Hang(ctx, d, s.options.Duration) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	for _, h := range hangs {
		if h == nil {
			continue
		}
		if err == nil {
			select {
			case <-h.Over():
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		err = errors.Join(err, h.Release())
		began, frozen, ended := h.Times()
		r.Freezing, r.Hung = max(r.Freezing, frozen.Sub(began)), max(r.Hung, ended.Sub(frozen))
	}
	s.mu.Lock()
	s.mu.ended = time.Now()
	s.mu.Unlock()
	return err
}

func (s *session) put(ctx context.Context, client, seq int) error {
	key := s.keys.key(client, seq)
	return s.clients[client%len(s.clients)].Put(ctx, key, value(key), api.Write{})
}

func (s *session) record(o pace.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.ops = append(s.mu.ops, o)
}

func (s *session) asks() (all []ask) {
	for _, c := range s.own {
		all = append(all, c.Stores)
	}
	return all
}

// tell tells of every whole second until ctx ends, and returns all of them.
func (s *session) tell(ctx context.Context, began time.Time, load *pace.Load, w *watch, p Progress) (all []Second) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	from, taken := began, 0
	for {
		select {
		case <-ctx.Done():
			return all
		case <-tick.C:
		}
		until := time.Now()
		s.mu.Lock()
		ops := s.mu.ops[taken:len(s.mu.ops):len(s.mu.ops)] // what was written is not written again
		taken = len(s.mu.ops)
		phase := phase(s.mu.began, s.mu.ended, from, until)
		s.mu.Unlock()
		sec := Second{Second: len(all) + 1, Phase: phase, Summary: pace.Summarize(ops), Waiting: load.Waiting()}
		sec.Leader, sec.Nodes = w.nodes()
		p.Second(sec)
		all, from = append(all, sec), until
	}
}

// phase names the part of a drill that [from, until) lies in.
func phase(began, ended, from, until time.Time) string {
	switch {
	case began.IsZero() || !began.Before(until):
		return PhaseBefore
	case ended.IsZero() || ended.After(from):
		return PhaseStall
	}
	return PhaseAfter
}

// summarize is called when nothing is recorded any more.
func (s *session) summarize(r *Result) {
	var before, during, after []pace.Op
	for _, o := range s.mu.ops {
		switch phase(s.mu.began, s.mu.ended, o.Due, o.Ended) {
		case PhaseBefore:
			before = append(before, o)
		case PhaseStall:
			during = append(during, o)
		default:
			after = append(after, o)
		}
		if o.Err != nil && r.FirstError == "" {
			r.FirstError = o.Err.Error()
		}
	}
	r.All, r.Before, r.During, r.After = pace.Summarize(s.mu.ops), pace.Summarize(before), pace.Summarize(during), pace.Summarize(after)
	if len(s.mu.ops) > 0 {
		first, last := s.mu.ops[0].Ended, s.mu.ops[len(s.mu.ops)-1].Ended
		_, r.Pause = pace.Pause(s.mu.ops, first, last)
	}
	for _, sec := range r.Seconds {
		if sec.Acknowledged == 0 {
			r.Idle++
		}
	}
}

func (s *session) verify(ctx context.Context, r *Result) {
	acknowledged := byClient(s.mu.ops)
	var wg sync.WaitGroup
	for i := range r.Nodes {
		c := s.own[i]
		read := func(ctx context.Context, prefix string) ([]api.KVPair, error) {
			pairs, _, err := c.List(ctx, prefix, api.Read{Consistency: api.Stale})
			return pairs, err
		}
		wg.Go(func() { s.keys.verify(ctx, read, acknowledged, &r.Nodes[i]) })
	}
	wg.Wait()
	r.Verified = !slices.ContainsFunc(r.Nodes, func(n NodeResult) bool { return !n.right(r.All.Acknowledged) })
}

// deleteBound is how long the drill tries to take its keys away.
const deleteBound = 15 * time.Second

// close deletes the keys and says how the drill ended.
func (s *session) close(ctx context.Context, p Progress, r *Result, err error) error {
	defer func() {
		for _, c := range slices.Concat(s.clients, s.own) {
			c.Close()
		}
	}()
	if !s.options.Keep && len(s.mu.ops) > 0 {
		// Also where the drill was interrupted.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteBound)
		defer cancel()
		if derr := s.clients[0].DeleteTree(ctx, s.keys.prefix, api.Write{}); derr != nil {
			p.Note(fmt.Sprintf("the keys below %s are still there: %v: delete them with `holdfast kv delete -recurse %[1]s`", s.keys.prefix, derr))
		}
	}
	if err == nil && !r.Verified {
		err = ErrLost
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
