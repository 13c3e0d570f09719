// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRun(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	odd := "it's $HOME `id` \\\\ \"x\" \n * ! #"
	for _, tc := range []struct {
		name string
		cmd  Command
		want string
	}{
		{"arguments arrive as they are", Command{Args: []string{"printf", "%s|", odd, "", "-n"}}, odd + "||-n|"},
		{"environment, too", Command{Script: `printf %s "$A"`, Env: map[string]string{"A": odd}}, odd},
		{"standard input", Command{Args: []string{"cat"}, Stdin: strings.NewReader("a\x00b")}, "a\x00b"},
		{"secrets come before standard input", Command{Script: `printf '%s/%s/' "$A" "$B"; cat`, SecretEnv: map[string]string{"A": " a'\\ ", "B": "b"}, Stdin: strings.NewReader("rest\n")}, " a'\\ /b/rest\n"},
		{"input that nobody reads", Command{Args: []string{"true"}, Stdin: bytes.NewReader(make([]byte, 8<<20))}, ""},
		{"a time-out that does not come", Command{Args: []string{"echo", "x"}, Timeout: time.Minute}, "x\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result, err := h.Run(within(t), tc.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(result.Stdout)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if n := s.Accepted.Load(); n != 1 {
		t.Errorf("%d connections were made, want 1", n)
	}
}

// No secret is in the argument list of any process on the machine while the command runs.
// Seen to fail with SecretEnv written as Env is.
func TestSecretsAreInNoProcessList(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	const secret = "correct-horse-battery"
	result, err := h.Run(t.Context(), Command{Script: `printf '%s\n' "$TOKEN"; cat /proc/[0-9]*/cmdline | tr '\0' ' '`,
		SecretEnv: map[string]string{"TOKEN": secret}, OutputLimit: 4 << 20})
	if err != nil && exitCode(err) == 0 {
		t.Fatal(err)
	}
	if got := strings.Count(string(result.Stdout), secret); got != 1 {
		t.Errorf("the secret is there %d times, want once, printed by the command", got)
	}
}

func TestExitStatus(t *testing.T) {
	s := startServer(t, serverOptions{})
	cfg := s.config()
	cfg.Secrets = []string{"hunter2hunter2"}
	h := newHost(t, cfg)

	_, err := h.Run(t.Context(), Command{What: "making a file system", Script: "echo out; echo no such disk >&2; exit 32"})
	var exit *ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&ExitError{What: "making a file system", Code: 32, Tail: "no such disk\n"}, exit); diff != "" {
		t.Error(diff)
	}
	if got, want := err.Error(), "making a file system ended with exit status 32: no such disk"; got != want {
		t.Errorf("got %q", got)
	}

	_, err = h.Run(t.Context(), Command{Script: "kill -9 $$"})
	if !errors.As(err, &exit) || exit.Signal != "KILL" {
		t.Errorf("got %v", err)
	}

	// Only the end is kept, and no secret is in it: not of the host, not of the command,
	// not of a program that quotes it, and no rest of one that the cut went through.
	result, err := h.Run(t.Context(), Command{Script: `i=0; while [ $i -lt 2000 ]; do echo "$A hunter2hunter2" >&2; i=$((i+1)); done; printf %s "$A" | base64 >&2; echo the end >&2; exit 1`,
		SecretEnv: map[string]string{"A": "s3cret-of-the-command"}, OutputLimit: 1000})
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if len(result.Stderr) != 1000 || !result.Cut {
		t.Errorf("%d bytes were kept, cut %v", len(result.Stderr), result.Cut)
	}
	for _, fragment := range []string{"hunter", "cret-of", "the-command", "czNjcm"} {
		if strings.Contains(err.Error(), fragment) {
			t.Errorf("%q is in the error: %v", fragment, err)
		}
	}
	if !strings.HasSuffix(err.Error(), "the end") {
		t.Errorf("the end is missing: %v", err)
	}
}

func TestRunEnds(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if _, err := h.Run(t.Context(), Command{Args: []string{"mkfifo", fifo}}); err != nil {
		t.Fatal(err)
	}

	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(within(t))
		var wg sync.WaitGroup
		wg.Go(func() {
			f, err := os.Open(fifo) // until the command has opened it
			if err != nil {
				t.Error(err)
				return
			}
			cancel()
			// The command holds the other end until it is killed: at once, or, as sshd
			// signals nobody of a root login, by its time-out.
			if _, err := io.Copy(io.Discard, f); err != nil {
				t.Error(err)
			}
			_ = f.Close()
		})
		_, err := h.Run(ctx, Command{Args: []string{"sh", "-c", "exec sleep 1000 > " + fifo}, Timeout: 2 * time.Second})
		wantError(t, err, context.Canceled)
		wg.Wait()
	})
	t.Run("after its time-out", func(t *testing.T) {
		_, err := h.Run(within(t), Command{What: "sleeping", Args: []string{"sleep", "1000"}, Timeout: time.Millisecond})
		wantError(t, err, ErrTimeout, "sleeping")
	})
	// The connection is still good for others.
	if got := output(t, h, "echo ok"); got != "ok" || s.Accepted.Load() != 1 {
		t.Errorf("got %q on connection %d", got, s.Accepted.Load())
	}
}

// The machine ends the command where the connection is gone and nobody can tell
// it to. Seen to hang without timeout(1) in the command line.
func TestTimeoutWithoutConnection(t *testing.T) {
	s := startServer(t, serverOptions{})
	r := startRelay(t, s.Port)
	h := newHost(t, through(r, s.config()))
	fifo := filepath.Join(t.TempDir(), "fifo")
	if _, err := h.Run(t.Context(), Command{Args: []string{"mkfifo", fifo}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		f, err := os.Open(fifo)
		if err != nil {
			t.Error(err)
			return
		}
		r.Cut()
		_, _ = io.Copy(io.Discard, f) // until the command has ended
		_ = f.Close()
	})
	_, err := h.Run(within(t), Command{Script: "exec sleep 1000 > " + quote(fifo), Timeout: 2 * time.Second})
	wantError(t, err, ErrConnectionLost)
	wg.Wait()
}

func TestReconnect(t *testing.T) {
	s := startServer(t, serverOptions{})
	r := startRelay(t, s.Port)
	cfg := through(r, s.config())
	cfg.Repeats = 1
	h := newHost(t, cfg)
	file := filepath.Join(t.TempDir(), "runs")
	cut := func() { r.Cut() }

	// It breaks in the command: what is not idempotent is not done twice.
	run := func(idempotent bool) error {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if _, err := h.Run(t.Context(), Command{Args: []string{"mkfifo", fifo}}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			f, err := os.Open(fifo)
			if err != nil {
				t.Error(err)
				return
			}
			cut()
			_ = f.Close()
		})
		defer wg.Wait()
		_, err := h.Run(within(t), Command{Idempotent: idempotent, Env: map[string]string{"FILE": file, "FIFO": fifo}, Stdin: strings.NewReader("input"),
			Script: `input=$(cat); echo "$input" >> "$FILE"; [ "$(wc -l < "$FILE")" -ge 2 ] || { exec 3> "$FIFO"; exec sleep 10; }`})
		return err
	}
	wantError(t, run(false), ErrConnectionLost)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := run(true); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != "input\ninput\n" {
		t.Errorf("got %q", got)
	}

	// It broke between commands.
	r.Cut()
	if _, err := h.Run(within(t), Command{Args: []string{"true"}, Idempotent: true}); err != nil {
		t.Fatal(err)
	}
}

func TestUnreadableInput(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	broken := errors.New("the file cannot be read")
	_, err := h.Run(within(t), Command{Args: []string{"cat"}, Stdin: io.MultiReader(strings.NewReader("x"), failing{broken})})
	wantError(t, err, broken)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// More commands at once than sshd allows sessions: they wait for each other.
// Seen to fail with maxSessions at 20.
func TestManyAtOnce(t *testing.T) {
	s := startServer(t, serverOptions{Lines: []string{"MaxSessions 6"}})
	h := newHost(t, s.config())
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if _, err := h.Run(within(t), Command{Args: []string{"sleep", "1"}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestRefusedCommands(t *testing.T) {
	for _, c := range []Command{
		{Args: []string{"a\x00b"}},
		{Args: []string{"a"}, Env: map[string]string{"A=B": ""}},
		{Args: []string{"a"}, SecretEnv: map[string]string{"A": "two\nlines"}},
	} {
		_, _, err := c.commandLine(false)
		wantError(t, err, ErrConfig)
		if strings.Contains(err.Error(), "two") {
			t.Errorf("the secret is in the error: %v", err)
		}
	}
}

func TestRedact(t *testing.T) {
	key := "-----BEGIN X-----\nabcdefghijkl\nmnopqrstuvwx\n-----END X-----\n"
	r := newRedactor([]string{"hunter2", "unter2x", "it's", key, ""})
	for _, tc := range []struct {
		in   string
		cut  bool
		want string
	}{
		{"nothing", false, "nothing"},
		{"a hunter2 b", false, "a " + redacted + " b"},
		{"hunter2x", false, redacted}, // two that overlap are gone as a whole
		{`echo 'it'\''s'`, false, "echo '" + redacted + "'"},
		{"line 2: mnopqrstuvwx", false, "line 2: " + redacted},
		{"aHVudGVyMg==", false, redacted},
		{key, false, redacted},
	} {
		if got := r.cleanTail(tc.in, tc.cut); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.in, got, tc.want)
		}
	}
	// Wherever the cut goes through a secret, nothing of it is left.
	r = newRedactor([]string{"0123456789"})
	text := "0123456789 and 0123456789 0123456789, words"
	for i := range text {
		got := r.cleanTail(text[i:], i > 0)
		if strings.ContainsAny(got, "0123456789") {
			t.Errorf("cut at %d: %q", i, got)
		}
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("it's")
	f.Fuzz(func(t *testing.T, s string) {
		q := quote(s)
		if q[0] != '\'' || strings.ReplaceAll(q[1:len(q)-1], `'\''`, "'") != s {
			t.Fatalf("%q became %q", s, q)
		}
	})
}
