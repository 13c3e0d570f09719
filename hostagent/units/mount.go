// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import "context"

// MountName is the name that systemd demands of the mount unit of a path.
func MountName(path string) string { return escapePath(path) + ".mount" }

// RemoveMount takes back what MakeMount's set did, for a disk that turned out to be
// somebody else's: it unmounts, and nothing mounts it again.
func RemoveMount(ctx context.Context, sys System, path string) error {
	name := MountName(path)
	for _, argv := range [][]string{{"systemctl", "stop", name}, {"systemctl", "disable", name}} {
		if _, err := sys.Run(ctx, argv...); err != nil {
			return err
		}
	}
	if err := sys.Delete(unitDir + name); err != nil {
		return err
	}
	_, err := sys.Run(ctx, "systemctl", "daemon-reload")
	return err
}

// MakeMount makes the mount unit of one disk, the same as in the set of its host. An
// error is an *agentapi.Error.
func MakeMount(field string, d Disk) (Set, error) {
	if err := (namedDisk{d, field}).validate(); err != nil {
		return Set{}, err
	}
	name := MountName(d.Path)
	return Set{
		Files: []File{{Path: unitDir + name, Mode: fileMode, Text: marker + mount(d)}},
		Units: []Unit{{Name: name, Enabled: true, Start: true}},
		part:  true,
	}, nil
}

// mount is the mount unit of a disk.
func mount(d Disk) string {
	device := "/dev/disk/by-uuid/" + d.UUID
	var u unitText
	u.section("Unit")
	u.set("Description", "Holdfast disk "+line(d.Path))
	if d.FSType == "ext4" {
		u.comment("A journal is replayed by the kernel; this is for one that is marked as damaged.")
		check := "systemd-fsck@" + escapePath(device) + ".service"
		u.set("Requires", check)
		u.set("After", check)
	}

	u.section("Mount")
	u.set("What", line(device))
	u.set("Where", line(d.Path))
	u.set("Type", d.FSType)
	u.comment("nofail: a machine without this disk boots, and the agent tells. Barriers stay on:\na log that was acknowledged must be there after a power cut.")
	u.set("Options", mountOptions(d.FSType))
	u.set("DirectoryMode", "0700")
	u.comment("Replaying a large journal takes its time.")
	u.set("TimeoutSec", "300s")

	u.section("Install")
	u.set("WantedBy", "local-fs.target")
	return u.b.String()
}

// mountOptions suit a log: no write for a read, and no device, program or privilege
// from a disk that only carries data. An ext4 that finds itself damaged takes no more
// writes, whatever its superblock says; xfs shuts down by itself.
func mountOptions(fsType string) string {
	const options = "rw,noatime,nodev,nosuid,noexec,nofail"
	if fsType == "ext4" {
		return options + ",errors=remount-ro"
	}
	return options
}
