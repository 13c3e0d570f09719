// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/status"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// Bounds of what an agent waits for.
const (
	stopBound   = 10 * time.Second       // an engine's stop, before it is killed
	diskBound   = 5 * time.Second        // making a directory
	lookBound   = 500 * time.Millisecond // looking at a directory, for the status
	askBound    = 700 * time.Millisecond // asking the engine's API
	startBound  = 10 * time.Second       // a start that was asked for, until the API answers
	againAfter  = 5 * time.Second        // between convergences while there are problems
	againMost   = 30 * time.Second       // on a whole machine, after some of them
	renewAfter  = time.Hour              // between looks at how old the certificate is
	turnBound   = 20 * time.Second       // for the turn of a request that changes the node
	answerBound = 10 * time.Second       // of a convergence, before a request is answered without its end
	closeBound  = 2 * time.Second        // requests under way at the agent's end
	headerBound = 10 * time.Second
)

// Options say what an agent works on.
type Options struct {
	Dir     string // made where it is missing
	Socket  string // agent.sock in Dir where empty
	Binary  string // what the engine is started from
	Version string
	// Systemd makes it the agent of a whole machine: it finds, formats and mounts disks,
	// writes units, and its engine is one of them, under a user of its own. It is root.
	Systemd bool
	// LogFile is where a whole machine's agent writes its log, empty for the journal: it
	// stays in the agent's unit, and is rotated.
	LogFile string
	Logger  hclog.Logger
}

// supervisor keeps the engine as it is wanted, and never two. Package supervise has one
// for a process of the agent's own, and one for a unit of systemd.
type supervisor interface {
	// Run does it until ctx ends; the engine stays then.
	Run(ctx context.Context)
	State() supervise.State
	// Until waits until ok says yes of the state.
	Until(ctx context.Context, ok func(supervise.State) bool) error
	// SetReady says whether everything that an engine needs is in place, Retry that what
	// made one fail may be mended.
	SetReady(ready bool)
	Retry()
	// Start, Stop and Restart are remembered. Stop comes back when the engine has ended.
	Start() error
	Stop(ctx context.Context) error
	Restart() error
	// Hangup makes a running engine read its configuration again.
	Hangup() error
}

// Agent is the agent of one node. It implements agentapi.Backend.
type Agent struct {
	opts    Options
	log     hclog.Logger
	started time.Time
	sup     supervisor
	dirs    *status.Dirs   // of the stores
	side    *status.Dirs   // of the side disk, which is no store
	disks   status.Bounded // making directories, by path, and theDisks

	keyring *pki.Keyring // of the cluster's certificates
	// turn holds a token, taken by whoever changes the node: one at a time, and before
	// mu. It is never closed.
	turn chan struct{}
	// due tells the loop that mu.next is there; one waiting token is enough. Never closed.
	due chan struct{}
	mu  struct {
		sync.Mutex
		next, now *convergence   // that is asked for, that is under way
		spec      *agentapi.Spec // never changed in place
		stores    storesRecord
		hash      string         // of the configuration in force
		written   *agentapi.Spec // what engine.json says: the next engine starts with it
		configs   configsRecord
		unit      unitRecord // of the engine
		ran       engineRun
		problems  []agentapi.Problem
		pki       *agentapi.PKI // as last seen, nil where there is none
		steps     provisioning
		rates     ratesState
		// again: the last convergence left something that is worth trying again, and so did
		// as many as left in a row. It ended then.
		again bool
		left  int
		ended time.Time
		// changed and reload: the spec is a new one, and a running engine has something
		// to take over of it; the next convergence sees to both.
		changed, reload bool
	}
}

// Run runs an agent until ctx ends. Its engine stays.
func Run(ctx context.Context, opts Options) (err error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the node's directory: %w", err)
	}
	if opts.Socket == "" {
		opts.Socket = filepath.Join(opts.Dir, SocketName)
	}
	held, err := lock(opts.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	a, err := open(ctx, opts)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(opts.Socket), 0o700); err != nil {
		return fmt.Errorf("make the socket's directory: %w", err)
	}
	l, err := agentapi.Listen(opts.Socket)
	if err != nil {
		return err
	}
	defer func() {
		_ = l.Close()              // the server has closed it, unless there was none
		_ = os.Remove(opts.Socket) // the next agent removes it too
	}()
	if err := writeProcess(opts.Dir, opts.Binary, opts.Version, opts.Socket, a.started); err != nil {
		return err
	}

	// Shutdown: requests first, then the loops, which nothing asks any more. They have a
	// context of their own: a stop that is under way waits for one of them.
	looping, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	loops.Go(func() { a.sup.Run(looping) })
	loops.Go(func() { a.keepConverging(looping) })
	srv := &http.Server{Handler: agentapi.Handler(a), ReadHeaderTimeout: headerBound, ErrorLog: a.log.StandardLogger(nil)}
	served := make(chan error, 1) // one result
	loops.Go(func() { served <- srv.Serve(l) })
	a.log.Info("agent is up", "dir", opts.Dir, "socket", opts.Socket, "version", opts.Version)
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", opts.Socket, err)
	case <-ctx.Done():
	}
	a.log.Info("agent ends; the engine stays as it is")
	bounded, done := context.WithTimeout(context.WithoutCancel(ctx), closeBound)
	defer done()
	if err := srv.Shutdown(bounded); err != nil {
		_ = srv.Close() // what is still under way is given up
	}
	return nil
}

// open reads what an earlier agent left and adopts its engine.
func open(ctx context.Context, opts Options) (*Agent, error) {
	a := idle(opts)
	if err := a.load(); err != nil {
		return nil, err
	}
	err := a.supervise(ctx)
	if err != nil {
		return nil, &agentapi.Error{What: "the agent cannot take over the engine of an earlier one", Why: err.Error(),
			Next: "Restore the file, or end the engine if one runs from " + opts.Dir + ", put the file aside and start the agent again."}
	}
	return a, nil
}

// idle is an agent that has read nothing and keeps no engine.
func idle(opts Options) *Agent {
	a := &Agent{opts: opts, log: opts.Logger, started: time.Now(), turn: make(chan struct{}, 1), due: make(chan struct{}, 1)}
	a.turn <- struct{}{}
	a.keyring = pki.NewKeyring(vfs.OS{}, pki.Dir(filepath.Join(opts.Dir, pkiDir)))
	a.dirs = &status.Dirs{Contents: contents, Bound: lookBound}
	a.side = &status.Dirs{Bound: lookBound}
	return a
}

// load reads what an earlier agent left.
func (a *Agent) load() error {
	dir := a.opts.Dir
	var rec specRecord
	if _, err := readJSON(filepath.Join(dir, specFile), &rec, &rec.Format); err != nil {
		return err
	}
	if _, err := readJSON(filepath.Join(dir, storesFile), &a.mu.stores, &a.mu.stores.Format); err != nil {
		return err
	}
	if _, err := readJSON(filepath.Join(dir, configsFile), &a.mu.configs, &a.mu.configs.Format); err != nil {
		return err
	}
	if _, err := readJSON(filepath.Join(dir, unitFile), &a.mu.unit, &a.mu.unit.Format); err != nil {
		return err
	}
	var rates ratesRecord
	if found, err := readJSON(filepath.Join(dir, ratesFile), &rates, &rates.Format); err != nil {
		a.log.Warn("the rates of the disks are measured again", "error", err) // nothing hangs on them
	} else if found {
		a.mu.rates.record = &rates
	}
	if rec.Spec != nil {
		at, err := a.place()
		if err != nil {
			return err
		}
		c, err := config.FromSpec(rec.Spec, a.mu.stores.ids(), at.certs()).Config()
		if err != nil {
			return &agentapi.Error{What: "the agent cannot use the spec that it kept", Why: fmt.Sprintf("%s: %v", filepath.Join(dir, specFile), err),
				Next: "Restore the file, or put it aside and send the spec again."}
		}
		a.mu.spec, a.mu.written, a.mu.hash = rec.Spec, rec.Spec, c.Hash()
		a.readSteps(a.provisionHost(rec.Spec.Node), rec.Spec)
		a.mu.next = &convergence{since: a.started, ended: make(chan struct{})} // what the earlier agent left half done
	}
	if pki.Exists(string(a.keyring.Dir())) {
		if _, _, err := a.lookPKI(); err != nil { // the convergence says so, where it needs them
			a.log.Warn("the node's certificates cannot be read", "error", err)
		}
	}
	return nil
}

// supervise finds the engine that runs and begins to keep it as it is wanted.
func (a *Agent) supervise(ctx context.Context) error {
	log := a.log.Named("engine")
	if a.opts.Systemd {
		u, err := supervise.NewUnit(ctx, units.EngineUnit, a.opts.Dir, units.Local{}, log)
		a.sup = u
		return err
	}
	s, err := supervise.New(&supervise.Engine{
		Dir: a.opts.Dir, Binary: a.opts.Binary, ConfigFile: filepath.Join(a.opts.Dir, engineFile),
		Config: func() (string, *agentapi.Spec) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.mu.hash, a.mu.written
		},
	}, log, stopBound)
	a.sup = s
	return err
}

// contents is what status shows of a store's directory. What is wrong with it
// is a problem of the convergence, which says more.
func contents(path string) (id, backend string, err error) {
	switch got, err := store.Read(path); {
	case err == nil:
		id = got.StoreID
	case !errors.Is(err, store.ErrNoIdentity):
		return "", "", err
	}
	// A store keeps one partition, under its name: default, p2, p3 …
	partitions, err := os.ReadDir(filepath.Join(path, "raft"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return id, "", err
	}
	for _, p := range partitions {
		b, found, err := logstore.Detect(filepath.Join(path, "raft", p.Name()))
		if err != nil || found {
			return id, string(b), err
		}
	}
	return id, "", nil
}

// Devices implements agentapi.Backend.
func (a *Agent) Devices(ctx context.Context) (any, error) {
	devices, err := blockdev.Discover(ctx, blockdev.Host())
	if err != nil {
		return nil, err
	}
	return blockdev.Report(devices), nil
}
