// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// syslogOutput sends RFC 5424 messages:
//
//	<PRI>1 TIMESTAMP HOST holdfast PID - - MSG
//
// one a datagram, or with its length ahead of it on a stream (RFC 6587, 3.4.1).
type syslogOutput struct {
	Syslog
	conn conn
	host string
	pid  int
}

// maxDatagram is what fits into UDP; a longer message is cut.
const maxDatagram = 60 * kib

func newSyslogOutput(s Syslog) *syslogOutput {
	networks := []string{s.Net}
	if s.Net == "unix" {
		networks = []string{"unixgram", "unix"}
	}
	host, err := os.Hostname()
	if err != nil || host == "" || strings.ContainsAny(host, " \n") {
		host = "-"
	}
	return &syslogOutput{Syslog: s, conn: conn{networks: networks, address: s.Address}, host: host, pid: os.Getpid()}
}

// open implements output. A server that is away now may come.
func (o *syslogOutput) open(context.Context) error { return nil }

// write implements output.
func (o *syslogOutput) write(ctx context.Context, batch []record) (int, error) {
	c, err := o.conn.use(ctx)
	if err != nil {
		return 0, err
	}
	stream := strings.HasPrefix(o.Net, "tcp") || c.RemoteAddr().Network() == "unix"
	for i, r := range batch {
		m := o.message(r)
		if stream {
			m = append(fmt.Appendf(nil, "%d ", len(m)), m...)
		} else {
			m = m[:min(len(m), maxDatagram)]
		}
		if _, err := c.Write(m); err != nil {
			o.conn.reset()
			return i, err
		}
	}
	return len(batch), nil
}

// severities of RFC 5424.
func severity(l hclog.Level) int {
	switch {
	case l >= hclog.Error:
		return 3
	case l == hclog.Warn:
		return 4
	case l == hclog.Info, l == hclog.NoLevel:
		return 6
	}
	return 7
}

func (o *syslogOutput) message(r record) []byte {
	m := bytes.TrimSuffix(r.line, []byte("\n"))
	if o.Format == Text { // time and level are in the header already
		if _, rest, ok := bytes.Cut(m, []byte("]")); ok {
			m = bytes.TrimLeft(rest, " ")
		}
	}
	h := fmt.Appendf(nil, "<%d>1 %s %s holdfast %d - - ", o.Facility*8+severity(r.level), r.at.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), o.host, o.pid)
	return append(h, m...)
}

// reopen implements output.
func (o *syslogOutput) reopen() { o.conn.reset() }

// close implements output.
func (o *syslogOutput) close() error { return o.conn.close() }
