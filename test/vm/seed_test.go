// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSeed unpacks an initrd as the kernel does, and looks at what a machine
// gets: secrets that only their owner reads, and nothing that another has too.
func TestSeed(t *testing.T) {
	var n Network
	a, err := newSeed(Config{Name: "a", Network: &n})
	if err != nil {
		t.Fatal(err)
	}
	b, err := newSeed(Config{Name: "b", Network: &n})
	if err != nil {
		t.Fatal(err)
	}
	filesA, filesB := unpack(t, a), unpack(t, b)
	for name, f := range filesA {
		if strings.Contains(f.text, "PRIVATE KEY") && f.header.Mode != 0o600 {
			t.Errorf("%s has mode %o", name, f.header.Mode)
		}
		ssh := name == "etc/systemd/network/10-ssh.network" || strings.HasSuffix(name, "/")
		if same := f.text == filesB[name].text; same != ssh {
			t.Errorf("%s: both machines have the same: %v", name, same)
		}
	}
	if got := filesA["home/ops/.ssh/authorized_keys"].header; got.Uid != userID || got.Gid != userID {
		t.Errorf("authorized_keys belong to %d:%d", got.Uid, got.Gid)
	}
	if lan := filesA["etc/systemd/network/20-lan.network"].text; !strings.Contains(lan, "Address="+n.Addr("a").String()+"/24") {
		t.Errorf("the network's unit: %s", lan)
	}
}

type unpacked struct {
	header *tar.Header
	text   string
}

func unpack(t *testing.T, s seed) map[string]unpacked {
	t.Helper()
	program, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("no cpio to unpack with: ", err)
	}
	dir := t.TempDir()
	system, initrd := filepath.Join(dir, "system"), filepath.Join(dir, "initrd")
	if err := os.WriteFile(system, []byte("the image's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.writeInitrd(initrd, system); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(initrd)
	if err != nil {
		t.Fatal(err)
	}
	if at := bytes.Index(whole, []byte("the image's")); at%4 != 0 || at+len("the image's") != len(whole) {
		t.Errorf("the image's initrd begins at %d of %d", at, len(whole))
	}
	cmd := exec.CommandContext(t.Context(), program, "--extract", "--quiet", "--to-stdout", "seed.tar")
	cmd.Stdin = bytes.NewReader(whole)
	archive, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]unpacked{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = unpacked{h, string(text)}
	}
}
