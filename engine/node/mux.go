// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A connection between servers begins with a preamble, which says what it is
// for; the acceptor answers before anything else is sent, so that a foreign
// cluster is refused with words, and refused before raft sees a byte of it.
//
//	preamble  0        4         5      6
//	         ┌────────┬─────────┬──────┬────────┬────────────┬───────────┬──────┬────┐
//	         │ "HFRP" │ version │ kind │ length │ cluster id │ partition │ from │ to │
//	         │        │ 1       │ 1    │ 2, LE  │ str        │ str       │ str  │ str│
//	         └────────┴─────────┴──────┴────────┴────────────┴───────────┴──────┴────┘
//
//	answer    0         1
//	         ┌─────────┬────────┬──────┐
//	         │ 0 taken │ length │ text │   text is empty when taken
//	         │ 1 refused│ 2, LE │      │
//	         └─────────┴────────┴──────┘
//
// str is one length byte and that many bytes; length counts all four. from
// and to are node names; to may be empty.
const (
	preambleMagic   = "HFRP"
	preambleVersion = 1
	preambleHeader  = len(preambleMagic) + 4

	handshakeTimeout = 3 * time.Second
	// maxHandshakes bounds what strangers can make us hold.
	maxHandshakes = 256
)

// connKind is what a connection is for. The values cross the wire.
type connKind byte

const (
	connRaft    connKind = 1
	connForward connKind = 2
)

// preamble is the meaning of the first bytes.
type preamble struct {
	kind                           connKind
	clusterID, partition, from, to string
}

func (p *preamble) append(b []byte) ([]byte, error) {
	b = append(b, preambleMagic...)
	b = append(b, preambleVersion, byte(p.kind), 0, 0)
	start := len(b)
	for _, s := range []string{p.clusterID, p.partition, p.from, p.to} {
		if len(s) > 255 {
			return nil, fmt.Errorf("%q is too long for a preamble: 255 bytes at most", s)
		}
		b = append(append(b, byte(len(s))), s...)
	}
	binary.LittleEndian.PutUint16(b[start-2:], uint16(len(b)-start))
	return b, nil
}

// readPreamble reads exactly the preamble, so that what follows it is still
// in the connection.
func readPreamble(r io.Reader) (preamble, error) {
	var head [preambleHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return preamble{}, err
	}
	switch n := len(preambleMagic); {
	case string(head[:n]) != preambleMagic:
		return preamble{}, fmt.Errorf("%w: it begins with %q", errHandshake, head[:n])
	case head[n] != preambleVersion:
		return preamble{}, fmt.Errorf("%w: version %d, this node knows %d", errHandshake, head[n], preambleVersion)
	}
	p := preamble{kind: connKind(head[len(preambleMagic)+1])}
	b := make([]byte, binary.LittleEndian.Uint16(head[preambleHeader-2:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return preamble{}, err
	}
	for _, s := range []*string{&p.clusterID, &p.partition, &p.from, &p.to} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return preamble{}, fmt.Errorf("%w: the preamble is cut off", errHandshake)
		}
		*s, b = string(b[1:1+b[0]]), b[1+b[0]:]
	}
	if len(b) != 0 {
		return preamble{}, fmt.Errorf("%w: the preamble is too long", errHandshake)
	}
	return p, nil
}

// mux shares one listener among raft and forwarding of all partitions.
type mux struct {
	ln        net.Listener
	network   Network
	clusterID string
	node      string
	names     map[string]string // address → node name
	log       hclog.Logger

	slots chan struct{} // one per handshake under way; depth maxHandshakes; never closed
	wg    sync.WaitGroup

	mu struct {
		sync.Mutex
		routes map[route]func(net.Conn, string)
		conns  map[net.Conn]struct{} // in their handshake
		closed bool
	}
}

type route struct {
	kind      connKind
	partition string
}

func newMux(ln net.Listener, network Network, cfg *Config) *mux {
	m := &mux{
		ln: ln, network: network, clusterID: cfg.ClusterID, node: cfg.Node,
		names: make(map[string]string), log: cfg.Logger.Named("server"),
		slots: make(chan struct{}, maxHandshakes),
	}
	for _, s := range cfg.Servers {
		m.names[s.Address] = s.Name
	}
	m.mu.routes = make(map[route]func(net.Conn, string))
	m.mu.conns = make(map[net.Conn]struct{})
	return m
}

// handle sends connections of a kind to fn, which owns them and must not block.
func (m *mux) handle(r route, fn func(conn net.Conn, from string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.routes[r] = fn
}

// serve accepts until close.
func (m *mux) serve() {
	m.wg.Go(func() {
		for delay := time.Duration(0); ; {
			conn, err := m.ln.Accept()
			if err != nil {
				if m.isClosed() || errors.Is(err, net.ErrClosed) {
					return
				}
				// Most likely out of file descriptors: wait for some to be closed.
				delay = min(max(2*delay, 5*time.Millisecond), time.Second)
				m.log.Error("accepting a connection failed", "error", err, "retry_in", delay)
				time.Sleep(delay)
				continue
			}
			delay = 0
			select {
			case m.slots <- struct{}{}:
				m.wg.Go(func() { m.greet(conn); <-m.slots })
			default:
				_ = conn.Close() // too many strangers at the door
			}
		}
	})
}

func (m *mux) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.closed
}

// greet reads the preamble, answers, and hands the connection on.
func (m *mux) greet(conn net.Conn) {
	m.mu.Lock()
	if m.mu.closed {
		m.mu.Unlock()
		_ = conn.Close()
		return
	}
	m.mu.conns[conn] = struct{}{}
	m.mu.Unlock()

	fn, from, err := m.handshake(conn)

	m.mu.Lock()
	delete(m.mu.conns, conn)
	closed := m.mu.closed
	m.mu.Unlock()
	if err != nil || closed {
		if err != nil && !errors.Is(err, io.EOF) && !closed {
			m.log.Warn("a connection was refused", "from", conn.RemoteAddr(), "error", err)
		}
		_ = conn.Close()
		return
	}
	fn(conn, from)
}

func (m *mux) handshake(conn net.Conn) (fn func(net.Conn, string), from string, err error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, "", err
	}
	p, err := readPreamble(conn)
	if err == nil {
		err = m.recognize(conn, p.from)
	}
	if err == nil {
		fn, err = m.admit(&p)
	} else if !errors.Is(err, errHandshake) && !errors.Is(err, errImpostor) {
		return nil, "", err
	}
	answer := []byte{0, 0, 0}
	if err != nil {
		text := err.Error()
		answer[0] = 1
		binary.LittleEndian.PutUint16(answer[1:], uint16(len(text)))
		answer = append(answer, text...)
	}
	if _, werr := conn.Write(answer); err == nil && werr != nil {
		err = werr
	}
	if err != nil {
		return nil, "", err
	}
	return fn, p.from, conn.SetDeadline(time.Time{})
}

// recognize refuses a caller that says it is another node than it proved to be.
// It says nothing where callers prove nothing.
func (m *mux) recognize(conn net.Conn, from string) error {
	c, ok := conn.(proven)
	if !ok {
		return nil
	}
	name, err := c.Node()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errImpostor, err)
	case name != from:
		return fmt.Errorf("%w: the certificate is that of node %q, the caller says it is %q", errImpostor, name, from)
	}
	for _, known := range m.names {
		if known == name {
			return nil
		}
	}
	return fmt.Errorf("%w: node %q is not in the list of servers of node %q", errImpostor, name, m.node)
}

func (m *mux) admit(p *preamble) (func(net.Conn, string), error) {
	if p.clusterID != m.clusterID {
		return nil, fmt.Errorf("node %s belongs to the cluster with id %q, the caller %q to %q", m.node, m.clusterID, p.from, p.clusterID)
	}
	if p.to != "" && p.to != m.node {
		return nil, fmt.Errorf("this is node %q, the caller %q looks for %q: one of the two has a wrong address", m.node, p.from, p.to)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fn := m.mu.routes[route{p.kind, p.partition}]
	if fn == nil {
		return nil, fmt.Errorf("node %s has no partition %q (connection kind %d)", m.node, p.partition, p.kind)
	}
	return fn, nil
}

// dial connects to another server and agrees with it on what for.
func (m *mux) dial(ctx context.Context, address string, r route) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := m.network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := m.introduce(conn, address, r); err != nil {
		_ = conn.Close() // the error to tell is the handshake's
		return nil, fmt.Errorf("connecting to %s: %w", address, err)
	}
	return conn, nil
}

func (m *mux) introduce(conn net.Conn, address string, r route) error {
	p := preamble{kind: r.kind, clusterID: m.clusterID, partition: r.partition, from: m.node, to: m.names[address]}
	b, err := p.append(nil)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	var answer [3]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	switch n := binary.LittleEndian.Uint16(answer[1:]); {
	case answer[0] == 0 && n == 0:
	case answer[0] == 1:
		text := make([]byte, n)
		if _, err := io.ReadFull(bufio.NewReader(conn), text); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s", errForeign, text)
	default:
		return fmt.Errorf("%w: it answered %x", errHandshake, answer)
	}
	return conn.SetDeadline(time.Time{})
}

// close stops accepting, ends handshakes and waits for them. Connections that
// were handed on are their owners'.
func (m *mux) close() {
	m.mu.Lock()
	m.mu.closed = true
	for conn := range m.mu.conns {
		_ = conn.Close() // its handshake sees the error
	}
	m.mu.Unlock()
	_ = m.ln.Close() // nothing is lost with a listener
	m.wg.Wait()
}
