// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Properties are what udev's database or blkid say of a device, by udev's
// names (ID_FS_TYPE).
type Properties map[string]string

// first returns the first property that is there.
func (p Properties) first(names ...string) string {
	for _, name := range names {
		if v := p[name]; v != "" {
			return v
		}
	}
	return ""
}

// decoded returns a property whose unsafe bytes udev wrote as \xNN.
func (p Properties) decoded(name string) string { return unhex(p[name]) }

// Signature returns what a file system, or whatever else a device begins with,
// says of itself; all is empty where there is none.
func (p Properties) Signature() (fstype, label, uuid string) {
	return p["ID_FS_TYPE"], p.decoded("ID_FS_LABEL_ENC"), p.decoded("ID_FS_UUID_ENC")
}

// record is one entry of udev's database.
type record struct {
	properties Properties
	links      []string // below /dev
}

// parseRecord reads an entry, one item per line, its kind before a colon:
//
//	S:disk/by-id/virtio-data     a link below /dev
//	E:ID_FS_TYPE=ext4            a property
//	I:1234567  L:0  G:tag  V:1   others, of no use here
//
// The database belongs to udev, and what is in it comes from disks that
// anybody may have written: every line that does not fit is passed over.
func parseRecord(data []byte) record {
	r := record{properties: Properties{}}
	for line := range strings.Lines(string(data)) {
		kind, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		switch kind {
		case "S":
			if rest != "" {
				r.links = append(r.links, rest)
			}
		case "E":
			r.properties.add(rest)
		}
	}
	slices.Sort(r.links)
	return r
}

// parseBlkid reads what `blkid -o udev` prints: NAME=value, one per line.
func parseBlkid(data []byte) Properties {
	p := Properties{}
	for line := range strings.Lines(string(data)) {
		p.add(strings.TrimSuffix(line, "\n"))
	}
	return p
}

func (p Properties) add(assignment string) {
	if name, value, ok := strings.Cut(assignment, "="); ok && name != "" {
		p[name] = value
	}
}

// unhex undoes udev's encoding. A backslash that begins no \xNN stays.
func unhex(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], `\x`) && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Exit codes of `blkid -p` that are answers.
const (
	blkidNothing   = 2 // no signature
	blkidAmbiguous = 8 // several signatures that exclude one another
)

// ErrAmbiguous is returned for a device with signatures of several file
// systems: nobody can tell which one is meant.
var ErrAmbiguous = errors.New("signatures of several file systems")

// blkid probes a device by reading it.
func blkid(ctx context.Context, path string) (Properties, error) {
	cmd := exec.CommandContext(ctx, "blkid", "-o", "udev", "-p", path)
	cmd.WaitDelay = time.Second
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/sbin:/usr/bin:/bin"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		switch exit.ExitCode() {
		case blkidNothing:
			return Properties{}, nil
		case blkidAmbiguous:
			return parseBlkid(out), fmt.Errorf("probing %s: %w", path, ErrAmbiguous)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("probing %s: %w: %s", path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return parseBlkid(out), nil
}
