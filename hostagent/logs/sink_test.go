// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

// standard error that can be looked at while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// bench is the sinks of one logs.yaml on a disk in memory, in /d.
type bench struct {
	t       *testing.T
	fs      vfs.FS
	metrics *telemetry.Sink
	stderr  buffer
	fatal   chan error // of Fatal, one deep
	logs    *Logs
	log     hclog.Logger
}

func open(t *testing.T, fsys vfs.FS, maxSync time.Duration, text string) *bench {
	t.Helper()
	b := &bench{t: t, fs: fsys, metrics: telemetry.New(), fatal: make(chan error, 1)}
	var err error
	b.logs, err = Open(b.parse(text), Options{
		Name: "holdfast", Level: hclog.Debug, Stderr: &b.stderr, FS: fsys, Metrics: b.metrics, MaxSync: maxSync,
		Fatal: func(err error) { b.fatal <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.log = b.logs.Logger()
	return b
}

func (b *bench) parse(text string) *Config {
	b.t.Helper()
	c, err := Parse([]byte(text), "/d")
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// lines logs n lines, numbered from first on.
func (b *bench) lines(first, n int) {
	for i := first; i < first+n; i++ {
		b.log.Info("line", "n", fmt.Sprintf("%06d", i))
	}
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.logs.Close(b.t.Context()); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) flush() {
	b.t.Helper()
	if err := b.logs.Flush(b.t.Context()); err != nil {
		b.t.Error(err)
	}
}

func content(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	b := make([]byte, size)
	if err == nil {
		_, err = f.ReadAt(b, 0)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// metric is a series of the sink as Prometheus gets it.
func (b *bench) metric(name, sink string) int {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.metrics.Prometheus().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	for line := range strings.Lines(w.Body.String()) {
		if v, ok := strings.CutPrefix(line, fmt.Sprintf("%s{sink=%q} ", name, sink)); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				b.t.Fatal(err)
			}
			return int(n)
		}
	}
	b.t.Fatalf("no metric %s of %s", name, sink)
	return 0
}

var (
	numberRE = regexp.MustCompile(`n=(\d{6})`)
	noteRE   = regexp.MustCompile(`were dropped here.*dropped=(\d+)`)
)

// story is a log in short: the ranges of its numbers, and "-N" for a note of N
// dropped lines.
func story(log string) string {
	var parts []string
	first, last := -1, -1
	end := func() {
		if first >= 0 {
			parts = append(parts, fmt.Sprintf("%d..%d", first, last))
		}
		first = -1
	}
	for line := range strings.Lines(log) {
		if m := noteRE.FindStringSubmatch(line); m != nil {
			end()
			parts = append(parts, "-"+m[1])
		}
		m := numberRE.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		if first < 0 || n != last+1 {
			end()
			first = n
		}
		last = n
	}
	end()
	return strings.Join(parts, " ")
}

const fileSink = "file-groups.default"

// The disk hangs; a caller does not. What does not fit is the oldest, is counted
// exactly and told at its place, and the order stays. A sink that hangs takes
// nothing from another.
//
// With s.out.write called by offer itself, the first call of the test never
// returned: synctest told of a deadlock.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewStall(vfstest.NewMem("/d"))
		b := open(t, disk, 0, `
file-defaults:
  dir: /d
  buffering: {max-staleness: 1s, flush-trigger-size: 512B, max-buffer-size: 4KiB}`)
		b.lines(0, 5)
		b.flush()
		hang := disk.Hang(vfstest.Match{Kind: vfstest.Write}, vfstest.Before)
		b.lines(5, 20)
		synctest.Wait() // some of them are on their way
		b.lines(25, 980)
		synctest.Wait()
		if len(hang.Blocked()) != 1 {
			t.Fatalf("blocked: %v", hang.Blocked())
		}
		if got := b.metric("log_buffered_bytes", fileSink); got > 4<<10 || got < 3<<10 {
			t.Errorf("%d bytes are buffered", got)
		}
		dropped := b.metric("log_messages_dropped", fileSink)
		if err := b.logs.Flush(expired(t)); err == nil {
			t.Error("a flush came back while the disk hung")
		}
		hang.Release()
		b.flush()
		b.lines(1005, 3)
		b.close()

		got := story(content(t, disk, "/d/holdfast.log"))
		m := regexp.MustCompile(`^0..(\d+) -(\d+) (\d+)..1007$`).FindStringSubmatch(got)
		if m == nil {
			t.Fatalf("the file: %s", got)
		}
		last, _ := strconv.Atoi(m[1])
		told, _ := strconv.Atoi(m[2])
		next, _ := strconv.Atoi(m[3])
		if told != dropped || next-last-1 != dropped {
			t.Errorf("the file: %s; %d lines were counted", got, dropped)
		}
		if got := story(b.stderr.String()); got != "0..1007" {
			t.Errorf("standard error: %s", got)
		}
		if got := b.metric("log_buffered_bytes", fileSink); got != 0 {
			t.Errorf("%d bytes are left", got)
		}
	})
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// Whatever of a file hangs, a caller does not wait, also without buffering, and
// neither does the process's start (beyond its bound) or end.
func TestStalledCalls(t *testing.T) {
	for _, kind := range []vfstest.Kind{vfstest.MkdirAll, vfstest.Create, vfstest.Size, vfstest.Write, vfstest.Rename, vfstest.Close, vfstest.List, vfstest.Remove} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.NewStall(vfstest.NewMem("/d"))
				hang := disk.Hang(vfstest.Match{Kind: kind}, vfstest.Before)
				b := open(t, disk, 0, "file-defaults: {dir: /d, max-file-size: 1KiB, max-group-size: 2KiB}")
				for i := range 100 {
					b.lines(i, 1)
					synctest.Wait() // each line is a write
				}
				if len(hang.Blocked()) != 1 {
					t.Fatalf("blocked: %v", hang.Blocked())
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := b.logs.Close(ctx); err == nil || !strings.Contains(err.Error(), fileSink) {
					t.Errorf("close: %v", err)
				}
				if got := story(b.stderr.String()); got != "0..99" {
					t.Errorf("standard error: %s", got)
				}
				disk.Release()
			})
		})
	}
}

// Lines are written when there are enough, or when the first is old enough.
func TestBuffering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewMem("/d")
		b := open(t, disk, 0, `
file-defaults:
  dir: /d
  buffering: {max-staleness: 3s, flush-trigger-size: 1KiB, max-buffer-size: 10KiB}`)
		defer b.close()
		is := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := story(content(t, disk, "/d/holdfast.log")); got != want {
				t.Errorf("after %v: %q, want %q", time.Since(start()), got, want)
			}
		}
		b.lines(0, 1)
		time.Sleep(2 * time.Second)
		b.lines(1, 1)
		time.Sleep(999 * time.Millisecond)
		is("")
		time.Sleep(time.Millisecond) // the first is 3 s old, the second 1 s
		is("0..1")
		time.Sleep(time.Second)
		b.lines(2, 10)
		is("0..1")
		b.lines(12, 10) // more than 1 KiB by now
		is("0..21")
		b.lines(22, 1)
		b.flush()
		is("0..22")
		if got := story(b.stderr.String()); got != "0..22" { // which is not buffered
			t.Errorf("standard error: %s", got)
		}
	})
}

// start is the time at which a bubble of synctest begins.
func start() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// A write that takes longer than allowed ends the process, once, after the other
// sinks had a moment for its last words; standard error never does.
//
// Without the timer of watched, the bubble ended with nobody awake.
func TestFatal(t *testing.T) {
	for _, buffering := range []string{"NONE", "{max-staleness: 1s}"} {
		t.Run(buffering, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.NewStall(vfstest.NewMem("/d"))
				b := open(t, disk, 20*time.Second, "file-defaults: {dir: /d, buffering: "+buffering+"}\nsinks: {file-groups: {default: {}, other: {}}}")
				defer b.close()
				defer disk.Release()
				hang := disk.Hang(vfstest.Match{Kind: vfstest.Write, Name: "holdfast.log"}, vfstest.Before)
				b.lines(0, 1)
				time.Sleep(time.Second) // it is written by now
				hang.Wait(1)
				began := time.Now()
				time.Sleep(20*time.Second - 2*time.Second)
				select {
				case err := <-b.fatal:
					t.Fatalf("%v after %v", err, time.Since(began))
				default:
				}
				err := <-b.fatal
				if !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "/d/holdfast.log") {
					t.Error(err)
				}
				if d := time.Since(began); d > 20*time.Second+lastWords {
					t.Errorf("after %v", d)
				}
				for name, log := range map[string]string{"standard error": b.stderr.String(), "the other file": content(t, disk, "/d/holdfast-other.log")} {
					if !strings.Contains(log, "ending the process") {
						t.Errorf("%s: %s", name, log)
					}
				}
			})
		})
	}
	t.Run("standard error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			free := make(chan struct{})
			l, err := Open(Default(), Options{Level: hclog.Info, Stderr: hung{free}, MaxSync: time.Second, Fatal: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			for range 100_000 {
				l.Logger().Info("a line that is long enough to fill it: ................................................................")
			}
			time.Sleep(time.Minute)
			if _, err := l.Stderr().Write([]byte("Error: as well\n")); err != nil {
				t.Error(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := l.Close(ctx); err == nil {
				t.Error("it was written")
			}
			close(free)
		})
	})
}

// hung is a standard error whose disk hangs.
type hung struct{ free chan struct{} }

func (h hung) Write(p []byte) (int, error) {
	<-h.free
	return len(p), nil
}

// A full disk: lines are tried again, given up, counted and told; the other sinks
// hear of it once.
func TestFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewFaults(vfstest.NewMem("/d"))
		b := open(t, disk, 0, "file-defaults: {dir: /d}")
		b.lines(0, 3)
		b.flush()
		full := disk.Add(vfstest.Fault{Match: vfstest.Match{Kind: vfstest.Write}, Err: syscall.ENOSPC})
		b.lines(3, 1)
		b.flush()
		b.lines(4, 4)
		b.flush()
		full.Remove()
		b.lines(8, 2)
		b.close()
		log := content(t, disk, "/d/holdfast.log")
		if got := story(log); got != "0..2 -6 8..9" { // 3..7, and the line that told of the failure
			t.Errorf("the file: %s\n%s", got, log)
		}
		if got := b.metric("log_messages_dropped", fileSink); got != 6 {
			t.Errorf("%d lines were counted", got)
		}
		if got := b.metric("log_sink_errors", fileSink); got < 2*fileAttempts {
			t.Errorf("%d errors were counted", got)
		}
		if n := strings.Count(b.stderr.String(), "a log sink fails: sink=file-groups.default error=\"no space"); n != 1 {
			t.Errorf("told %d times:\n%s", n, b.stderr.String())
		}
	})
}

// A try that comes after a short one writes over what that one left.
func TestTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewFaults(vfstest.NewMem("/d"))
		b := open(t, disk, 0, "file-defaults: {dir: /d}")
		disk.Add(vfstest.Fault{Match: vfstest.Match{Kind: vfstest.Write}, Err: syscall.EIO, Times: 2, Short: 30})
		b.lines(0, 1)
		b.flush()
		b.lines(1, 1)
		b.close()
		log := content(t, disk, "/d/holdfast.log")
		if got := story(log); got != "0..1" || strings.Count(log, "\n") != 3 {
			t.Errorf("%s\n%s", got, log)
		}
	})
}

// Text is as hclog writes it, and JSON has the fields; level and filter both count.
func TestFormats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewMem("/d")
		b := open(t, disk, 0, `
file-defaults: {dir: /d}
sinks:
  file-groups: {default: {}, json: {format: json}, errors: {filter: ERROR}}
  stderr: {filter: NONE}`)
		part := b.log.With("partition", "p2").Named("raft")
		part.Info("entering leader state", "term", 7, "took", 1500*time.Millisecond)
		b.log.Trace("below the level")
		part.Error("cannot", "error", errors.New("no space"))
		b.log.SetLevel(hclog.Error)
		b.log.Warn("below the new level")
		b.log.SetLevel(hclog.Trace)
		b.log.Trace("now")
		if _, err := fmt.Fprintln(b.logs.Stderr(), "Error: not a line of the log"); err != nil {
			t.Error(err)
		}
		b.close()
		want := `2000-01-01T00:00:00.000Z [INFO]  holdfast.raft: entering leader state: partition=p2 term=7 took=1.5s
2000-01-01T00:00:00.000Z [ERROR] holdfast.raft: cannot: partition=p2 error="no space"
2000-01-01T00:00:00.000Z [TRACE] holdfast: now
`
		if d := cmp.Diff(want, strings.ReplaceAll(content(t, disk, "/d/holdfast.log"), "+0000", "Z")); d != "" {
			t.Error(d)
		}
		json := `{"@level":"info","@message":"entering leader state","@module":"holdfast.raft","@timestamp":"2000-01-01T00:00:00.000000Z","partition":"p2","term":7,"took":1500000000}
{"@level":"error","@message":"cannot","@module":"holdfast.raft","@timestamp":"2000-01-01T00:00:00.000000Z","error":"no space","partition":"p2"}
{"@level":"trace","@message":"now","@module":"holdfast","@timestamp":"2000-01-01T00:00:00.000000Z"}
`
		if d := cmp.Diff(json, content(t, disk, "/d/holdfast-json.log")); d != "" {
			t.Error(d)
		}
		if got := strings.Count(content(t, disk, "/d/holdfast-errors.log"), "\n"); got != 1 {
			t.Errorf("%d errors", got)
		}
		if got := b.stderr.String(); got != "Error: not a line of the log\n" {
			t.Errorf("standard error: %s", got)
		}
	})
}

// A line after a new configuration goes to the new sinks, the ones before to the old,
// and none is lost between: two on one file do not write at once, which they did
// without the wait at the start of run.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewStall(vfstest.NewMem("/d"))
		b := open(t, disk, 0, "file-defaults: {dir: /d, buffering: {}}")
		hang := disk.Hang(vfstest.Match{Kind: vfstest.Write}, vfstest.Before)
		b.lines(0, 10)
		b.logs.Reload(b.parse("file-defaults: {dir: /d}\nsinks: {file-groups: {default: {}, json: {format: json}}}"))
		b.lines(10, 10)
		b.logs.Reload(b.parse("file-defaults: {dir: /d, format: json}\nsinks: {file-groups: {other: {format: text}}}"))
		b.lines(20, 10)
		synctest.Wait()
		if n := len(hang.Blocked()); n != 3 {
			t.Errorf("%d writes, of one sink per file at most: %v", n, hang.Blocked())
		}
		hang.Release()
		b.logs.Reload(b.parse("file-defaults: {dir: /d}"))
		b.lines(30, 10)
		b.close()
		b.logs.Reload(b.parse("{}")) // of no effect now
		for name, want := range map[string]string{"holdfast.log": "0..19 30..39", "holdfast-other.log": "20..29"} {
			if got := story(content(t, disk, "/d/"+name)); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if got := strings.Count(content(t, disk, "/d/holdfast-json.log"), "\n"); got != 10 {
			t.Errorf("%d lines of JSON", got)
		}
		if got := story(b.stderr.String()); got != "0..39" {
			t.Errorf("standard error: %s", got)
		}
	})
}

// A file that cannot be opened is told at once, and by name.
func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewFaults(vfstest.NewMem("/d"))
		disk.Add(vfstest.Fault{Match: vfstest.Match{Kind: vfstest.Create}, Err: syscall.EACCES})
		c, err := Parse([]byte("file-defaults: {dir: /d}"), "/d")
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(c, Options{Stderr: &buffer{}, FS: disk})
		if got := tell(err); !strings.Contains(got, "sinks.file-groups.default") || !strings.Contains(got, "permission denied") {
			t.Error(got)
		}
	})
}

// Many callers at once, with reloads between: nothing is lost or torn.
func TestConcurrent(t *testing.T) {
	disk := vfstest.NewMem("/d")
	texts := []string{
		"file-defaults: {dir: /d, buffering: {max-staleness: 1ms}}",
		"file-defaults: {dir: /d}\nsinks: {stderr: {format: json}}",
	}
	b := open(t, disk, time.Minute, texts[0])
	var callers sync.WaitGroup
	const each = 200
	for i := range 8 {
		callers.Go(func() { b.lines(i*each, each) })
	}
	for i := range 20 {
		b.logs.Reload(b.parse(texts[i%2]))
		b.logs.Reopen()
		b.flush()
	}
	callers.Wait()
	b.close()
	if got := len(numberRE.FindAllString(content(t, disk, "/d/holdfast.log"), -1)); got != 8*each {
		t.Errorf("%d lines in the file, want %d", got, 8*each)
	}
}
