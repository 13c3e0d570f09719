// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// place is where the files that an engine reads are, and whose they are.
type place struct {
	// dir holds engine.json, logs.yaml and certs/.
	dir string
	// uid and gid are of the user that the engine runs as; -1 where that is the agent's.
	uid, gid int
}

// place is the engine's on this node. A process of the agent's own has it in the
// node's directory. That of a whole machine has its own user, which a convergence makes
// before it needs one.
func (a *Agent) place() (place, error) {
	at := place{dir: a.opts.Dir, uid: -1, gid: -1}
	if !a.opts.Systemd {
		return at, nil
	}
	at.dir = filepath.Dir(units.DefaultConfig)
	u, err := user.Lookup(units.DefaultUser)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		return at, nil
	}
	if err != nil {
		return at, fmt.Errorf("look up the engine's user: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return at, fmt.Errorf("look up the engine's user: %w", err)
	}
	// The unit names the group, which a user of before need not have as its own.
	g, err := user.LookupGroup(units.DefaultUser)
	if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
		return at, nil
	}
	if err != nil {
		return at, fmt.Errorf("look up the engine's group: %w", err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return at, fmt.Errorf("look up the engine's group: %w", err)
	}
	at.uid, at.gid = uid, gid
	return at, nil
}

// owner is whose the engine's directories are, nil for the agent's own user.
func (p place) owner() *layout.Owner {
	if p.uid < 0 {
		return nil
	}
	return &layout.Owner{UID: p.uid, GID: p.gid}
}

// modes of what an engine reads and does not write: root's, for its group.
const (
	placeDirMode  = 0o750
	placeFileMode = 0o640
)

// writeJSON replaces a file that the engine reads, atomically and durably. An engine that
// starts meanwhile finds the old one or the new one, and may read either.
func (p place) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	path := filepath.Join(p.dir, name)
	if err := p.write(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// foreign refuses an engine.json that is there while the agent has no record of having
// written one: somebody else's engine has it. known: there is such a record.
func (p place) foreign(known bool) error {
	path := filepath.Join(p.dir, engineFile)
	if _, err := os.Lstat(path); known || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return &agentapi.Error{What: "the node spec is refused", Why: path + " is there, and this agent did not write it",
		Next: "Look at whose engine it is of, and put it aside. Nothing was changed."}
}

// clear removes what an agent put there, and the directory where that leaves it empty.
func (p place) clear() error {
	var certs []string
	n := pki.Dir(p.certs()).Node()
	for _, path := range []string{n.CA, n.Cert, n.Key} {
		name := filepath.Base(path)
		certs = append(certs, name, name+".new")
	}
	if err := removeNamed(p.certs(), certs...); err != nil {
		return err
	}
	return removeNamed(p.dir, engineFile, engineFile+".new")
}

func (p place) write(path string, data []byte) error {
	if p.uid < 0 {
		return vfs.WriteFileAtomic(vfs.OS{}, path, data)
	}
	if err := os.MkdirAll(p.dir, placeDirMode); err != nil {
		return err
	}
	if err := errors.Join(os.Chown(p.dir, 0, p.gid), os.Chmod(p.dir, placeDirMode)); err != nil {
		return err
	}
	return atomicfile.Write(path, data, atomicfile.Owner{UID: 0, GID: p.gid, Mode: placeFileMode})
}
