// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package stall makes a mounted file system hang for a while, and sees to it
// that it comes back whatever happens.
//
// It freezes the file system (FIFREEZE, what fsfreeze does): every write and
// every fsync blocks in the kernel, uninterruptible, as on a disk that does not
// answer. Whoever leaves one frozen leaves processes that no signal ends. So
// the freezing is done by a process that does nothing else, the thawer:
//
//	program ── socketpair ── thawer (own session, no terminal, cwd /)
//	   │  freeze, descriptor of the mount ──▶ │ FIFREEZE
//	   │ ◀─────────────────────────── frozen  │ waits for: release, deadline,
//	   │                                      │ end of the socket, a signal
//	   │ ◀─────────────────────────── thawed  │ FITHAW
//
// It guarantees, each tested with SIGKILL on a loop device:
//
//   - the program dies, however: the kernel closes its end, the thawer thaws;
//   - the thawer dies: the program thaws through a descriptor of its own;
//   - the thawer is stopped, or the program is: the other one thaws at the
//     deadline, of which there always is one, [Most] at most.
//
// What was frozen by somebody else is refused and never thawed. Both processes
// killed in the same moment leave it frozen: `fsfreeze -u MOUNTPOINT` ends that.
//
// It writes nothing anywhere, and it does not choose what to freeze: whether a
// file system may hang is for its caller to know.
package stall
