// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadSpec(t *testing.T) {
	const good = `{"disks": [{"field": "side_disk", "match": {"only_blank": true, "min_size": 26843545600}, "fstype": "xfs", "label": "hf-side", "mount": "/side",
	  "directories": [{"path": "j", "uid": 1, "gid": 2, "mode": "0750"}]}]}`
	s, err := readSpec(strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	want := Spec{Disks: []Disk{{
		Field: "side_disk", Match: Match{OnlyBlank: true, MinSize: 25 * gib}, FSType: XFS, Label: "hf-side", Mount: "/side",
		Directories: []Directory{{Path: "j", UID: 1, GID: 2, Mode: 0o750}},
	}}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	for _, tc := range []struct{ old, replacement, says string }{
		{`"fstype"`, `"fs_type"`, "unknown field"},
		{`}]}]}`, `}]}]}{}`, "after the first value"},
		{`"side_disk"`, `""`, "disks.0.field: want a name"},
		{`"xfs"`, `"btrfs"`, "side_disk.fstype: want ext4 or xfs, found btrfs"},
		{`"hf-side"`, `"hf-side-disk-1"`, "side_disk.label: want 1 to 12 bytes for xfs"},
		{`"hf-side"`, `"hf-making"`, "side_disk.label"},
		{`"hf-side"`, `"a b"`, "side_disk.label"},
		{`"/side"`, `"/"`, "side_disk.mount: want an absolute path"},
		{`"/side"`, `"/a/../b"`, "side_disk.mount"},
		{`{"only_blank": true, "min_size": 26843545600}`, `{}`, "side_disk.match: want a name"},
		{`"only_blank": true`, `"name": "sdb"`, "side_disk.match.min_size"},
		{`"mount"`, `"wipe": true, "mount"`, "side_disk.wipe_only: want type and UUID"},
		{`"mount"`, `"wipe_only": {"type": "xfs", "uuid": "u"}, "mount"`, "side_disk.wipe: want true"},
		{`"mount"`, `"options": ["ro"], "mount"`, "side_disk.options"},
		{`"mount"`, `"store": {"node": "a"}, "mount"`, "side_disk.store_dir: want one of the directories"},
		{`"j"`, `"../j"`, "side_disk.directories.0.path"},
		{`"0750"`, `"0150"`, "side_disk.directories.0.mode"},
		{`"0750"`, `"4755"`, "use octal permission bits"},
	} {
		text := strings.Replace(good, tc.old, tc.replacement, 1)
		if _, err := readSpec(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want it to say %q", tc.replacement, err, tc.says)
		}
	}
	two := Spec{Disks: []Disk{s.Disks[0], s.Disks[0]}}
	two.Disks[1].Mount = "/side/below"
	err = two.Validate()
	if got := len(Refusals(err)); got != 3 {
		t.Errorf("%d refusals, want field, label and mount: %v", got, err)
	}
}

func FuzzReadSpec(f *testing.F) {
	f.Add(`{"disks":[{"field":"a","match":{"name":"sdb"},"fstype":"ext4","label":"l","mount":"/m","directories":[{"path":"x","mode":"0700"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := readSpec(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, d := range s.Disks {
			if d.Mount == "/" || d.Mount[0] != '/' || limits[d.FSType].size == 0 || len(d.Label) == 0 {
				t.Fatalf("accepted: %+v", d)
			}
		}
	})
}

func FuzzParseSize(f *testing.F) {
	ext4, xfs := make([]byte, superblockBytes), make([]byte, superblockBytes)
	binary.LittleEndian.PutUint16(ext4[1024+56:], 0xef53)
	binary.LittleEndian.PutUint32(ext4[1024+4:], 25600)
	binary.LittleEndian.PutUint32(ext4[1024+24:], 2)
	copy(xfs, "XFSB")
	binary.BigEndian.PutUint32(xfs[4:], 4096)
	binary.BigEndian.PutUint64(xfs[8:], 25600)
	f.Add(ext4)
	f.Add(xfs)
	f.Add([]byte("XFSB"))
	for fstype, b := range map[string][]byte{Ext4: ext4, XFS: xfs} {
		if n, err := parseSize(fstype, b); n != 100*mib || err != nil {
			f.Errorf("%s: %d %v, want 100 MiB", fstype, n, err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, fstype := range []string{Ext4, XFS, "btrfs"} {
			if n, err := parseSize(fstype, b); (n == 0) != (err != nil) {
				t.Fatalf("%s: %d, %v", fstype, n, err)
			}
		}
	})
}

// readSpec reads a spec as JSON and validates it.
func readSpec(r io.Reader) (Spec, error) {
	var s Spec
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("reading the spec: %w", err)
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return Spec{}, errors.New("reading the spec: there is more after the first value")
	}
	return s, s.Validate()
}
