// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package progress tells what an apply does while it does it. Terraform shows
// nothing of a resource until it ends, so every step goes to the provider's log
// and, where HOLDFAST_PROGRESS names a file, as one line to that file.
package progress

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-log/tflog"
)

// Log takes the steps. Its zero value writes to the provider's log only. Safe
// for concurrent use.
type Log struct {
	// Path of the file that each step is appended to, empty for none.
	Path string

	mu     sync.Mutex // one line at a time
	failed bool       // the file could not be written; said once
}

// Step records that something begins or is done. A file that cannot be written
// never fails an apply.
func (l *Log) Step(ctx context.Context, cluster, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	tflog.Info(ctx, line, map[string]any{"cluster": cluster})
	if l.Path == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := appendLine(l.Path, fmt.Sprintf("%s %s: %s\n", time.Now().Format("15:04:05.000"), cluster, line)); err != nil && !l.failed {
		l.failed = true
		tflog.Warn(ctx, "HOLDFAST_PROGRESS cannot be written", map[string]any{"error": err.Error()})
	}
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
