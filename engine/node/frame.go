// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// A forwarding connection carries frames both ways: requests to the leader,
// answers back. A frame holds whatever waited while the one before it was
// being written.
//
//	frame    0        4        8
//	        ┌────────┬────────┬──────┬──────┬───
//	        │ length │ CRC32C │ item │ item │ …    both numbers 4 bytes, little-endian, of the items
//	        └────────┴────────┴──────┴──────┴───
//
//	request ┌───────┬────────┬────────────────────────────────┐
//	        │ id uv │ kind 1 │ command, or uv length and query│
//	        └───────┴────────┴────────────────────────────────┘
//
//	answer  ┌───────┬───────────┬───────────┬──────┐
//	        │ id uv │ outcome 1 │ length uv │ body │   body: result; or uv age in µs and answer; or text
//	        └───────┴───────────┴───────────┴──────┘
//
// Ids are the caller's, one per request on a connection. Answers come in any
// order. The checksum is there because a command goes from here into the log
// as it is, where bytes that do not decode would stop every replica.
const (
	frameHeader = 8
	// softFrameBytes is when a frame is closed and the next one begun.
	softFrameBytes = 1 << 20
	// maxFrameBytes bounds a frame that is read: one answer may be a large list.
	maxFrameBytes = 512 << 20
)

var errFrame = errors.New("a damaged frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginFrame leaves room for the header.
func beginFrame(b []byte) []byte {
	var head [frameHeader]byte
	return append(b, head[:]...)
}

// sealFrame fills the header in.
func sealFrame(b []byte) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-frameHeader))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[frameHeader:], castagnoli))
}

// readFrame reads a frame's items into buf, which it grows as bytes come in
// and not as the length claims.
func readFrame(r *bufio.Reader, buf []byte) ([]byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n > maxFrameBytes {
		return nil, fmt.Errorf("%w: it claims %d bytes", errFrame, n)
	}
	buf = buf[:0]
	for len(buf) < n {
		step := min(n-len(buf), max(softFrameBytes, len(buf)))
		at := len(buf)
		if cap(buf) < at+step {
			buf = append(buf, make([]byte, step)...)
		} else {
			buf = buf[:at+step]
		}
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return nil, err
		}
	}
	if sum := binary.LittleEndian.Uint32(head[4:]); crc32.Checksum(buf, castagnoli) != sum {
		return nil, fmt.Errorf("%w: its checksum does not match", errFrame)
	}
	return buf, nil
}

// callKind is what is asked of a leader. The values cross the wire.
type callKind byte

const (
	callApply          callKind = 1 // body is an encoded command
	callRead           callKind = 2 // body is an encoded query, served under the lease
	callConsistentRead callKind = 3 // the same, after a majority confirmed the leader
)

// appendRequest appends one request. body is a command, which says its own
// length, or a query.
func appendRequest(b []byte, id uint64, kind callKind, body []byte) []byte {
	b = binary.AppendUvarint(b, id)
	b = append(b, byte(kind))
	if kind != callApply {
		b = binary.AppendUvarint(b, uint64(len(body)))
	}
	return append(b, body...)
}

// request is one decoded request; body aliases the frame.
type request struct {
	id   uint64
	kind callKind
	body []byte
}

// nextRequest decodes the first request of b and returns what follows.
func nextRequest(b []byte) (request, []byte, error) {
	id, n := binary.Uvarint(b)
	if n <= 0 || len(b) < n+2 {
		return request{}, nil, fmt.Errorf("%w: a request is cut off", errFrame)
	}
	req := request{id: id, kind: callKind(b[n])}
	b = b[n+1:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return request{}, nil, fmt.Errorf("%w: a request is cut off", errFrame)
	}
	end := n + int(size)
	switch req.kind {
	case callApply:
		req.body = b[:end] // with its length, as it lies in a log entry
	case callRead, callConsistentRead:
		req.body = b[n:end]
	default:
		return request{}, nil, fmt.Errorf("%w: request kind %d", errFrame, req.kind)
	}
	return req, b[end:], nil
}

// reply is one answer: of result and answer, the one that the call is for.
type reply struct {
	out    outcome
	result kv.Result
	answer kv.Answer
	text   string // why, where out is outcomeRefused
}

// appendReply appends one answer to a call of kind.
func appendReply(b []byte, id uint64, kind callKind, r *reply) []byte {
	b = binary.AppendUvarint(b, id)
	b = append(b, byte(r.out))
	switch {
	case r.out == outcomeOK && kind == callApply:
		// Nearly always shorter than 128 bytes: the length is one byte, set afterwards.
		at := len(b)
		b = kv.AppendResult(append(b, 0), &r.result)
		if n := len(b) - at - 1; n < 0x80 {
			b[at] = byte(n)
			return b
		}
		body := kv.AppendResult(nil, &r.result)
		return append(binary.AppendUvarint(b[:at], uint64(len(body))), body...)
	case r.out == outcomeOK:
		body := kv.AppendAnswer(nil, &r.answer)
		return append(binary.AppendUvarint(b, uint64(len(body))), body...)
	}
	return append(binary.AppendUvarint(b, uint64(len(r.text))), r.text...)
}

// nextReply splits the first answer off b; body aliases b.
func nextReply(b []byte) (id uint64, out outcome, body, rest []byte, err error) {
	id, n := binary.Uvarint(b)
	if n <= 0 || len(b) < n+2 {
		return 0, 0, nil, nil, fmt.Errorf("%w: an answer is cut off", errFrame)
	}
	out = outcome(b[n])
	b = b[n+1:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) || out < outcomeOK || out > outcomeRefused {
		return 0, 0, nil, nil, fmt.Errorf("%w: an answer does not parse", errFrame)
	}
	end := n + int(size)
	return id, out, b[n:end], b[end:], nil
}

// decodeReply is the meaning of an answer's body to a call of kind. Nothing
// of it aliases body.
func decodeReply(kind callKind, out outcome, body []byte) (reply, error) {
	r := reply{out: out}
	var rest []byte
	var err error
	switch {
	case out == outcomeOK && kind == callApply:
		r.result, rest, err = kv.DecodeResult(body)
	case out == outcomeOK:
		// The values of an answer alias what it is decoded from, and the frame
		// is used again.
		r.answer, rest, err = kv.DecodeAnswer(append([]byte(nil), body...))
	default:
		r.text = string(body)
	}
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%w: bytes follow an answer", errFrame)
	}
	return r, err
}

// meta is what a read from a leader says of itself.
func leaderMeta(index uint64) httpapi.Meta {
	return httpapi.Meta{Index: index, KnownLeader: true}
}
