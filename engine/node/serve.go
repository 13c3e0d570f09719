// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// maxListsPerConn is how many lists of one peer are put together at a time.
const maxListsPerConn = 4

// serverConn serves the calls that one peer forwards.
//
// Goroutines: the reader, which owns the connection; the flusher; and one per
// list under way. The reader waits for all.
type serverConn struct {
	p     *partition
	from  string
	conn  net.Conn
	out   *outbox
	lists chan struct{} // one per list under way; depth maxListsPerConn; never closed
}

// serveForward serves a connection until it breaks.
func (p *partition) serveForward(conn net.Conn, from string) {
	s := &serverConn{p: p, from: from, conn: conn, out: newOutbox(conn), lists: make(chan struct{}, maxListsPerConn)}
	stop := make(chan struct{}) // closed by the reader
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.out.flush(stop); err != nil {
			_ = conn.Close() // the reader sees it
		}
	})
	err := s.read(&wg)
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		p.log.Debug("a forwarding connection ended", "from", from, "error", err)
	}
	s.out.fail(net.ErrClosed)
	_ = conn.Close()
	close(stop)
	wg.Wait()
}

// read takes requests off the connection until it breaks.
func (s *serverConn) read(wg *sync.WaitGroup) error {
	r := bufio.NewReaderSize(s.conn, 64<<10)
	var buf []byte
	for {
		var err error
		if buf, err = readFrame(r, buf); err != nil {
			return err
		}
		for rest := buf; len(rest) > 0; {
			var req request
			if req, rest, err = nextRequest(rest); err != nil {
				return err
			}
			s.serve(req, wg)
		}
		if cap(buf) > 4*softFrameBytes {
			buf = nil
		}
	}
}

// serve starts one request. Nothing of it is used after it returns.
func (s *serverConn) serve(req request, wg *sync.WaitGroup) {
	to := sink{conn: s, id: req.id, kind: req.kind}
	if req.kind == callApply {
		if err := kv.CheckCommand(req.body); err != nil {
			to.answer(&reply{out: outcomeRefused, text: err.Error()})
			return
		}
		s.p.lead(req.kind, req.body, to)
		return
	}
	if len(req.body) > 0 && kv.QueryKind(req.body[0]) == kv.QueryGet {
		s.p.lead(req.kind, req.body, to)
		return
	}
	// A list takes its time: commands behind it on the connection do not wait.
	body := append([]byte(nil), req.body...)
	s.lists <- struct{}{}
	wg.Go(func() {
		s.p.lead(req.kind, body, to)
		<-s.lists
	})
}

// answer sends an answer. It never blocks: the state machine calls it.
func (s *serverConn) answer(id uint64, kind callKind, r *reply) {
	// An error is the connection's: the peer asks again on another one.
	_ = s.out.put(false, func(b []byte) []byte { return appendReply(b, id, kind, r) })
}

// lead serves a call as the leader, or says that it is not. The sink is
// always answered, now or later; body is not kept.
func (p *partition) lead(kind callKind, body []byte, to sink) {
	v := p.view.Load()
	if !v.self {
		to.answer(&reply{out: outcomeNotLeader})
		return
	}
	if kind == callApply {
		switch err := p.co.submit(body, to); {
		case errors.Is(err, ErrBusy):
			to.answer(&reply{out: outcomeBusy})
		case err != nil:
			to.answer(&reply{out: outcomeNotLeader})
		}
		return
	}
	q, rest, err := kv.DecodeQuery(body)
	switch {
	case err != nil || len(rest) != 0:
		to.answer(&reply{out: outcomeRefused, text: "the query does not parse"})
	case !v.ready:
		to.answer(&reply{out: outcomeNotLeader})
	case kind == callConsistentRead || v.confirm:
		p.verify.submit(verifiedRead{q, v, to})
	case !p.leased(v):
		to.answer(&reply{out: outcomeNotLeader})
	default:
		to.answer(&reply{out: outcomeOK, answer: p.machine.Read(q)})
	}
}
