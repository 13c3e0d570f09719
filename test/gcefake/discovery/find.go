// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// module carries the document, at path within it.
const (
	module = "google.golang.org/api"
	path   = "compute/v1/compute-api.json"
)

// Load reads the document of the version of google.golang.org/api that the
// main module of the working directory requires. It asks the go command where
// that is, which may download it.
func Load(ctx context.Context) (*Document, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return nil, fmt.Errorf("looking for the module %s: %w", module, err)
	}
	dir := string(bytes.TrimSpace(out))
	if dir == "" {
		return nil, fmt.Errorf("the module %s is not in the module cache: run go mod download", module)
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Shared is Load, once for a process: reading six megabytes of JSON takes a
// tenth of a second.
var Shared = sync.OnceValues(func() (*Document, error) { return Load(context.Background()) })
