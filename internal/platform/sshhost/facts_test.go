// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFacts(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	dir := t.TempDir()
	f, err := h.Facts(t.Context(), dir+"/not/there/yet")
	if err != nil {
		t.Fatal(err)
	}
	if f.System != "Linux" || goarch(f.Machine) != runtime.GOARCH || f.UID != os.Geteuid() || f.Where != dir || f.Free == 0 {
		t.Errorf("got %+v", f)
	}
	if off := f.Clock.Abs() - f.ClockError; off > time.Second {
		t.Errorf("the machine's clock is this one, and %v off", off)
	}
	if n := s.Accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestFactsOfAnotherMachine(t *testing.T) {
	s := startServer(t, serverOptions{Path: stubs(t, map[string]string{"id": notRoot, "sudo": "exit 1",
		"date": "echo 1000000000.000000000", "uname": `case $1 in -s) echo Linux;; -r) echo 4.19.0-27-amd64;; -m) echo riscv64;; esac`})})
	_, err := newHost(t, s.config()).Facts(t.Context(), "relative")
	wantError(t, err, ErrConfig)
	f, err := newHost(t, s.config()).Facts(t.Context(), "/usr")
	if err != nil {
		t.Fatal(err)
	}
	want := []error{ErrArchitecture, ErrKernel, ErrClock, ErrSudoRefused}
	problems := f.Check("m1", Requirements{KernelMajor: 5, KernelMinor: 4, ClockOff: time.Minute, GOARCH: "amd64", Root: true})
	if len(problems) != len(want) {
		t.Fatalf("got %v", problems)
	}
	for i, class := range want {
		wantError(t, problems[i], class)
	}
}

const factsText = `Welcome to the machine!
holdfast: time=1700000000.500000000
holdfast: os=Linux
holdfast: kernel=6.1.0-28-amd64
holdfast: arch=x86_64
holdfast: uid=1000
holdfast: systemd=systemd 252 (252.39-1~deb12u1)
holdfast: root=sudo
holdfast: free=5000000000
holdfast: where=/usr/local
`

func TestParseFacts(t *testing.T) {
	before := time.Unix(1700000000, 0)
	got, err := parseFacts([]byte(factsText), before, before.Add(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	want := Facts{System: "Linux", Kernel: "6.1.0-28-amd64", Machine: "x86_64", Systemd: 252, UID: 1000, Root: RootSudo, Free: 5000000000,
		Where: "/usr/local", Clock: -500 * time.Millisecond, ClockError: time.Second + time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for line := range strings.Lines(factsText) {
		key, _, found := strings.Cut(strings.TrimPrefix(line, answerMark), "=")
		if !found || key == "systemd" {
			continue
		}
		_, err := parseFacts([]byte(strings.Replace(factsText, line, "", 1)), before, before)
		wantError(t, err, ErrAnswer, key)
	}
}

func TestCheck(t *testing.T) {
	good := Facts{System: "Linux", Kernel: "5.10.0", Machine: "x86_64", Systemd: 252, Root: RootItself, Free: 2 << 30, Where: "/usr", ClockError: time.Second}
	for _, tc := range []struct {
		name   string
		change func(*Facts)
		want   error
		words  []string
	}{
		{"good", func(*Facts) {}, nil, nil},
		{"another system", func(f *Facts) { f.System = "FreeBSD" }, ErrSystem, []string{"FreeBSD", "Linux"}},
		{"older kernel", func(f *Facts) { f.Kernel = "5.3.18-150300" }, ErrKernel, []string{"5.3.18", "5.4"}},
		{"oldest that will do", func(f *Facts) { f.Kernel = "5.4" }, nil, nil},
		{"kernel of a new age", func(f *Facts) { f.Kernel = "10.0-rc1" }, nil, nil},
		{"kernel that says nothing", func(f *Facts) { f.Kernel = "custom" }, ErrKernel, nil},
		{"older systemd", func(f *Facts) { f.Systemd = 251 }, ErrSystemd, []string{"251", "252"}},
		{"no systemd", func(f *Facts) { f.Systemd = 0 }, ErrSystemd, []string{"not started by systemd"}},
		{"clock behind", func(f *Facts) { f.Clock = -time.Hour }, ErrClock, []string{"1h0m0s behind", "set-ntp"}},
		{"clock ahead", func(f *Facts) { f.Clock = 2 * time.Minute }, ErrClock, []string{"2m0s ahead"}},
		{"clock off by what cannot be known", func(f *Facts) { f.Clock = 61 * time.Second; f.ClockError = 5 * time.Second }, nil, nil},
		{"full", func(f *Facts) { f.Free = 100 << 20 }, ErrDiskFull, []string{"100 MiB in /usr", "1024 MiB"}},
		{"arm", func(f *Facts) { f.Machine = "aarch64" }, ErrArchitecture, []string{"GOARCH=arm64"}},
		{"what Go does not know", func(f *Facts) { f.Machine = "sparc64" }, ErrArchitecture, []string{"sparc64"}},
		{"no sudo", func(f *Facts) { f.Root = RootMissing }, ErrNoSudo, nil},
		{"sudo with a password", func(f *Facts) { f.Root = RootRefused }, ErrSudoRefused, nil},
		{"sudo", func(f *Facts) { f.Root = RootSudo }, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := good
			tc.change(&f)
			problems := f.Check("m1", DefaultRequirements("amd64"))
			if tc.want == nil {
				if len(problems) > 0 {
					t.Errorf("got %v", problems)
				}
				return
			}
			if len(problems) != 1 {
				t.Fatalf("got %v", problems)
			}
			wantError(t, problems[0], tc.want, append(tc.words, "m1")...)
		})
	}
	// Everything at once, so that a person mends it in one go.
	bad := Facts{System: "Linux", Kernel: "4.1", Machine: "mips", Clock: time.Hour, Root: RootMissing}
	if got := bad.Check("m1", DefaultRequirements("amd64")); len(got) != 6 {
		t.Errorf("got %v", got)
	}
}

func FuzzParseFacts(f *testing.F) {
	f.Add([]byte(factsText))
	f.Add([]byte("holdfast: time=99999999999999999999.5\nholdfast: =\nholdfast: x"))
	now := time.Unix(1700000000, 0)
	f.Fuzz(func(t *testing.T, out []byte) {
		facts, err := parseFacts(out, now, now)
		if err != nil {
			if !errors.Is(err, ErrAnswer) {
				t.Fatal(err)
			}
			return
		}
		if facts.Free < 0 || facts.UID < 0 || facts.Systemd < 0 || facts.Where == "" {
			t.Fatalf("%+v", facts)
		}
		facts.Check("m", DefaultRequirements("amd64")) // must not panic
	})
}
