// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Network is one Ethernet segment: a hub in this process, with a socket pair
// to each QEMU. No interface, port or address of the host takes part, so there
// is nothing to clean up, and cutting it needs no firewall. The zero Network
// is ready.
//
// Each port has two goroutines, one that reads and one that writes. Both end
// when their QEMU does.
type Network struct {
	mu struct {
		sync.Mutex
		hosts []string // in the order of their first start; places stay
		ports map[string]*port
		cut   map[[2]string]bool
	}
}

// queueDepth is how many frames wait for a guest that does not listen. More
// are lost, as on a real wire.
const queueDepth = 1024

// frameMax is more than the largest frame that virtio-net joins together.
const frameMax = 68 << 10

type port struct {
	host  string
	conn  net.Conn
	queue chan []byte   // queueDepth frames; the other ports' readers send and never wait; never closed
	done  chan struct{} // closed by this port's reader at its end
}

// Addr is the address that a host has, or will have, on this network.
func (n *Network) Addr(host string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return netip.AddrFrom4([4]byte{10, 77, 0, byte(n.placeLocked(host))})
}

func (n *Network) mac(host string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprintf("52:54:00:4d:00:%02x", n.placeLocked(host))
}

func (n *Network) placeLocked(host string) int {
	const first = 11
	for i, h := range n.mu.hosts {
		if h == host {
			return first + i
		}
	}
	n.mu.hosts = append(n.mu.hosts, host)
	return first + len(n.mu.hosts) - 1
}

// Cut loses every frame between two hosts, until Join.
func (n *Network) Cut(a, b string) { n.set(a, b, true) }

// Join ends a Cut.
func (n *Network) Join(a, b string) { n.set(a, b, false) }

func (n *Network) set(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.cut == nil {
		n.mu.cut = map[[2]string]bool{}
	}
	n.mu.cut[[2]string{a, b}], n.mu.cut[[2]string{b, a}] = cut, cut
}

// connect adds a port and returns QEMU's end of it.
func (n *Network) connect(host string) (*os.File, error) {
	mine, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	p := &port{host: host, conn: mine, queue: make(chan []byte, queueDepth), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.ports == nil {
		n.mu.ports = map[string]*port{}
	}
	n.mu.ports[host] = p
	go n.read(p)
	go p.write()
	return theirs, nil
}

func (n *Network) read(p *port) {
	defer func() {
		close(p.done)
		_ = p.conn.Close()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.mu.ports[p.host] == p { // not that of a machine that was started again
			delete(n.mu.ports, p.host)
		}
	}()
	stream := bufio.NewReaderSize(p.conn, frameMax)
	for {
		frame, err := readFrame(stream)
		if err != nil {
			return
		}
		n.forward(p, frame)
	}
}

// readFrame reads a frame with its length before it, as QEMU's socket netdev
// sends it: four bytes, big-endian.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > frameMax {
		return nil, fmt.Errorf("a frame of %d bytes", size)
	}
	frame := make([]byte, 4+size)
	copy(frame, head[:])
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

func (n *Network) forward(from *port, frame []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for host, to := range n.mu.ports {
		if to == from || n.mu.cut[[2]string{from.host, host}] {
			continue
		}
		select {
		case to.queue <- frame:
		default:
		}
	}
}

func (p *port) write() {
	for {
		select {
		case frame := <-p.queue:
			if _, err := p.conn.Write(frame); err != nil {
				return
			}
		case <-p.done:
			return
		}
	}
}

// socketPair is two ends of a stream: one for this process, one to inherit.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("a pair of sockets for QEMU: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "qemu")
	file := os.NewFile(uintptr(fds[0]), "test")
	mine, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("a pair of sockets for QEMU: %w", err)
	}
	return mine, theirs, nil
}
