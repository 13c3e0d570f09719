// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package progress

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-log/tflogtest"
)

// Each step is one whole line of the file, whoever else writes, and one of the
// provider's log.
func TestStep(t *testing.T) {
	var log bytes.Buffer
	ctx := tflogtest.RootLogger(t.Context(), &log)
	l := &Log{Path: filepath.Join(t.TempDir(), "progress")}
	if err := os.WriteFile(l.Path, []byte("what was there\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const clusters, steps = 4, 25
	var wg sync.WaitGroup
	for c := range clusters {
		wg.Go(func() {
			for s := range steps {
				l.Step(ctx, fmt.Sprintf("c%d", c), "step %d of %s", s, "100%")
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) != 1+clusters*steps || lines[0] != "what was there" {
		t.Fatalf("%d lines after %q", len(lines), lines[0])
	}
	re := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} c[0-3]: step \d+ of 100%$`)
	for _, line := range lines[1:] {
		if !re.MatchString(line) {
			t.Errorf("line %q", line)
		}
	}
	entries, err := tflogtest.MultilineJSONDecode(&log)
	if err != nil || len(entries) != clusters*steps || entries[0]["cluster"] == nil {
		t.Errorf("%d log entries: %v", len(entries), err)
	}
}

// A file that cannot be written is told once, and hinders nobody.
func TestUnwritable(t *testing.T) {
	var log bytes.Buffer
	ctx := tflogtest.RootLogger(t.Context(), &log)
	for _, path := range []string{t.TempDir(), "/dev/full", filepath.Join(t.TempDir(), "missing", "progress")} {
		log.Reset()
		l := &Log{Path: path}
		for range 3 {
			l.Step(ctx, "orders", "a step")
		}
		entries, err := tflogtest.MultilineJSONDecode(&log)
		if err != nil {
			t.Fatal(err)
		}
		warnings := 0
		for _, e := range entries {
			if e["@level"] == "warn" {
				warnings++
			}
		}
		if warnings != 1 || len(entries) != 4 {
			t.Errorf("%s: %d warnings in %d entries", path, warnings, len(entries))
		}
	}
	log.Reset()
	(&Log{}).Step(ctx, "orders", "a step")
	if !strings.Contains(log.String(), "a step") {
		t.Errorf("without a file, the log has %q", log.String())
	}
}
