// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"
)

func (s *server) knownHosts(k testKey) string {
	return knownhosts.Line([]string{fmt.Sprintf("127.0.0.1:%d", s.Port)}, k.Signer.PublicKey()) + "\n"
}

func TestHostKeyPinned(t *testing.T) {
	rsa, ed := newRSAKey(t), newKey(t)
	s := startServer(t, serverOptions{HostKeys: []testKey{rsa, ed}})
	other := newKey(t)
	file := func(name, content string) string { return s.Write(t, name, content) }
	for _, tc := range []struct {
		name  string
		keys  HostKey
		want  error
		words []string
	}{
		{name: "public key", keys: HostKey{Given: []string{ed.Line()}}},
		// A server that has several keys would show another one, were it not asked for this.
		{name: "public key of the type not preferred", keys: HostKey{Given: []string{rsa.Line()}}},
		{name: "line of known_hosts, with whatever name", keys: HostKey{Given: []string{"elsewhere.example " + rsa.Line()}}},
		{name: "fingerprint", keys: HostKey{Given: []string{ed.Fingerprint()}}},
		{name: "fingerprint with type", keys: HostKey{Given: []string{"ssh-rsa " + rsa.Fingerprint()}}},
		{name: "one of several", keys: HostKey{Given: []string{other.Line(), ed.Line()}}},
		{name: "file", keys: HostKey{File: file("known", s.knownHosts(ed))}},
		{name: "file with the type not preferred", keys: HostKey{File: file("known_rsa", s.knownHosts(rsa))}},
		{name: "file with a hashed name", keys: HostKey{File: file("hashed", strings.Replace(s.knownHosts(ed),
			fmt.Sprintf("[127.0.0.1]:%d", s.Port), knownhosts.HashHostname(fmt.Sprintf("[127.0.0.1]:%d", s.Port)), 1))}},

		{name: "wrong key", keys: HostKey{Given: []string{other.Line()}}, want: ErrHostKey,
			words: []string{ed.Fingerprint(), other.Fingerprint(), "the configuration", "ssh-keygen -lf", "no key and no command was sent"}},
		{name: "wrong fingerprint", keys: HostKey{Given: []string{other.Fingerprint()}}, want: ErrHostKey, words: []string{other.Fingerprint()}},
		{name: "wrong key in the file", keys: HostKey{File: file("wrong", "# a comment\n"+s.knownHosts(other))}, want: ErrHostKey,
			words: []string{ed.Fingerprint(), other.Fingerprint(), "wrong:2"}},
		{name: "wrong key in the file is not recorded over", keys: HostKey{File: file("wrong2", s.knownHosts(other)), Record: true}, want: ErrHostKey},
		{name: "revoked", keys: HostKey{File: file("revoked", "@revoked * "+ed.Line()+"\n"+s.knownHosts(ed))}, want: ErrHostKey, words: []string{"revoked:1"}},
		{name: "not in the file", keys: HostKey{File: file("empty", "")}, want: ErrHostKeyUnknown, words: []string{"SHA256:", "at first contact"}},
		{name: "no file", keys: HostKey{File: "/does/not/exist"}, want: ErrKnownHosts},
		{name: "damaged file", keys: HostKey{File: file("damaged", "hello world\n")}, want: ErrKnownHosts, words: []string{"damaged:1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := s.config()
			cfg.BootTimeout = 0 // a wrong key is not tried again for two minutes, but once
			cfg.HostKey = tc.keys
			before := s.Accepted.Load()
			err := newHost(t, cfg).Connect(within(t))
			if tc.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, tc.want, tc.words...)
			if n := s.Accepted.Load() - before; n > 1 {
				t.Errorf("it was tried %d times", n)
			}
		})
	}
}

// The server has no key of the type that is known of it: it shows none, so
// the error says which types it has.
func TestHostKeyOfAnotherType(t *testing.T) {
	s := startServer(t, serverOptions{})
	cfg := s.config()
	old := newRSAKey(t)
	cfg.HostKey.Given = []string{old.Line()}
	wantError(t, newHost(t, cfg).Connect(t.Context()), ErrHostKey, old.Fingerprint(), "ssh-ed25519")
}

// TestHostKeysComeOneByOne: a machine that makes its keys while it starts tells them one by one.
// It is asked again while it shows none that it told.
func TestHostKeysComeOneByOne(t *testing.T) {
	s := startServer(t, serverOptions{})
	other, shown := newRSAKey(t).Line(), s.HostKeys[0].Line()
	for name, tc := range map[string]struct {
		told [][]string // at each time that it is asked again; the last from then on
		fail error
		boot time.Duration
		want error
	}{
		"the one that it shows is told later": {told: [][]string{{}, {other}, {other, shown}}},
		"never":                               {told: [][]string{{other}}, boot: time.Second, want: ErrHostKey},
		"it cannot be asked":                  {fail: os.ErrDeadlineExceeded, boot: time.Second, want: os.ErrDeadlineExceeded},
		"nobody waits":                        {told: [][]string{{other, shown}}, boot: -1, want: ErrHostKey},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := s.config()
			cfg.BootTimeout = tc.boot
			asked := 0
			cfg.HostKey = HostKey{Given: []string{other}, Again: func(context.Context) ([]string, error) {
				asked++
				if tc.fail != nil {
					return nil, tc.fail
				}
				return tc.told[min(asked, len(tc.told))-1], nil
			}}
			err := newHost(t, cfg).Connect(t.Context())
			if !errors.Is(err, tc.want) || tc.want != nil && !errors.Is(err, ErrHostKey) {
				t.Errorf("%v", err)
			}
			if (asked == 0) != (tc.boot < 0) {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

func TestFirstContact(t *testing.T) {
	s := startServer(t, serverOptions{})
	file := filepath.Join(t.TempDir(), "holdfast", "known_hosts")
	cfg := s.config()
	cfg.HostKey = HostKey{File: file, Record: true}
	if err := newHost(t, cfg).Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := s.knownHosts(s.HostKeys[0]); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for path, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700 | os.ModeDir} {
		if fi, err := os.Stat(path); err != nil || fi.Mode() != want {
			t.Errorf("%s: %v, %v", path, fi.Mode(), err)
		}
	}

	// The second contact knows it, and adds nothing.
	if err := newHost(t, cfg).Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(file); string(again) != string(got) {
		t.Errorf("the second contact wrote %q", again)
	}

	// A machine with another key at the same address is refused now.
	s2 := startServer(t, serverOptions{})
	cfg2 := s2.config()
	cfg2.HostKey = cfg.HostKey
	text := strings.Replace(string(got), fmt.Sprint(s.Port), fmt.Sprint(s2.Port), 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, newHost(t, cfg2).Connect(t.Context()), ErrHostKey, s.HostKeys[0].Fingerprint(), s2.HostKeys[0].Fingerprint(), file+":1")
}

// A host that has seen the machine notices on its next connection that another one answers.
func TestHostKeyChangesLater(t *testing.T) {
	old, other := startServer(t, serverOptions{}), startServer(t, serverOptions{})
	r := startRelay(t, old.Port)
	file := filepath.Join(t.TempDir(), "known_hosts")
	cfg := through(r, old.config())
	cfg.Repeats = 2
	cfg.HostKey = HostKey{File: file, Record: true}
	h := newHost(t, cfg)
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	port := r.Port
	r.Leave()
	r.Cut()
	startRelayOn(t, port, other.Port)
	_, err := h.Run(within(t), Command{Args: []string{"true"}, Idempotent: true})
	wantError(t, err, ErrHostKey, other.HostKeys[0].Fingerprint())
	if n := other.Accepted.Load(); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
}

// A crash left a line without its end: the next one does not become part of it.
func TestRecordAfterATornLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	a, b := newKey(t), newKey(t)
	if err := os.WriteFile(file, []byte("host-a "+a.Line()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := record(file, "host-b:22", b.Signer.PublicKey()); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(file)
	if want := "host-a " + a.Line() + "\nhost-b " + b.Line() + "\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParsePin(t *testing.T) {
	k := newKey(t)
	for _, tc := range []struct {
		in   string
		want pin
		err  error
	}{
		{k.Line(), pin{"ssh-ed25519", k.Fingerprint()}, nil},
		{"  " + k.Line() + " comment with words\n", pin{"ssh-ed25519", k.Fingerprint()}, nil},
		{"[a]:2222,b " + k.Line(), pin{"ssh-ed25519", k.Fingerprint()}, nil},
		{k.Fingerprint(), pin{"", k.Fingerprint()}, nil},
		{"ssh-ed25519 " + k.Fingerprint(), pin{"ssh-ed25519", k.Fingerprint()}, nil},
		{"", pin{}, errEmpty},
		{"SHA256:short", pin{}, errPinForm},
		{"MD5:aa:bb", pin{}, errPinForm},
		{"ssh-rsa " + strings.Fields(k.Line())[1], pin{}, errPinForm},
		{"@cert-authority * " + k.Line(), pin{}, errPinMarker},
		{k.Line() + "\n" + k.Line(), pin{}, errPinLines},
	} {
		got, err := parsePin(tc.in)
		if got != tc.want || (err == nil) != (tc.err == nil) {
			t.Errorf("%q: got %v, %v; want %v, %v", tc.in, got, err, tc.want, tc.err)
		}
		if tc.err != nil {
			wantError(t, err, tc.err)
		}
	}
}

func FuzzParsePin(f *testing.F) {
	f.Add("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
	f.Add("host ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl c")
	f.Add("@revoked * ssh-rsa x")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePin(s)
		if err != nil {
			return
		}
		if !isFingerprint(p.fingerprint) {
			t.Fatalf("%q is a pin of fingerprint %q", s, p.fingerprint)
		}
		again, err := parsePin(p.String())
		if err != nil || again != p {
			t.Fatalf("%q became %v, %v, was %v", s, again, err, p)
		}
	})
}
