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
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/status"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// Bounds of what an agent waits for.
const (
	stopBound   = 10 * time.Second       // an engine's stop, before it is killed
	diskBound   = 5 * time.Second        // making a directory
	lookBound   = 500 * time.Millisecond // looking at a directory, for the status
	askBound    = 700 * time.Millisecond // asking the engine's API
	startBound  = 10 * time.Second       // a start that was asked for, until the API answers
	againAfter  = 5 * time.Second        // between convergences while there are problems
	closeBound  = 2 * time.Second        // requests under way at the agent's end
	headerBound = 10 * time.Second
)

// Options say what an agent works on.
type Options struct {
	Dir     string // made where it is missing
	Socket  string // agent.sock in Dir where empty
	Binary  string // what the engine is started from
	Version string
	Logger  hclog.Logger
}

// Agent is the agent of one node. It implements agentapi.Backend.
type Agent struct {
	opts    Options
	log     hclog.Logger
	started time.Time
	sup     *supervise.Supervisor
	dirs    *status.Dirs   // of the stores
	side    *status.Dirs   // of the side disk, which is no store
	disks   status.Bounded // making directories, by path

	// apply is held by whoever changes the node: one spec at a time. It is
	// taken before mu.
	apply sync.Mutex
	mu    struct {
		sync.Mutex
		spec     *agentapi.Spec // never changed in place
		stores   storesRecord
		hash     string         // of the configuration in force
		written  *agentapi.Spec // what engine.json says: the next engine starts with it
		problems []agentapi.Problem
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
	a, err := open(opts)
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

	// Shutdown: requests first, then the loops, which nothing asks any more.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { a.sup.Run(ctx) })
	loops.Go(func() { a.keepConverging(ctx) })
	srv := &http.Server{Handler: agentapi.Handler(a), ReadHeaderTimeout: headerBound, ErrorLog: a.log.StandardLogger(nil)}
	served := make(chan error, 1) // one result
	loops.Go(func() { served <- srv.Serve(l) })
	a.log.Info("agent is up", "dir", opts.Dir, "socket", opts.Socket, "version", opts.Version)
	select {
	case err := <-served:
		cancel()
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
func open(opts Options) (*Agent, error) {
	a := &Agent{opts: opts, log: opts.Logger, started: time.Now()}
	a.dirs = &status.Dirs{Contents: contents, Bound: lookBound}
	a.side = &status.Dirs{Bound: lookBound}
	var rec specRecord
	if _, err := readJSON(filepath.Join(opts.Dir, specFile), &rec, &rec.Format); err != nil {
		return nil, err
	}
	if _, err := readJSON(filepath.Join(opts.Dir, storesFile), &a.mu.stores, &a.mu.stores.Format); err != nil {
		return nil, err
	}
	if rec.Spec != nil {
		c, err := config.FromSpec(rec.Spec, a.mu.stores.ids()).Config()
		if err != nil {
			return nil, &agentapi.Error{What: "the agent cannot use the spec that it kept", Why: fmt.Sprintf("%s: %v", filepath.Join(opts.Dir, specFile), err),
				Next: "Restore the file, or put it aside and send the spec again."}
		}
		a.mu.spec, a.mu.written, a.mu.hash = rec.Spec, rec.Spec, c.Hash()
	}
	sup, err := supervise.New(&supervise.Engine{
		Dir: opts.Dir, Binary: opts.Binary, ConfigFile: filepath.Join(opts.Dir, engineFile),
		Config: func() (string, *agentapi.Spec) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.mu.hash, a.mu.written
		},
	}, a.log.Named("engine"), stopBound)
	if err != nil {
		return nil, &agentapi.Error{What: "the agent cannot take over the engine of an earlier one", Why: err.Error(),
			Next: "Restore the file, or end the engine if one runs from " + opts.Dir + ", put the file aside and start the agent again."}
	}
	a.sup = sup
	return a, nil
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
