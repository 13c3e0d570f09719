// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package logs takes the lines of a process's log to files, standard error,
// syslog, HTTP and Fluentd, as a logs.yaml says that users of CockroachDB know.
//
// No log call ever waits for a disk or a network: with a logs.yaml or without,
// buffered or not. Every sink has a queue of its own, bounded in bytes, and one
// goroutine that takes lines from it to where they go; a call only puts its line
// into the queues. What CockroachDB writes synchronously, a file without
// buffering, is written here as soon as the sink's goroutine can.
//
//	log call ─▶ hclog ─┬─ text ─▶ queue ─▶ goroutine ─▶ file
//	                   ├─ text ─▶ queue ─▶ goroutine ─▶ standard error
//	                   └─ JSON ─▶ queue ─▶ goroutine ─▶ HTTP server
//
// A queue that is full, because a disk hangs or a server is away, gives up its
// oldest lines, one by one, for the new ones: what is left after a hang is its end.
// They are counted (log.messages.dropped), and the first line after the gap says
// how many there were. Lines of one sink stay in order. A sink that fails tells the
// others; a network sink tries for half a minute to deliver before it gives a batch
// up, a file and standard error try three times.
//
// buffering gathers lines: they are written once flush-trigger-size bytes are
// there or the oldest is max-staleness old. Lines that are queued and those on
// their way count against max-buffer-size together. buffering: NONE writes each
// line at once and keeps 10MiB. buffered-writes is the older name of
// the same wish, one second and 256KiB; both at once are refused, as there.
//
// A file that takes longer than HOLDFAST_LOG_MAX_SYNC_DURATION (20s; 40s where
// the log of the store may fail over; 0 is never) to take one write ends the
// process, as CockroachDB's does, whether it is buffered or not: its disk is
// taken for dead. The last words go to the other sinks, for two seconds at most;
// nothing waits for the disk. Standard error, whatever file that is, never ends
// the process.
//
// On disk, in a group's dir: holdfast.log (holdfast-GROUP.log for a group that is
// not called default), put aside as holdfast.TIME.log when it has reached
// max-file-size; of those the oldest are removed while all together are larger than
// max-group-size. Files are readable by their owner alone unless
// file-permissions says otherwise, directories that are made here too. Nothing is
// synced: a line that was written survives the process, not the machine.
//
// What differs from CockroachDB: there are no channels (channels: all is
// accepted), nothing is redacted, dir is "logs" beside logs.yaml where none is set
// (a log must not make anything in a store, whose disk may not be mounted), and
// standard error stays on unless sinks.stderr.filter is NONE. The level of the
// engine's configuration decides what is logged at all; a filter takes away more.
//
// The Go runtime writes the crash of a process to its standard error by itself;
// that does not pass here, and reaches the file that standard error is.
package logs
