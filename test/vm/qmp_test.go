// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"
)

// fakeQEMU answers on a monitor until the test ends: answer gives the lines
// for a command; nil ends the connection.
func fakeQEMU(t *testing.T, answer func(command string, id int) []string) *QMP {
	t.Helper()
	mine, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close() })
	go func() {
		defer func() { _ = theirs.Close() }()
		_, _ = fmt.Fprintln(theirs, `{"QMP": {"version": {}, "capabilities": []}}`)
		for lines := bufio.NewScanner(theirs); lines.Scan(); {
			var asked struct {
				Execute string
				ID      int
			}
			if json.Unmarshal(lines.Bytes(), &asked) != nil {
				return
			}
			said := []string{fmt.Sprintf(`{"return": {}, "id": %d}`, asked.ID)}
			if asked.Execute != "qmp_capabilities" {
				said = answer(asked.Execute, asked.ID)
			}
			if said == nil {
				return
			}
			for _, line := range said {
				_, _ = fmt.Fprintln(theirs, line)
			}
		}
	}()
	q, err := monitor(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQMP(t *testing.T) {
	q := fakeQEMU(t, func(command string, id int) []string {
		switch command {
		case "query-status":
			return []string{fmt.Sprintf(`{"return": {"status": "running"}, "id": %d}`, id)}
		case "device_del": // the event comes before the answer
			return []string{`{"event": "DEVICE_DELETED", "data": {"device": "data"}}`, fmt.Sprintf(`{"return": {}, "id": %d}`, id)}
		case "system_reset":
			return []string{fmt.Sprintf(`{"error": {"class": "GenericError", "desc": "not now"}, "id": %d}`, id)}
		}
		return nil
	})
	ctx := t.Context()
	if status, err := q.Status(ctx); err != nil || status != "running" {
		t.Errorf("status %q, %v", status, err)
	}
	err := q.SystemReset(ctx)
	if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal.Desc != "not now" {
		t.Errorf("error %v, want a refusal", err)
	}
	mark := q.Mark()
	if err := q.Execute(ctx, "device_del", nil, nil); err != nil {
		t.Fatal(err)
	}
	deleted := func(e Event) bool { return e.Name == "DEVICE_DELETED" }
	if _, err := q.Await(ctx, mark, deleted); err != nil {
		t.Errorf("an event that came already: %v", err)
	}
	// The end of QEMU reaches who waits for an answer, for an event, and who
	// asks later.
	if err := q.Execute(ctx, "end", nil, nil); !errors.Is(err, errOver) {
		t.Errorf("error %v, want %v", err, errOver)
	}
	if _, err := q.Await(ctx, q.Mark(), deleted); !errors.Is(err, errOver) {
		t.Errorf("error %v, want %v", err, errOver)
	}
	if _, err := q.Status(ctx); !errors.Is(err, errOver) {
		t.Errorf("error %v, want %v", err, errOver)
	}
}
