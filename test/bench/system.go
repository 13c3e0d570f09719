// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

// system is a cluster of one kind.
type system struct {
	name      string
	addresses []string
	ports     []int
	endpoints []string // as its client names the nodes
	// command is what runs node i with its data in disk; work is for files
	// that no measurement waits for.
	command func(i int, disk, work string) ([]string, error)
	loader  func() ([]string, error)
	leader  func(ctx context.Context, endpoints []string) (int, error)
	// withSides: each node has a side disk, too.
	withSides bool

	disks     []string
	sides     []string // empty without them
	processes []*process
}

// sideSize is plenty for the journals of one log.
const sideSize = 1 << 30

// start makes the disks, starts the nodes and waits for a leader.
func (s *system) start(ctx context.Context, o options, work string) error {
	for _, a := range s.addresses {
		for _, p := range s.ports {
			l, err := net.Listen("tcp", net.JoinHostPort(a, strconv.Itoa(p)))
			if err != nil {
				return fmt.Errorf("%s cannot use its address: %w: name another network with -net", s.name, err)
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	for i := range nodes {
		disk, err := makeDisk(ctx, o.dir, work, s.name+"-"+nodeName(i), o.diskSize)
		if err != nil {
			return fmt.Errorf("making the disk of %s %s: %w", s.name, nodeName(i), err)
		}
		s.disks = append(s.disks, disk)
		if !s.withSides {
			continue
		}
		side, err := makeDisk(ctx, o.dir, work, s.name+"-side-"+nodeName(i), sideSize)
		if err != nil {
			return fmt.Errorf("making the side disk of %s %s: %w", s.name, nodeName(i), err)
		}
		s.sides = append(s.sides, side)
	}
	for i, disk := range s.disks {
		argv, err := s.command(i, disk, work)
		if err != nil {
			return err
		}
		p, err := launch(argv, filepath.Join(work, s.name+"-"+nodeName(i)+".log"), len(o.scenarios) > 0)
		if err != nil {
			return fmt.Errorf("starting %s %s: %w", s.name, nodeName(i), err)
		}
		s.processes = append(s.processes, p)
	}
	return s.awaitLeader(ctx)
}

// awaitLeader waits until a leader answers, as long as every node runs.
func (s *system) awaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := s.leader(once, s.endpoints)
		cancel()
		if err == nil {
			return nil
		}
		if down := s.check(); down != nil {
			return down
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has no leader: %w\n%s", s.name, err, s.logs())
		case <-tick.C:
		}
	}
}

// check returns an error when a node is gone.
func (s *system) check() error {
	for i, p := range s.processes {
		select {
		case <-p.done:
			return fmt.Errorf("%s %s ended: %w\n%s", s.name, nodeName(i), errors.Join(p.err, errors.New("nobody asked it to")), tail(p.log))
		default:
		}
	}
	return nil
}

func (s *system) logs() string {
	var b strings.Builder
	for i, p := range s.processes {
		fmt.Fprintf(&b, "--- %s %s\n%s", s.name, nodeName(i), tail(p.log))
	}
	return b.String()
}

// stop ends the nodes, and takes their directories away where they are such.
func (s *system) stop() {
	for _, p := range s.processes {
		p.end()
	}
	patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, p := range s.processes {
		select {
		case <-p.done:
		case <-patience.Done():
			p.kill()
			<-p.done
		}
	}
	for _, d := range slices.Concat(s.disks, s.sides) {
		if inNamespace() {
			_, _ = syscall.Unmount(d, 0), os.Remove(d) // the namespace takes the rest along
			continue
		}
		if err := os.RemoveAll(d); err != nil {
			progress("removing %s: %v", d, err)
		}
	}
}

// run runs one cell and says what the nodes' processors did meanwhile.
func (s *system) run(ctx context.Context, o options, spec load.Spec) (cell, error) {
	spec.Endpoints = s.endpoints
	if o.target == "leader" {
		i, err := s.leader(ctx, s.endpoints)
		if err != nil {
			return cell{}, err
		}
		spec.Endpoints = s.endpoints[i : i+1]
	}
	argv, err := s.loader()
	if err != nil {
		return cell{}, err
	}
	before, err := s.cpu()
	if err != nil {
		return cell{}, err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	r, err := load.Start(ctx, cmd, spec)
	if err != nil {
		return cell{}, errors.Join(err, s.check())
	}
	if err := s.check(); err != nil {
		return cell{}, err
	}
	after, err := s.cpu()
	if err != nil {
		return cell{}, err
	}
	c := cell{System: s.name, Operation: spec.Operation, Consistency: spec.Consistency, Clients: spec.Clients, Result: r}
	// Processor time is of the whole run, warm-up and all; so is this estimate
	// of its operations.
	if total := r.Throughput * time.Since(began).Seconds(); total > 0 {
		c.NodeCPU = time.Duration(float64(after-before) / total)
		c.LoadCPU = time.Duration(float64(r.CPU) / total)
	}
	return c, nil
}

// cpu is the processor time that the nodes used so far.
func (s *system) cpu() (time.Duration, error) {
	var ticks int64
	for _, p := range s.processes {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
		if err != nil {
			return 0, err
		}
		// The name in parentheses may hold anything; utime and stime are the
		// 12th and 13th field after it.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) < 13 {
			return 0, fmt.Errorf("/proc/%d/stat: %d fields after the name", p.pid(), len(fields))
		}
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / 100, nil // USER_HZ is 100 on every Linux that Go runs on
}
