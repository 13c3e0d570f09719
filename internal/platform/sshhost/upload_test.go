// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func file(path, content string, changes ...func(*File)) File {
	f := File{Path: path, Content: strings.NewReader(content), Size: int64(len(content)), Mode: 0o640}
	for _, c := range changes {
		c(&f)
	}
	return f
}

// directory is a place for files on the machine: in memory where there is such a one, as every
// upload waits for the disk several times.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "sshhost") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// noise is content that nothing compresses and that differs everywhere.
func noise(size int) string {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return string(b)
}

func sum(content string) string {
	h := sha256.Sum256([]byte(content))
	return hex.EncodeToString(h[:])
}

func wantFile(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != content {
		t.Fatalf("%s has %d bytes, want other %d", path, len(got), len(content))
	}
}

// wantOnly checks that nothing else was left in a directory.
func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	var got []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Error(diff)
	}
}

func TestUpload(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	dir := filepath.Join(directory(t), "it's a dir", "bin")
	path := filepath.Join(dir, "holdfast")
	upload := func(content string, want Installed, changes ...func(*File)) {
		t.Helper()
		got, err := h.Upload(t.Context(), file(path, content, changes...))
		if err != nil {
			t.Fatal(err)
		}
		want.SHA256 = sum(content)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		wantFile(t, path, content)
	}
	one, two := noise(100_000), noise(200_001)
	upload(one, Installed{Changed: true, Sent: 100_000})
	wantOnly(t, dir, "holdfast")
	upload(one, Installed{})
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o640 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	// Nothing is sent, but the mode is what was asked for.
	upload(one, Installed{}, func(f *File) { f.Mode = 0o755 })
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o755 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	upload(two, Installed{Changed: true, Sent: 200_001})
	wantFile(t, path+".previous", one)
	wantOnly(t, dir, "holdfast", "holdfast.previous")
	upload("", Installed{Changed: true})
	wantFile(t, path+".previous", two)

	if err := h.Rollback(t.Context(), path, false); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, two)
	wantError(t, h.Rollback(t.Context(), path, false), ErrNoPrevious)
	wantOnly(t, dir, "holdfast")
}

func TestUploadOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	path := filepath.Join(directory(t), "x")
	for _, content := range []string{"a", "a", "b"} {
		if _, err := h.Upload(t.Context(), file(path, content, func(f *File) { f.Owner = "daemon:nogroup" })); err != nil {
			t.Fatal(err)
		}
		if got, want := output(t, h, "stat -c %U:%G:%a "+quote(path)), "daemon:nogroup:640"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	_, err := h.Upload(t.Context(), file(path, "c", func(f *File) { f.Owner = "no-such-user" }))
	if exitCode(err) != 1 || !strings.Contains(err.Error(), "invalid user") {
		t.Errorf("got %v", err)
	}
	wantFile(t, path, "b")
	wantOnly(t, filepath.Dir(path), "x", "x.previous")
}

// The connection is cut after N bytes, for N over the whole of an upload, from the
// greeting to the answer. Each time: what is at the path is the old file or the new one, the
// next call ends it, and less is sent by it where something had arrived. Seen
// to fail with the check of the size taken out of receive.sh (a part is taken for a corrupt
// file), with the resumed offset off by one, and with mv replaced by cat.
func TestUploadCutAnywhere(t *testing.T) {
	s := startServer(t, serverOptions{})
	r := startRelay(t, s.Port)
	oldContent, content := noise(70_000), noise(300_000)
	dir := directory(t)
	path := filepath.Join(dir, "holdfast")
	reset := func() {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, []byte(oldContent), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// One that goes through says how many bytes there are to cut after.
	reset()
	before := r.Up.Load()
	h := newHost(t, through(r, s.config()))
	if _, err := h.Upload(t.Context(), file(path, content)); err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
	total := r.Up.Load() - before
	if total < int64(len(content)) {
		t.Fatalf("%d bytes went through", total)
	}

	cuts, resumed := 24, 0
	if testing.Short() {
		cuts = 6
	}
	for i := range cuts {
		// The handshake and both commands are some 10 KB at the beginning; the rest is content.
		n := int64(i) * total / int64(cuts)
		if i%3 == 1 {
			n = int64(i) * 12_000 / int64(cuts)
		}
		reset()
		h := newHost(t, through(r, s.config()))
		r.Budget.Store(n)
		_, err := h.Upload(within(t), file(path, content))
		if err == nil {
			t.Fatalf("cut after %d bytes: no error", n)
		}
		if !errors.Is(err, ErrConnectionLost) && !errors.Is(err, ErrUnreachable) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
		if got, _ := os.ReadFile(path); string(got) != oldContent && string(got) != content {
			t.Fatalf("cut after %d bytes: %d bytes are there", n, len(got))
		}
		done, err := h.Upload(within(t), file(path, content))
		if err != nil {
			t.Fatalf("after a cut after %d bytes: %v", n, err)
		}
		if done.Resumed > 0 {
			resumed++
			if done.Sent != int64(len(content))-done.Resumed {
				t.Errorf("%+v", done)
			}
		}
		wantFile(t, path, content)
		wantFile(t, path+".previous", oldContent)
		_ = h.Close()
	}
	if resumed < cuts/4 {
		t.Errorf("only %d of %d went on from where they were cut", resumed, cuts)
	}
	// What a cut one leaves behind goes with the next that ends well.
	if _, err := newHost(t, s.config()).Upload(t.Context(), file(path, "another")); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "holdfast", "holdfast.previous")
}

// One call is enough where the host may connect again.
func TestUploadGoesOnByItself(t *testing.T) {
	s := startServer(t, serverOptions{})
	r := startRelay(t, s.Port)
	cfg := through(r, s.config())
	cfg.Repeats = 1
	h := newHost(t, cfg)
	path := filepath.Join(directory(t), "x")
	content := noise(4 << 20)
	r.Budget.Store(3 << 20)
	done, err := h.Upload(within(t), file(path, content))
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, content)
	if done.Resumed == 0 {
		t.Errorf("it began anew: %+v", done)
	}
}

// part is what an upload that was cut left behind.
func part(t *testing.T, path, hash, content string) string {
	t.Helper()
	p := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%s.0123456789abcdef.part", filepath.Base(path), hash[:16]))
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUploadFromAPart(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	content := noise(50_000)
	for _, tc := range []struct {
		name, part string
		resumed    int64
	}{
		{"half", content[:25_000], 25_000},
		{"all", content, 50_000},
		{"nothing", "", 0},
		{"a wrong byte", content[:10_000] + "x" + content[10_001:20_000], 0},
		{"too much", content + "x", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(directory(t), "x")
			part(t, path, sum(content), tc.part)
			done, err := h.Upload(t.Context(), file(path, content))
			if err != nil {
				t.Fatal(err)
			}
			if done.Resumed != tc.resumed || done.Sent != 50_000-tc.resumed {
				t.Errorf("%+v", done)
			}
			wantFile(t, path, content)
			wantOnly(t, filepath.Dir(path), "x")
		})
	}
}

// The command of a connection that was cut still holds its part open and writes to
// it after a new upload has gone on from there, and even after that was
// installed. Seen to fail with the part renamed instead of copied.
func TestLateWriter(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	content := noise(50_000)
	path := filepath.Join(directory(t), "x")
	late, err := os.OpenFile(part(t, path, sum(content), content[:20_000]), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Close() }()
	done, err := h.Upload(t.Context(), file(path, content))
	if err != nil || done.Resumed != 20_000 {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := late.WriteString("late"); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, content)
}

// The part that was seen is gone when it is to be gone on from, as the command of a cut connection
// may end with it: the upload looks again, and begins anew.
func TestUploadPartGone(t *testing.T) {
	s := startServer(t, serverOptions{})
	content := noise(50_000)
	path := filepath.Join(directory(t), "x")
	seen := part(t, path, sum(content), content[:20_000])
	cfg := s.config()
	cfg.Progress = func(string) { _ = os.Remove(seen) } // between the look and the sending
	done, err := newHost(t, cfg).Upload(t.Context(), file(path, content))
	if err != nil || done.Resumed != 0 || done.Sent != 50_000 {
		t.Fatalf("%+v, %v", done, err)
	}
	wantFile(t, path, content)
	wantOnly(t, filepath.Dir(path), "x")
}

// Parts of another file whose name begins the same stay.
func TestPartsOfOthersStay(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	dir := directory(t)
	other := part(t, filepath.Join(dir, "holdfast.conf"), sum("x"), "x")
	part(t, filepath.Join(dir, "holdfast"), sum("an older version"), "an old")
	if _, err := h.Upload(t.Context(), file(filepath.Join(dir, "holdfast"), "y")); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, filepath.Base(other), "holdfast")
}

func TestTwoUploadsAtOnce(t *testing.T) {
	s := startServer(t, serverOptions{})
	path := filepath.Join(directory(t), "x")
	a, b := noise(400_000), noise(500_000)
	var wg sync.WaitGroup
	for _, content := range []string{a, b, a, b} {
		h := newHost(t, s.config())
		// One may be told that its part is gone, which the other's end removed.
		wg.Go(func() { _, _ = h.Upload(within(t), file(path, content)) })
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != a && string(got) != b {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestUploadRefused(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	dir := directory(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "dir"} {
		_, err := h.Upload(t.Context(), file(filepath.Join(dir, name), "x"))
		if err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantOnly(t, dir, "dir", "link")

	for _, f := range []File{file("relative", "x"), file("/a/../b", "x"), file("/", "x"), file("/a\nb", "x"),
		file("/a", "x", func(f *File) { f.Mode = 0 }), file("/a", "x", func(f *File) { f.Mode = fs.ModeSetuid | 0o755 }),
		file("/a", "x", func(f *File) { f.Owner = "-R root" })} {
		_, err := h.Upload(t.Context(), f)
		wantError(t, err, ErrConfig)
	}

	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	_, err := h.Upload(t.Context(), file(filepath.Join(dir, "x"), "x", func(f *File) { f.GOARCH = other }))
	wantError(t, err, ErrArchitecture, "it is for "+other, "GOARCH="+runtime.GOARCH+" make build")
	wantOnly(t, dir, "dir", "link")

	// The content is another one by the time that it is sent.
	changing := &changingContent{noise(1000)}
	_, err = h.Upload(t.Context(), File{Path: filepath.Join(dir, "x"), Content: changing, Size: 1000, Mode: 0o600})
	wantError(t, err, ErrCorrupt)
	wantOnly(t, dir, "dir", "link")

	_, err = h.Upload(t.Context(), File{Path: filepath.Join(dir, "x"), Content: strings.NewReader("short"), Size: 1000, Mode: 0o600})
	wantError(t, err, io.ErrUnexpectedEOF)
}

type changingContent struct{ is string }

func (c *changingContent) ReadAt(p []byte, off int64) (int, error) {
	n, err := strings.NewReader(c.is).ReadAt(p, off)
	c.is = strings.ToUpper(c.is)
	return n, err
}

func TestPlanOfAnUpload(t *testing.T) {
	u := upload{File: file("/x", "0123456789"), hash: sum("0123456789")}
	for _, tc := range []struct {
		name  string
		found answer
		want  resume
		err   error
	}{
		{"nothing there", answer{"free": "10"}, resume{}, nil},
		{"a part", answer{"free": "10", "part": ".p", "size": "4", "sum": sum("0123")}, resume{".p", 4}, nil},
		{"a wrong part", answer{"free": "10", "part": ".p", "size": "4", "sum": sum("x123")}, resume{".p", 0}, nil},
		{"room for one only", answer{"free": "7", "part": ".p", "size": "4", "sum": sum("0123")}, resume{".p", 0}, nil},
		{"no room", answer{"free": "9"}, resume{}, ErrDiskFull},
		{"no room with the part's", answer{"free": "5", "part": ".p", "size": "4", "sum": sum("0123")}, resume{}, ErrDiskFull},
		{"no number", answer{"free": "-"}, resume{}, ErrAnswer},
		{"no size", answer{"free": "10", "part": ".p"}, resume{}, ErrAnswer},
		{"no hash", answer{"free": "10", "part": ".p", "size": "4", "sum": "z"}, resume{}, ErrAnswer},
		{"a part elsewhere", answer{"free": "10", "part": "../p", "size": "4", "sum": sum("0123")}, resume{}, ErrAnswer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := u.plan(tc.found)
			if !errors.Is(err, tc.err) || err == nil && got != tc.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestUploadEndsWithItsContext(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	path := filepath.Join(directory(t), "x")
	ctx, cancel := context.WithCancel(within(t))
	content := &cancelling{Reader: strings.NewReader(noise(8 << 20)), cancel: cancel}
	_, err := h.Upload(ctx, File{Path: path, Content: content, Size: content.Size(), Mode: 0o600})
	wantError(t, err, context.Canceled)
	content.cancel = func() {}
	if _, err := h.Upload(t.Context(), File{Path: path, Content: content, Size: content.Size(), Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, filepath.Dir(path), "x")
}

type cancelling struct {
	*strings.Reader
	cancel func()
	reads  int
}

func (c *cancelling) ReadAt(p []byte, off int64) (int, error) {
	if off == 0 {
		c.reads++
	}
	if c.reads == 2 && off > 4<<20 {
		c.cancel()
	}
	return c.Reader.ReadAt(p, off)
}

func TestBinaryGOARCH(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := BinaryGOARCH(self); err != nil || got != runtime.GOARCH {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := BinaryGOARCH("upload_test.go"); err == nil {
		t.Error("a text was taken for a program")
	}
}
