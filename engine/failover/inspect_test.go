// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

func TestArmed(t *testing.T) {
	dir := t.TempDir()
	if got, err := Armed(dir); err != nil || got != nil {
		t.Errorf("without a record: %v, %v", got, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("looking made %v, %v", left, err)
	}
	lock, err := vfs.OS{}.Lock(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Armed(dir); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("beside an engine: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"/side/a", "/side/b"}
	if err := writeRecord(vfs.OS{}, dir, logRecord{Log: "L", Armed: want}); err != nil {
		t.Fatal(err)
	}
	got, err := Armed(dir)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%s %v", diff, err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Armed(dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged record: %v", err)
	}
}
