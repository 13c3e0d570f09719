// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Local is the platform of one directory. Safe for concurrent use: whoever
// changes something holds the directory's lock.
type Local struct {
	dir string // absolute, without symbolic links: /proc and the mount table name it so
	cfg Config
}

// New returns the platform of cfg.Directory, which need not exist yet.
func New(cfg Config) (platform.Platform, error) {
	if cfg.Directory == "" {
		return nil, &platform.Error{What: "the local platform has no directory", Err: errors.New("directory is empty"), Next: "Set local.directory."}
	}
	if cfg.Network < 0 || cfg.Network > maxNetwork {
		return nil, &platform.Error{What: "the local platform has no such network", Err: fmt.Errorf("network = %d", cfg.Network), Next: "Use 1 to 254, or leave it out."}
	}
	dir, err := resolve(cfg.Directory)
	if err != nil {
		return nil, &platform.Error{What: "the directory " + cfg.Directory + " cannot be used", Err: err, Next: "Set local.directory to a directory of this machine, or to a new one."}
	}
	if dir == "/" {
		return nil, &platform.Error{What: "the directory / cannot be used", Err: errors.New("it is the root of the machine"), Next: "Set local.directory to a directory of its own."}
	}
	return &Local{dir: dir, cfg: cfg}, nil
}

// resolve makes path absolute and free of links, as far as it exists.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for missing := ""; ; {
		resolved, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(resolved, missing), nil
		}
		if _, lerr := os.Lstat(path); !errors.Is(err, os.ErrNotExist) || lerr == nil {
			return "", err // a link to nowhere, too
		}
		missing = filepath.Join(filepath.Base(path), missing)
		path = filepath.Dir(path)
	}
}

// Paths below the directory.
func (l *Local) recordPath() string         { return filepath.Join(l.dir, "cluster.json") }
func (l *Local) lockPath() string           { return filepath.Join(l.dir, "lock") }
func (l *Local) binDir() string             { return filepath.Join(l.dir, "bin") }
func (l *Local) disksDir() string           { return filepath.Join(l.dir, "disks") }
func (l *Local) nodesDir() string           { return filepath.Join(l.dir, "nodes") }
func (l *Local) nodeDir(node string) string { return filepath.Join(l.dir, "nodes", node) }
func (l *Local) socket(node string) string  { return filepath.Join(l.nodeDir(node), "agent.sock") }

func (l *Local) volume(mode, node, disk string, d diskRecord) volume {
	v := volume{node: node, name: disk, disk: d, point: filepath.Join(l.nodeDir(node), disk)}
	if mode == modeRoot {
		v.image = filepath.Join(l.disksDir(), node+"-"+disk+".img")
	}
	return v
}

// volumes are the disks of one node: its stores in order, then the side disk.
func (l *Local) volumes(rec *record, node string) []volume {
	var vs []volume
	for i, d := range rec.Stores {
		vs = append(vs, l.volume(rec.Mode, node, fmt.Sprintf("data%d", i+1), d))
	}
	return append(vs, l.volume(rec.Mode, node, "side", rec.SideDisk))
}

// Ensure implements platform.Platform.
func (l *Local) Ensure(ctx context.Context, c platform.Cluster, progress func(string)) (_ map[string]platform.Machine, err error) {
	say := steps(progress)
	if _, err := l.look(); err != nil { // before anything is made
		return nil, err
	}
	unlock, err := l.makeLocked(ctx, say)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	rec, err := l.look()
	if err != nil {
		return nil, err
	}
	if rec != nil && rec.Destroying && rec.ID != c.ID {
		say("ending the destruction of cluster %s (%s), which was interrupted", rec.Name, rec.ID)
		if err := l.dismantle(ctx, rec, say); err != nil {
			return nil, err
		}
		rec = nil
	}
	next, err := l.prepare(rec, c)
	if err != nil {
		return nil, err
	}
	if rec == nil || !rec.equal(next) {
		if err := l.save(next); err != nil {
			return nil, err
		}
		say("recorded cluster %s (%s) in %s, nodes on 127.0.%d.x, %s", next.Name, next.ID, l.dir, next.Network, next.Mode)
	}
	rec = next
	binary, err := l.install(c.Binary)
	if err != nil {
		return nil, err
	}
	if err := l.makeDisks(ctx, rec, c.Nodes, say); err != nil {
		return nil, err
	}
	machines := map[string]platform.Machine{}
	var mu sync.Mutex // guards machines
	err = l.eachNode(ctx, c.Nodes, func(ctx context.Context, node string) error {
		m, err := l.ensureNode(ctx, rec, node, binary, say)
		if err != nil {
			return fmt.Errorf("node %s: %w", node, l.failed("start it", err))
		}
		mu.Lock()
		defer mu.Unlock()
		machines[node] = m
		return nil
	})
	if err != nil {
		return nil, err
	}
	return machines, l.removeOldBinaries(binary)
}

// makeLocked makes the directory and locks it.
func (l *Local) makeLocked(ctx context.Context, say say) (unlock func() error, err error) {
	for {
		if err := os.MkdirAll(l.dir, 0o755); err != nil {
			return nil, l.failed("make the directory "+l.dir, err)
		}
		// A destroy that was waited for took the directory with it.
		if unlock, err = l.lock(ctx, say); !errors.Is(err, os.ErrNotExist) {
			return unlock, err
		}
	}
}

// makeDisks makes the disks of nodes that have none yet, and records that they
// have them: from then on a missing one is a loss.
func (l *Local) makeDisks(ctx context.Context, rec *record, nodes []platform.Node, say say) error {
	err := l.eachNode(ctx, nodes, func(ctx context.Context, node string) error {
		for _, v := range l.volumes(rec, node) {
			var err error
			switch made := rec.Nodes[node].Made; {
			case rec.Mode == modeRoot && made:
				err = v.checkImage()
			case rec.Mode == modeRoot:
				err = v.makeImage(ctx, say)
			case made:
				err = v.checkDirectory()
			default:
				err = v.makeDirectory(say)
			}
			if err != nil {
				return fmt.Errorf("node %s: %w", node, l.failed("make disk "+v.name, err))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	changed := false
	for _, n := range nodes {
		changed = changed || !rec.Nodes[n.Name].Made
		rec.Nodes[n.Name] = nodeRecord{Address: rec.Nodes[n.Name].Address, Made: true}
	}
	if !changed {
		return nil
	}
	if err := l.save(rec); err != nil {
		return err
	}
	say("made the disks of %d nodes", len(nodes))
	return nil
}

// ensureNode mounts the disks of a node and sees to its agent.
func (l *Local) ensureNode(ctx context.Context, rec *record, node, binary string, say say) (platform.Machine, error) {
	if rec.Mode == modeRoot {
		for _, v := range l.volumes(rec, node) {
			if err := ctx.Err(); err != nil {
				return platform.Machine{}, err
			}
			if err := v.ensureMounted(say); err != nil {
				return platform.Machine{}, err
			}
		}
	}
	if err := l.ensureAgent(ctx, node, binary, say); err != nil {
		return platform.Machine{}, err
	}
	return l.machine(rec, node)
}

// machine is a node as it is now.
func (l *Local) machine(rec *record, node string) (platform.Machine, error) {
	m := platform.Machine{Name: node, Address: rec.Nodes[node].Address}
	for _, v := range l.volumes(rec, node) {
		d := platform.Directory{Path: filepath.Join(v.point, "store"), SizeBytes: v.disk.SizeBytes, FileSystem: v.disk.FileSystem}
		if rec.Mode == modeRoot {
			var err error
			if d.Device, err = v.device(); err != nil {
				return platform.Machine{}, err
			}
		}
		if v.name == "side" {
			m.SideDisk = d
		} else {
			m.Stores = append(m.Stores, d)
		}
	}
	return m, nil
}

// Adopt implements platform.Platform.
func (l *Local) Adopt(context.Context) (name, id string, ok bool, err error) {
	rec, err := l.look()
	if err != nil || rec == nil {
		return "", "", false, err
	}
	return rec.Name, rec.ID, !rec.Destroying, nil
}

// Observe implements platform.Platform.
func (l *Local) Observe(context.Context) (map[string]platform.Machine, error) {
	machines := map[string]platform.Machine{}
	rec, err := l.look()
	if err != nil || rec == nil || rec.Destroying {
		return machines, err
	}
	for node, n := range rec.Nodes {
		if !n.Made {
			continue
		}
		if machines[node], err = l.machine(rec, node); err != nil {
			return nil, err
		}
	}
	return machines, nil
}

// Node implements platform.Platform.
func (l *Local) Node(name string) platform.Communicator {
	return communicator{agentapi.NewClient(l.socket(name))}
}

type communicator struct{ agent *agentapi.Client }

func (c communicator) Agent() *agentapi.Client { return c.agent }

func (c communicator) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// eachNode runs f for all nodes at once. The first error cancels the others;
// it comes back once all have ended.
func (l *Local) eachNode(ctx context.Context, nodes []platform.Node, f func(ctx context.Context, node string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		group.Go(func() error { return f(ctx, n.Name) })
	}
	return group.Wait()
}

// say tells one step.
type say func(format string, args ...any)

// steps makes progress safe for concurrent use.
func steps(progress func(string)) say {
	var mu sync.Mutex // one line at a time
	return func(format string, args ...any) {
		if progress == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		progress(fmt.Sprintf(format, args...))
	}
}

// failed is an error whose reason says enough of what to do. What ended a run
// because it was asked to is told as it is.
func (l *Local) failed(what string, err error) error {
	if _, ok := errors.AsType[*platform.Error](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &platform.Error{What: "cannot " + what, Err: err, Next: "Mend that and try again."}
}
