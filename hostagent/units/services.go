// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"fmt"
	"strings"
)

// unitText is the text of a unit: sections, directives and comments in their order.
type unitText struct{ b strings.Builder }

func (u *unitText) section(name string) {
	if u.b.Len() > 0 {
		u.b.WriteByte('\n')
	}
	fmt.Fprintf(&u.b, "[%s]\n", name)
}

func (u *unitText) comment(text string) {
	for l := range strings.Lines(text) {
		fmt.Fprintf(&u.b, "# %s\n", strings.TrimRight(l, "\n"))
	}
}

// set writes a directive; value is quoted by the caller.
func (u *unitText) set(name, value string) { fmt.Fprintf(&u.b, "%s=%s\n", name, value) }

func (u *unitText) words(name string, values []string) {
	if len(values) > 0 {
		u.set(name, strings.Join(values, " "))
	}
}

// The exits of an engine, as holdfast engine has them: 0 is a stop that somebody asked
// for, 1 a failure, 2 wrong usage. exitConfig is sysexits' EX_CONFIG, for a
// configuration that is refused.
const (
	exitUsage  = 2
	exitConfig = 78
)

// engine is the unit of the engine.
func engine(h *Host) string {
	var u unitText
	u.section("Unit")
	u.set("Description", "Holdfast engine of node "+line(h.Node))
	u.set("Wants", "network-online.target")
	u.set("After", "network-online.target")
	u.comment("A store that is not mounted is not started on, and what it was is not made anew.")
	var stores []string
	for _, d := range h.Stores {
		stores = append(stores, word(d.Path))
	}
	u.words("RequiresMountsFor", stores)
	if h.Side != nil && h.Side.UUID != "" {
		u.comment("The side is waited for and not required: an engine serves without it, and says so.")
		u.set("Wants", MountName(h.Side.Path))
		u.set("After", MountName(h.Side.Path))
	}
	u.comment("Never gives up: a disk may be away for an hour and come back.")
	u.set("StartLimitIntervalSec", "0")

	u.section("Service")
	u.set("Type", "exec")
	u.set("User", h.User)
	u.set("Group", h.User)
	// Its logs.yaml is named in the configuration: what is in there, an engine takes over
	// while it runs.
	u.words("ExecStart", []string{word(h.Binary), "engine", "-config-file", argument(h.Config)})
	u.set("ExecReload", "/bin/kill -HUP $MAINPID")
	u.comment("0 is a stop or a leave that somebody asked for. 2 and 78 are a command line and a\nconfiguration that the next start would refuse too. All else is worth another start,\nalso SIGKILL and a store that is still locked by a predecessor whom a disk holds.")
	u.set("Restart", "on-failure")
	u.set("RestartPreventExitStatus", fmt.Sprintf("%d %d", exitUsage, exitConfig))
	u.comment("Clean ends for systemd, and none for an engine: it was told to read its configuration\nbefore it listened for that, or lost who read its output.")
	u.set("RestartForceExitStatus", "SIGHUP SIGPIPE")
	if h.Systemd >= restartStepsSystemd {
		u.set("RestartSec", "1s")
		u.set("RestartSteps", "5")
		u.set("RestartMaxDelaySec", "30s")
	} else {
		u.comment("RestartSteps needs systemd 254.")
		u.set("RestartSec", "5s")
	}
	u.comment("An engine stops within 10 s by itself, or a disk hangs and SIGKILL is right.")
	u.set("TimeoutStopSec", "15s")
	u.set("KillMode", "mixed")
	u.set("OOMScoreAdjust", "-900")
	u.set("LimitNOFILE", "65536")
	u.comment("A core would have all keys in it, and fill the disk.")
	u.set("LimitCORE", "0")
	u.set("IOAccounting", "yes")
	u.set("MemoryAccounting", "yes")
	u.set("CPUAccounting", "yes")
	u.set("LogRateLimitIntervalSec", "30s")
	u.set("LogRateLimitBurst", "20000")
	u.set("SyslogIdentifier", "holdfast-engine")
	u.set("LogsDirectory", "holdfast")
	u.set("LogsDirectoryMode", "0700")
	u.set("UMask", "0077")
	harden(&u, h)

	u.section("Install")
	u.set("WantedBy", "multi-user.target")
	return u.b.String()
}

// previousPath is a drop-in of ours: it comes and goes while an engine runs, and the unit
// stays what that was started with.
const previousPath = unitDir + EngineUnit + ".d/50-holdfast-previous.conf"

// previous lets an engine reach the directories that its log has not left yet.
func previous(h *Host) string {
	var u unitText
	u.comment("Until an engine has drained them: it does not start where it cannot.")
	u.section("Unit")
	var writable []string
	for _, d := range h.Previous {
		if d.Mount != "" {
			u.set("Wants", MountName(d.Mount))
			u.set("After", MountName(d.Mount))
		}
		writable = append(writable, optional(d.Path))
	}
	u.section("Service")
	u.words("ReadWritePaths", writable)
	return u.b.String()
}

// optional is a path that may be missing.
func optional(path string) string { return `"-` + strings.TrimPrefix(word(path), `"`) }

// harden takes from the engine what it does not need. It reads /proc and /sys (mounts,
// locks, its cgroup), so ProcSubset stays.
func harden(u *unitText, h *Host) {
	u.comment("The whole of the host is read-only but for these.")
	u.set("ProtectSystem", "strict")
	var writable []string
	for _, d := range h.Stores {
		writable = append(writable, word(d.Path))
	}
	if h.Side != nil {
		writable = append(writable, optional(h.Side.Path))
	}
	u.words("ReadWritePaths", writable)
	for _, d := range []struct{ name, value string }{
		{"NoNewPrivileges", "yes"},
		{"CapabilityBoundingSet", ""},
		{"AmbientCapabilities", ""},
		{"ProtectHome", "yes"},
		{"PrivateTmp", "yes"},
		{"PrivateDevices", "yes"},
		{"ProtectKernelTunables", "yes"},
		{"ProtectKernelModules", "yes"},
		{"ProtectKernelLogs", "yes"},
		{"ProtectControlGroups", "yes"},
		{"ProtectClock", "yes"},
		{"ProtectHostname", "yes"},
		{"ProtectProc", "invisible"},
		{"RestrictNamespaces", "yes"},
		{"RestrictRealtime", "yes"},
		{"RestrictSUIDSGID", "yes"},
		{"LockPersonality", "yes"},
		{"MemoryDenyWriteExecute", "yes"},
		{"RemoveIPC", "yes"},
		{"RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"},
		{"SystemCallArchitectures", "native"},
		{"SystemCallFilter", "@system-service"},
		{"SystemCallErrorNumber", "EPERM"},
	} {
		u.set(d.name, d.value)
	}
}

// agent is the unit of the host agent. It mounts, formats and runs provisioning steps,
// and what it starts inherits what is taken from it: so it is root, whole, and in the
// host's mount namespace, where its mounts are the host's.
func agent(h *Host) string {
	var u unitText
	u.section("Unit")
	u.set("Description", "Holdfast host agent of node "+line(h.Node))
	u.set("StartLimitIntervalSec", "0")

	u.section("Service")
	u.set("Type", "exec")
	args := []string{word(h.Binary), "agent", "-systemd", "-dir", argument(h.Dir), "-socket", argument(DefaultSocket)}
	if h.AgentLog != "" {
		args = append(args, "-log-file", argument(h.AgentLog))
	}
	u.words("ExecStart", args)
	u.set("Restart", "always")
	u.set("RestartSec", "1s")
	u.set("RestartPreventExitStatus", fmt.Sprint(exitUsage))
	u.comment("Whatever lives beside the agent in its cgroup outlives it, an engine above all.")
	u.set("KillMode", "process")
	u.set("OOMPolicy", "continue")
	u.set("OOMScoreAdjust", "-500")
	u.set("LimitNOFILE", "65536")
	u.set("LimitCORE", "0")
	u.set("SyslogIdentifier", "holdfast-agent")
	u.comment("For the directories above mount points, which an engine has to pass, and for what\nprovisioning steps make. The agent's own files name their modes.")
	u.set("UMask", "0022")

	u.section("Install")
	u.set("WantedBy", "multi-user.target")
	return u.b.String()
}
