// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"fmt"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/logs"
)

// Where the files around the units are.
const (
	sysusersPath  = "/etc/sysusers.d/holdfast.conf"
	tmpfilesPath  = "/etc/tmpfiles.d/holdfast.conf"
	sysctlPath    = "/etc/sysctl.d/60-holdfast.conf"
	journaldPath  = "/etc/systemd/journald.conf.d/60-holdfast.conf"
	logrotatePath = "/etc/logrotate.d/holdfast"
)

// sysusers makes the engine's user.
func sysusers(h *Host) string {
	return fmt.Sprintf("u %s - \"Holdfast engine\" /nonexistent /usr/sbin/nologin\n", h.User)
}

// tmpfiles makes the directory of the agent's socket at each boot.
func tmpfiles() string { return "d " + runDir + " 0700 root root -\n" }

// sysctls are the kernel's settings for a log, by name.
var sysctls = []struct{ name, value, why string }{
	{"vm.dirty_background_bytes", "67108864", "Written back early and little at a time: a sync of the log does not wait behind\ngigabytes of somebody else's."},
	{"vm.dirty_bytes", "268435456", ""},
	{"vm.swappiness", "1", "All keys are in memory; one that is swapped out makes a read wait for a disk."},
}

func sysctl() string {
	var u unitText
	for _, s := range sysctls {
		if s.why != "" {
			u.comment(s.why)
		}
		fmt.Fprintf(&u.b, "%s = %s\n", s.name, s.value)
	}
	return u.b.String()
}

// journald keeps the journal over a reboot, bounded.
func journald() string {
	var u unitText
	u.section("Journal")
	u.comment("What an engine said before a machine died is wanted afterwards.")
	u.set("Storage", "persistent")
	u.set("SystemMaxUse", "1G")
	u.set("SystemKeepFree", "1G")
	return u.b.String()
}

// logrotate rotates the agent's log file. The engine's own files are put aside by the
// engine (package logs), and two must not do that.
func logrotate(h *Host) string {
	options := []string{"weekly", "maxsize 50M", "rotate 8", "missingok", "notifempty", "compress", "delaycompress", "copytruncate"}
	return h.AgentLog + " {\n\t" + strings.Join(options, "\n\t") + "\n}\n"
}

func logsYAML(h *Host) (string, error) {
	text, err := logs.FromSpec(h.Buffering, logDir)
	return string(text), err
}
