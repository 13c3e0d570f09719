// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// QMP is QEMU's monitor: one JSON object per line, commands with an id, and
// events between the answers. It is written here because the one library for
// it brings a reconnecting monitor, code generated for another version of QEMU
// and no timeouts. Its methods may be called from anywhere.
//
// Its goroutine reads until the connection ends, which the end of QEMU does.
type QMP struct {
	conn io.ReadWriteCloser
	mu   struct {
		sync.Mutex
		id      int
		pending map[int]chan answer // each takes one answer, which the reader sends; never closed
		events  []Event
		changed chan struct{} // closed by the reader when an event came or the connection ended
		err     error         // why the connection ended
	}
}

// Event is what QEMU says by itself.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// Refusal is QEMU's answer to a command that it does not carry out.
type Refusal struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (r *Refusal) Error() string { return r.Desc }

// errOver is why nothing is asked any more.
var errOver = errors.New("QEMU has ended")

type answer struct {
	Event
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *Refusal        `json:"error"`
}

// monitor begins a conversation, and ends with the connection.
func monitor(ctx context.Context, conn io.ReadWriteCloser) (*QMP, error) {
	q := &QMP{conn: conn}
	q.mu.pending = map[int]chan answer{}
	q.mu.changed = make(chan struct{})
	go q.read()
	if err := q.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return q, nil
}

func (q *QMP) read() {
	lines := bufio.NewReader(q.conn)
	for {
		line, err := lines.ReadBytes('\n')
		var a answer
		if err == nil {
			err = json.Unmarshal(line, &a)
		}
		if err != nil {
			q.end(err)
			return
		}
		q.take(a)
	}
}

func (q *QMP) take(a answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if a.Name != "" {
		q.mu.events = append(q.mu.events, a.Event)
		q.announceLocked()
		return
	}
	// The greeting has no id, and nobody waits for it.
	if c := q.mu.pending[a.ID]; c != nil {
		delete(q.mu.pending, a.ID)
		c <- a
	}
}

func (q *QMP) end(err error) {
	_ = q.conn.Close()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.err = errOver
	if !errors.Is(err, io.EOF) {
		q.mu.err = fmt.Errorf("%w: %w", errOver, err)
	}
	q.announceLocked()
}

func (q *QMP) announceLocked() {
	close(q.mu.changed)
	q.mu.changed = make(chan struct{})
}

// Execute gives a command and waits for its answer, which it decodes into
// result unless that is nil. A refusal is a *Refusal.
func (q *QMP) Execute(ctx context.Context, command string, arguments object, result any) error {
	a, err := q.ask(ctx, command, arguments)
	if err == nil && a.Error != nil {
		err = a.Error
	}
	if err == nil && result != nil {
		err = json.Unmarshal(a.Return, result)
	}
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	return nil
}

func (q *QMP) ask(ctx context.Context, command string, arguments object) (answer, error) {
	if arguments == nil {
		arguments = object{}
	}
	mine := make(chan answer, 1)
	q.mu.Lock()
	if q.mu.err != nil {
		defer q.mu.Unlock()
		return answer{}, q.mu.err
	}
	q.mu.id++
	id := q.mu.id
	q.mu.pending[id] = mine
	line := text(object{"execute": command, "arguments": arguments, "id": id}) + "\n"
	_, err := io.WriteString(q.conn, line)
	q.mu.Unlock()
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errOver, err)
	}
	for {
		q.mu.Lock()
		changed, over := q.mu.changed, q.mu.err
		q.mu.Unlock()
		select {
		case a := <-mine:
			return a, nil
		default:
		}
		if over != nil {
			return answer{}, over
		}
		select {
		case a := <-mine:
			return a, nil
		case <-changed:
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		}
	}
}

// Mark is how many events there were so far, for Await.
func (q *QMP) Mark() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.events)
}

// Await waits for an event that matches, among those that came since a Mark.
func (q *QMP) Await(ctx context.Context, mark int, matches func(Event) bool) (Event, error) {
	for {
		q.mu.Lock()
		events, changed, over := q.mu.events[mark:], q.mu.changed, q.mu.err
		q.mu.Unlock()
		for _, e := range events {
			if matches(e) {
				return e, nil
			}
		}
		mark += len(events)
		if over != nil {
			return Event{}, over
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}
