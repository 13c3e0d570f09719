// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
)

const wantedFile = "wanted.json"

type wantedRecord struct {
	Format int    `json:"format"`
	Wanted string `json:"wanted"` // running | stopped
}

// record is wanted.json in a directory.
type record struct{ dir string }

func (r record) path() string { return filepath.Join(r.dir, wantedFile) }

// save makes durable what somebody asked for.
func (r record) save(running bool) error {
	w := wantedRecord{format, agentapi.EngineRunning}
	if !running {
		w.Wanted = agentapi.EngineStopped
	}
	return atomicfile.WriteJSON(r.path(), w)
}

// load reads it; true where nobody asked yet.
func (r record) load() (bool, error) {
	path := r.path()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	var w wantedRecord
	if err := json.Unmarshal(b, &w); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if w.Format != format || w.Wanted != agentapi.EngineRunning && w.Wanted != agentapi.EngineStopped {
		return false, fmt.Errorf("%s has format %d and wants %q, which this binary does not know", path, w.Format, w.Wanted)
	}
	return w.Wanted == agentapi.EngineRunning, nil
}
