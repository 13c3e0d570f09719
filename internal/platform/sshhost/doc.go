// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package sshhost reaches a machine over SSH: it runs commands there, becomes
// root, installs files, asks for facts, and connects to addresses and unix sockets
// as seen from the machine. The platform for machines that somebody already has,
// internal/platform/ssh, is built on it.
//
// A Host holds one connection, made when it is first needed and again when it broke.
// What is idempotent is then done again; what is not ends with ErrConnectionLost, as
// nobody knows whether it was done.
//
// On this machine: a known_hosts file, one line more where first contact was
// to be recorded (0600, synced), and nothing else.
// On the other one, beside an uploaded file NAME:
//
//	NAME.previous                       what NAME was before
//	.NAME.<hash>.<attempt>.part         an upload that was cut; the next one goes on from it
//	.NAME.<attempt>.previous            for an instant, on its way to NAME.previous
//
// Guarantees. A key is never sent to, and no command run on, a machine whose host key is not
// the pinned one; such a machine is not tried twice. NAME is at every instant the whole
// old or the whole new file, also when the connection or the machine goes away, and two
// uploads at once end with one of them. A secret is in no argument list, and in
// no error. A peer that vanished without a word is noticed within Keepalive.Dead.
//
// What it demands of the machine: an OpenSSH server, a user whose login shell takes POSIX
// quoting (sh, bash, dash, ksh, zsh), a POSIX shell as /bin/sh and GNU coreutils. SFTP is not used: an install as root needs the shell anyhow (sudo), and the
// hash of what is already there, the sync of a single file and the free space are no
// part of SFTP version 3.
//
// A unix socket is forwarded by sshd (direct-streamlocal@openssh.com), with the user's rights.
// Where these do not suffice, Config.Bridge names a program of the machine that
// is run as root and joins its standard input and output to the socket: socat, or
// holdfast agent connect.
//
// It cannot end a command that runs as root on the machine, as sshd signals none of
// those: Command.Timeout has the machine do that. It allocates no terminal, answers no password prompt, knows no host certificates, and
// copies no directories.
package sshhost
