// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

const maxNetwork = 254

var (
	errPort     = errors.New("the port is in use")
	errAllPorts = errors.New("the port is in use on all addresses")
	errTooMany  = errors.New("a network has 254 addresses")
	errNetworks = errors.New("no network of 127.0.x.0 has its ports free")
)

func address(network, host int) string { return fmt.Sprintf("127.0.%d.%d", network, host) }

// free reports what keeps a node from listening on addr.
type free func(node string, addr netip.Addr, ports agentapi.Ports) error

// assign returns rec with an address for every node that has none, in the order
// of the names: on the network that the record has, or else on the first
// candidate where all of its nodes' ports are free.
func assign(rec *record, candidates []int, free free) (*record, error) {
	if rec.Network != 0 {
		candidates = []int{rec.Network}
	}
	first := &platform.Error{What: "the nodes get no addresses", Next: "Destroy clusters of this machine that are not needed."}
	for _, x := range candidates {
		next, err := assignOn(rec, x, free)
		if err == nil {
			return next, nil
		}
		if len(candidates) == 1 || errors.Is(err, errTooMany) || errors.Is(err, errAllPorts) {
			return nil, err // another network is no better
		}
		if why, ok := errors.AsType[*platform.Error](err); ok && first.Err == nil {
			first = &platform.Error{What: why.What, Err: why.Err, Next: why.Next}
		}
	}
	first.Err = errors.Join(errNetworks, first.Err)
	return nil, first
}

func assignOn(rec *record, network int, free free) (*record, error) {
	rec = rec.clone()
	taken := map[string]bool{}
	for _, n := range rec.Nodes {
		taken[n.Address] = true
	}
	host := 1
	for _, n := range rec.names() {
		node := rec.Nodes[n.Name]
		if node.Address == "" {
			for taken[address(network, host)] {
				host++
			}
			if host > 254 {
				return nil, &platform.Error{What: "the cluster has too many nodes for one machine", Err: errTooMany, Next: "Use fewer nodes."}
			}
			node.Address = address(network, host)
			taken[node.Address] = true
			rec.Nodes[n.Name] = node
		}
		addr, err := netip.ParseAddr(node.Address)
		if err != nil {
			return nil, err
		}
		if err := free(n.Name, addr, rec.Ports); err != nil {
			return nil, fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	rec.Network = network
	return rec, nil
}

// networks are the candidates for a new cluster: from one that follows from the
// directory on, so that two clusters made at the same time rarely meet, without
// those of the clusters whose agents run here, be their engines stopped.
func (l *Local) networks() []int {
	if l.cfg.Network != 0 {
		return []int{l.cfg.Network}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(l.dir)) // a hash does not fail
	first := int(h.Sum32() % maxNetwork)
	used := usedNetworks()
	var all []int
	for i := range maxNetwork {
		if x := (first+i)%maxNetwork + 1; !slices.Contains(used, x) {
			all = append(all, x)
		}
	}
	return all
}

// usedNetworks returns the networks of all clusters of this platform that have an agent running.
func usedNetworks() []int {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var used []int
	seen := map[string]bool{}
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		args := strings.Split(string(b), "\x00")
		if len(args) < 4 || args[1] != roleAgent || args[2] != "-dir" {
			continue
		}
		dir := filepath.Dir(filepath.Dir(args[3]))
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if b, err := os.ReadFile(filepath.Join(dir, "cluster.json")); err == nil {
			if rec, err := decodeRecord(b); err == nil {
				used = append(used, rec.Network)
			}
		}
	}
	return used
}

// portsFree reports the first port of a node that something else than this
// cluster listens on, and who that is.
func (l *Local) portsFree(node string, addr netip.Addr, ports agentapi.Ports) error {
	for _, port := range []int{ports.Server, ports.HTTP} {
		at := netip.AddrPortFrom(addr, uint16(port))
		ln, err := net.Listen("tcp", at.String())
		if err == nil {
			if err := ln.Close(); err != nil {
				return err
			}
			continue
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return &platform.Error{What: fmt.Sprintf("a node cannot listen on %s", at), Err: err, Next: "Set ports to others."}
		}
		inodes, everywhere := listeners(at)
		pid, name := owner(inodes)
		ours, err := l.listens(node, pid)
		if err != nil {
			return err
		}
		if ours {
			continue
		}
		who := fmt.Sprintf("and who has it cannot be told (ss -ltnp sport = %d, as root, may)", port)
		if pid != 0 {
			who = fmt.Sprintf("by pid %d (%s)", pid, name)
		}
		reason := errPort
		if everywhere {
			reason = errAllPorts
		}
		return &platform.Error{What: fmt.Sprintf("a node cannot listen on %s", at), Err: fmt.Errorf("%w, %s", reason, who),
			Next: "Stop that process, or set ports to others."}
	}
	return nil
}

// listens reports whether pid is an engine of this cluster. Where it is not
// known, 0, it may be the node's own that was killed and is held by its disk: that keeps
// its sockets, but the kernel shows no files of it any more.
func (l *Local) listens(node string, pid int) (bool, error) {
	all, err := l.processes()
	return slices.ContainsFunc(all, func(p process) bool {
		return p.role == roleEngine && (p.PID == pid || pid == 0 && p.node == node && p.exe == "")
	}), err
}

// owner returns the process that has one of these sockets; 0 where that cannot
// be told.
func owner(inodes map[string]bool) (pid int, name string) {
	if len(inodes) == 0 {
		return 0, ""
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	if err != nil {
		return 0, ""
	}
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		if err != nil {
			continue
		}
		inode, ok := strings.CutPrefix(link, "socket:[")
		if !ok || !inodes[strings.TrimSuffix(inode, "]")] {
			continue
		}
		proc := filepath.Dir(filepath.Dir(fd))
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		return pid, commandName(pid)
	}
	return 0, ""
}

func commandName(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(b))
}

// listeners returns the inodes of the sockets that listen on at, and whether it is
// one that listens on every address.
func listeners(at netip.AddrPort) (found map[string]bool, everywhere bool) {
	found = map[string]bool{}
	for _, path := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(path)
		if err != nil {
			continue // without IPv6
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			local, inode, ok := parseSocket(lines.Text())
			if ok && local.Port() == at.Port() && (local.Addr() == at.Addr() || local.Addr().IsUnspecified()) {
				found[inode] = true
				everywhere = everywhere || local.Addr().IsUnspecified()
			}
		}
		_ = f.Close() // it was only read
	}
	return found, everywhere
}

// parseSocket reads a line of /proc/net/tcp or tcp6 (proc(5)) and returns the
// address of a listening socket:
//
//	sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
//	 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   0       0 12345 …
//
// The address is in hexadecimal, each four bytes in the machine's order; 0A is LISTEN.
func parseSocket(line string) (local netip.AddrPort, inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "0A" {
		return netip.AddrPort{}, "", false
	}
	host, port, ok := strings.Cut(f[1], ":")
	b, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, "", false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), f[9], ok
}
