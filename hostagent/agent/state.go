// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// Names in the node's directory.
const (
	lockFile    = "agent.lock"
	processFile = "agent-process.json"
	specFile    = "spec.json"
	storesFile  = "stores.json"
	engineFile  = "engine.json"
	logsFile    = "logs.yaml"
	logsDir     = "logs"
	// SocketName is the socket's where none was given.
	SocketName = "agent.sock"
)

const format = 1

// specRecord is spec.json.
type specRecord struct {
	Format int            `json:"format"`
	Spec   *agentapi.Spec `json:"spec"`
}

// storesRecord is stores.json. The order is that of the spec: a store's place
// decides which partition it holds.
type storesRecord struct {
	Format int           `json:"format"`
	Stores []storeRecord `json:"stores"`
	// Sides are the side directories that the stores' logs may be armed on, see
	// sides.go.
	Sides []string `json:"sides,omitempty"`
	// SideMounts are the mount points of those that lie on a disk of the agent's.
	SideMounts map[string]string `json:"side_mounts,omitempty"`
}

type storeRecord struct {
	Path string `json:"path"`
	ID   string `json:"id"`
}

func (r *storesRecord) id(path string) string {
	for _, s := range r.Stores {
		if s.Path == path {
			return s.ID
		}
	}
	return ""
}

func (r *storesRecord) ids() map[string]string {
	ids := map[string]string{}
	for _, s := range r.Stores {
		ids[s.Path] = s.ID
	}
	return ids
}

// processRecord is agent-process.json.
type processRecord struct {
	Format int `json:"format"`
	supervise.Identity
	Binary    string    `json:"binary"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Socket    string    `json:"socket"`
}

// readJSON reads a file of this agent into v; found is false where there is none.
func readJSON(path string, v any, version *int) (found bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, &agentapi.Error{What: "the agent cannot read what it wrote earlier", Why: fmt.Sprintf("%s: %v", path, err),
			Next: "Restore the file, or put it aside and send the spec again."}
	}
	if *version != format {
		return false, &agentapi.Error{What: "the agent cannot read what another version wrote", Why: fmt.Sprintf("%s has format %d, this binary knows %d", path, *version, format),
			Next: "Use the holdfast binary that wrote it, or a newer one."}
	}
	return true, nil
}

// errLocked is returned while another agent has the directory.
var errLocked = errors.New("another agent has it")

// lock keeps other agents out of dir until the file is closed.
func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		var other processRecord
		who := ""
		if ok, err := readJSON(filepath.Join(dir, processFile), &other, &other.Format); ok && err == nil {
			who = fmt.Sprintf(", pid %d on %s", other.PID, other.Socket)
		}
		return nil, &agentapi.Error{What: "the agent cannot start on " + dir, Why: errLocked.Error() + who,
			Next: "Use that one, or stop it first; its engine stays."}
	}
	return f, nil
}

func writeProcess(dir, binary, version, socket string, started time.Time) error {
	id, err := supervise.Identify(os.Getpid())
	if err != nil {
		return err
	}
	return atomicfile.WriteJSON(filepath.Join(dir, processFile), processRecord{
		Format: format, Identity: id, Binary: binary, Version: version, StartedAt: started, Socket: socket,
	})
}
