// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // the scripts
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

//go:embed script/probe.sh
var probeScript string

//go:embed script/receive.sh
var receiveScript string

//go:embed script/rollback.sh
var rollbackScript string

// File is a file to be on the machine.
type File struct {
	// Path is absolute. Missing directories above it are made, 0755.
	Path string
	// Content must not change while it is uploaded.
	Content io.ReaderAt
	Size    int64
	Mode    fs.FileMode // permissions only
	// Owner is "user" or "user:group"; who writes it, where it is empty.
	Owner string
	// Root writes it as root.
	Root bool
	// GOARCH, if set, is what the file, a program, is built for.
	GOARCH string
}

// Installed is what Upload did.
type Installed struct {
	SHA256 string
	// Changed is false where the same file was there already.
	Changed bool
	// Sent is how many bytes went over the connection, Resumed how many were there from before.
	Sent, Resumed int64
}

// Upload puts a file on the machine, unless it is there already, and keeps what was
// there as Path.previous. When it returns nil the file is durable. After any other end
// Path is either file as a whole, and the next Upload of the same content goes on
// where this one ended. Beside Run's, its failures are ErrDiskFull, ErrArchitecture,
// ErrIncomplete and ErrCorrupt.
func (h *Host) Upload(ctx context.Context, f File) (Installed, error) {
	if err := f.validate(); err != nil {
		return Installed{}, err
	}
	hash := sha256.New()
	if n, err := io.Copy(hash, io.NewSectionReader(f.Content, 0, f.Size)); err != nil || n != f.Size {
		return Installed{}, fmt.Errorf("%s cannot be read for the upload: %w", path.Base(f.Path), errors.Join(err, short(n, f.Size)))
	}
	u := upload{File: f, hash: hex.EncodeToString(hash.Sum(nil))}
	ctx, cancel := h.bound(ctx)
	defer cancel()
	return repeat(ctx, h, h.cfg.Repeats, func(c *connection) (Installed, error) {
		sudo := false
		if f.Root {
			var err error
			if sudo, err = h.needsSudo(ctx, c); err != nil {
				return Installed{}, err
			}
		}
		return h.upload(ctx, c, u, sudo)
	})
}

func short(n, size int64) error {
	if n == size {
		return nil
	}
	return fmt.Errorf("%w: it has %d bytes instead of %d", io.ErrUnexpectedEOF, n, size)
}

var (
	errPath  = errors.New("it must be the absolute path of a file, without . and .. in it")
	errMode  = errors.New("only permissions can be set")
	errOwner = errors.New("it must be of the form user or user:group")
	owner    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)
)

func (f File) validate() error {
	switch {
	case !validPath(f.Path):
		return fmt.Errorf("%w: %q: %w", ErrConfig, f.Path, errPath)
	case f.Mode == 0 || f.Mode != f.Mode.Perm():
		return fmt.Errorf("%w: the mode of %s, %v: %w", ErrConfig, f.Path, f.Mode, errMode)
	case f.Owner != "" && !owner.MatchString(f.Owner):
		return fmt.Errorf("%w: the owner of %s, %q: %w", ErrConfig, f.Path, f.Owner, errOwner)
	}
	return nil
}

func validPath(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && p != "/" && !strings.ContainsAny(p, "\x00\n\r")
}

// upload is a file and its hash.
type upload struct {
	File
	hash string
}

// environment is what the scripts are told.
func (u upload) environment(more map[string]string) map[string]string {
	env := map[string]string{"TARGET": u.Path, "DIR": path.Dir(u.Path), "NAME": path.Base(u.Path), "LC_ALL": "C",
		"HASH": u.hash, "SHORT": u.hash[:16], "MODE": strconv.FormatUint(uint64(u.Mode), 8), "OWNER": u.Owner}
	for k, v := range more {
		env[k] = v
	}
	return env
}

// errPartGone: what an upload was to go on from is not there any more.
var errPartGone = errors.New("the part that it was to go on from is gone")

// upload looks and sends, again where what it saw had gone meanwhile.
func (h *Host) upload(ctx context.Context, c *connection, u upload, sudo bool) (done Installed, err error) {
	const tries = 3
	for range tries {
		if done, err = h.uploadOnce(ctx, c, u, sudo); !errors.Is(err, errPartGone) {
			break
		}
	}
	return done, err
}

func (h *Host) uploadOnce(ctx context.Context, c *connection, u upload, sudo bool) (Installed, error) {
	what := "looking at " + u.Path
	result, err := h.run(ctx, c, Command{What: what, Script: probeScript, Env: u.environment(nil)}, sudo)
	if exitCode(err) == 21 {
		return Installed{}, &platform.Error{What: u.Path + " cannot be installed on " + h.cfg.Address,
			Err: errors.New("something that is no regular file is there"), Next: "Move it away, or choose another path; nothing was changed."}
	}
	if err != nil {
		return Installed{}, err
	}
	found := parseAnswer(result.Stdout)
	if err := h.checkArchitecture(u.GOARCH, found["arch"]); err != nil {
		return Installed{}, err
	}
	done := Installed{SHA256: u.hash}
	if found["target"] == u.hash {
		return done, nil
	}
	plan, err := u.plan(found)
	if err != nil {
		return Installed{}, h.full(u, err)
	}
	h.cfg.Progress(fmt.Sprintf("uploading %s to %s, %d KiB of %d KiB", path.Base(u.Path), h.cfg.Address, (u.Size-plan.offset+1023)>>10, (u.Size+1023)>>10))
	attempt := make([]byte, 8)
	_, _ = rand.Read(attempt) // it never fails
	_, err = h.run(ctx, c, Command{What: "installing " + u.Path, Script: receiveScript,
		Env: u.environment(map[string]string{"ATTEMPT": hex.EncodeToString(attempt), "SIZE": strconv.FormatInt(u.Size, 10),
			"FROM": plan.from, "OFFSET": strconv.FormatInt(plan.offset, 10)}),
		Stdin: io.NewSectionReader(u.Content, plan.offset, u.Size-plan.offset)}, sudo)
	switch exitCode(err) {
	case 65:
		return Installed{}, fmt.Errorf("%s: %w: did it change while it was sent? %w", u.Path, ErrCorrupt, err)
	case 70:
		return Installed{}, h.full(u, fmt.Errorf("%w: %w", ErrDiskFull, err))
	case 75:
		return Installed{}, fmt.Errorf("%s: %w: %w", u.Path, ErrIncomplete, err)
	case 76:
		return Installed{}, fmt.Errorf("%s: %w: %w", u.Path, errPartGone, err)
	}
	if err != nil {
		return Installed{}, err
	}
	done.Changed, done.Resumed, done.Sent = true, plan.offset, u.Size-plan.offset
	return done, nil
}

func (h *Host) full(u upload, err error) error {
	if !errors.Is(err, ErrDiskFull) {
		return err
	}
	return &platform.Error{What: path.Base(u.Path) + " does not fit on " + h.cfg.Address, Err: err,
		Next: "Free some space on the file system of " + path.Dir(u.Path) + " there. What was there is unchanged."}
}

// resume is where an upload goes on.
type resume struct {
	from   string // the part of an earlier attempt, to be copied or removed; may be empty
	offset int64  // how much of it is right
}

// plan decides what to send, from what the probe found.
func (u upload) plan(found answer) (resume, error) {
	free, err := found.number("free")
	if err != nil {
		return resume{}, err
	}
	var r resume
	var size int64
	if found["part"] != "" {
		if size, err = found.number("size"); err != nil {
			return resume{}, err
		}
		if path.Base(found["part"]) != found["part"] {
			return resume{}, fmt.Errorf("%w: the part is %q", ErrAnswer, found["part"])
		}
		r.from = found["part"]
		right, err := u.prefixIs(size, found["sum"])
		if err != nil {
			return resume{}, err
		}
		if right {
			r.offset = size
		}
	}
	// The right part of an earlier attempt is copied; where there is no room for
	// two, it makes room.
	if free < u.Size {
		r.offset = 0
	}
	if free+size < u.Size {
		return resume{}, fmt.Errorf("%w: %d bytes are free, %d are needed", ErrDiskFull, free+size, u.Size)
	}
	return r, nil
}

func (u upload) prefixIs(size int64, sum string) (bool, error) {
	if size > u.Size {
		return false, nil
	}
	want, err := hex.DecodeString(sum)
	if err != nil {
		return false, fmt.Errorf("%w: the hash of the part is %q", ErrAnswer, sum)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(u.Content, 0, size)); err != nil {
		return false, err
	}
	return bytes.Equal(hash.Sum(nil), want), nil
}

// Rollback puts Path.previous in Path's place. It is not done again when the
// connection broke in it: there is no previous version any more after the first time.
func (h *Host) Rollback(ctx context.Context, file string, root bool) error {
	if !validPath(file) {
		return fmt.Errorf("%w: %q: %w", ErrConfig, file, errPath)
	}
	_, err := h.Run(ctx, Command{What: "going back to the previous " + path.Base(file), Script: rollbackScript, Root: root,
		Env: map[string]string{"TARGET": file, "DIR": path.Dir(file), "LC_ALL": "C"}})
	if exitCode(err) == 66 {
		return &platform.Error{What: file + " cannot be put back on " + h.cfg.Address, Err: ErrNoPrevious, Next: "Upload the version that is wanted."}
	}
	return err
}

// exitCode is the exit status in err; 0 where it is none.
func exitCode(err error) int {
	if exit := (*ExitError)(nil); errors.As(err, &exit) {
		return exit.Code
	}
	return 0
}
