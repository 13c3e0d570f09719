// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"testing"
)

// TestNetwork has three machines on a wire: each hears the others, not itself,
// and not whom it is cut from. Seen to fail with the look at cut taken out of
// forward, and with the comparison to the sender.
func TestNetwork(t *testing.T) {
	var n Network
	ends := map[string]net.Conn{}
	for _, host := range []string{"a", "b", "c"} {
		file, err := n.connect(host)
		if err != nil {
			t.Fatal(err)
		}
		ends[host] = open(t, file)
	}
	say := func(from, text string) {
		t.Helper()
		if _, err := ends[from].Write(frame(text)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(at string, want ...string) {
		t.Helper()
		for _, w := range want {
			got, err := readFrame(ends[at])
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, frame(w)) {
				t.Fatalf("%s heard %q, want %q", at, got, w)
			}
		}
	}
	say("a", "one")
	hear("b", "one")
	hear("c", "one")
	n.Cut("a", "b")
	say("a", "two")
	hear("c", "two") // and so it was not forwarded to b
	n.Join("b", "a")
	say("a", "three")
	hear("b", "three")
	hear("c", "three")
	say("c", "four")
	hear("a", "four") // nothing of its own before
	hear("b", "four")
}

func TestNetworkPlaces(t *testing.T) {
	var n Network
	if a, b := n.Addr("a"), n.Addr("b"); a == b || n.Addr("a") != a {
		t.Errorf("a is at %s and %s, b at %s", a, n.Addr("a"), b)
	}
	if a, b := n.mac("a"), n.mac("b"); a == b || n.mac("a") != a {
		t.Errorf("a has %s and %s, b %s", a, n.mac("a"), b)
	}
}

// TestNetworkOverlong ends the port of a QEMU that speaks something else.
func TestNetworkOverlong(t *testing.T) {
	var n Network
	file, err := n.connect("a")
	if err != nil {
		t.Fatal(err)
	}
	end := open(t, file)
	if _, err := end.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if got, err := readFrame(end); err == nil {
		t.Errorf("heard %q, want the end", got)
	}
}

func open(t *testing.T, file *os.File) net.Conn {
	t.Helper()
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func frame(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}
