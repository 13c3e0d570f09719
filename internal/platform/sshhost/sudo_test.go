// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"testing"
)

// A user that is not root is made of stubs that come first in the machine's PATH:
// id says so, and sudo does, or refuses, what it is asked for.
const notRoot = `[ "$1" = -u ] && echo 1000 || exec /usr/bin/id "$@"`

func TestSudo(t *testing.T) {
	for _, tc := range []struct {
		name  string
		stubs map[string]string
		want  error
		words []string
	}{
		{name: "allowed", stubs: map[string]string{"id": notRoot, "sudo": `[ "$1 $2" = "-n --" ] || exit 9; shift 2; SUDO=yes exec "$@"`}},
		{name: "password", stubs: map[string]string{"id": notRoot, "sudo": `echo "sudo: a password is required" >&2; exit 1`},
			want: ErrSudoRefused, words: []string{"a password is required", "NOPASSWD"}},
		{name: "single programs only", stubs: map[string]string{"id": notRoot, "sudo": `[ "$3" = /usr/bin/systemctl ]`}, want: ErrSudoRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startServer(t, serverOptions{Path: stubs(t, tc.stubs)})
			h := newHost(t, s.config())
			result, err := h.Run(t.Context(), Command{Script: `printf %s "$SUDO$A"`, Root: true, SecretEnv: map[string]string{"A": "a"}})
			if tc.want != nil {
				wantError(t, err, tc.want, tc.words...)
				_, err = h.Upload(t.Context(), file(directory(t)+"/x", "x", func(f *File) { f.Root = true }))
				wantError(t, err, tc.want)
				return
			}
			if err != nil || string(result.Stdout) != "yesa" {
				t.Fatalf("got %q, %v", result.Stdout, err)
			}
			path := directory(t) + "/x"
			if _, err := h.Upload(t.Context(), file(path, "x", func(f *File) { f.Root = true })); err != nil {
				t.Fatal(err)
			}
			wantFile(t, path, "x")
		})
	}
}

// There is no sudo: the PATH has only what the check needs.
func TestNoSudo(t *testing.T) {
	dir := stubs(t, map[string]string{"id": "echo 1000"})
	s := startServer(t, serverOptions{Path: dir[:len(dir)-len(":/usr/sbin:/usr/bin:/sbin:/bin")]})
	_, err := newHost(t, s.config()).Run(t.Context(), Command{Args: []string{"true"}, Root: true})
	wantError(t, err, ErrNoSudo, "install sudo")
}

func TestRootNeedsNoSudo(t *testing.T) {
	s := startServer(t, serverOptions{Path: stubs(t, map[string]string{"id": "echo 0", "sudo": "exit 1"})})
	if _, err := newHost(t, s.config()).Run(t.Context(), Command{Args: []string{"true"}, Root: true}); err != nil {
		t.Fatal(err)
	}
}
