// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"fmt"
	"maps"
	"net"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.yaml.in/yaml/v3"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// scalar reads one plain value with parse, whose failure says why and what next.
func scalar(parse func(value string) (why, next string)) read1 {
	return func(at string, n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || isNull(n) {
			return wrong(n, at, "not one value", "Write the value behind the colon.")
		}
		if why, next := parse(n.Value); why != "" {
			return wrong(n, at, why, next)
		}
		return nil
	}
}

func word(field *string) read1 {
	return scalar(func(v string) (string, string) {
		if v == "" || strings.ContainsAny(v, " \t\n\x00") {
			return "empty, or not one word", "Write it without spaces."
		}
		*field = v
		return "", ""
	})
}

func oneOf(field *string, choices ...string) read1 {
	return scalar(func(v string) (string, string) {
		i := slices.IndexFunc(choices, func(c string) bool { return strings.EqualFold(c, v) })
		if i < 0 {
			return "not known", "Use one of " + strings.Join(choices, ", ") + "."
		}
		*field = choices[i]
		return "", ""
	})
}

func format(field *Format) read1 { return oneOf((*string)(field), string(Text), string(JSON)) }

var filters = map[string]hclog.Level{
	"TRACE": hclog.Trace, "DEBUG": hclog.Debug, "INFO": hclog.Info, "WARN": hclog.Warn, "WARNING": hclog.Warn, "ERROR": hclog.Error, "NONE": hclog.Off,
}

func filter(field *hclog.Level) read1 {
	return scalar(func(v string) (string, string) {
		l, ok := filters[strings.ToUpper(v)]
		if !ok {
			return "not a level", "Use one of TRACE, DEBUG, INFO, WARNING, ERROR, or NONE for nothing."
		}
		*field = l
		return "", ""
	})
}

// channels accepts what means every channel: there is one here.
func channels(at string, n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 1 {
		n = follow(n.Content[0])
	}
	if n.Kind == yaml.ScalarNode && strings.EqualFold(n.Value, "all") {
		return nil
	}
	return wrong(n, at, "there are no channels here", "Write channels: all, or leave it out; filter chooses by level.")
}

func boolean(field *bool) read1 {
	return scalar(func(v string) (string, string) {
		switch strings.ToLower(v) {
		case "true":
			*field = true
		case "false":
			*field = false
		default:
			return "neither true nor false", "Write one of them."
		}
		return "", ""
	})
}

// size reads a number of bytes, least or more.
func size(field *int64, least int64) read1 {
	return scalar(func(v string) (string, string) {
		n, err := agentapi.ParseSize(v)
		switch {
		case err != nil:
			return "not a size", "Write a number and a unit: 256KiB, 10MiB, 1GiB."
		case n < least:
			return "not above zero", "Write a number and a unit: 256KiB, 10MiB, 1GiB."
		}
		*field = n
		return "", ""
	})
}

func duration(field *time.Duration) read1 {
	return scalar(func(v string) (string, string) {
		d, err := time.ParseDuration(v)
		switch {
		case err != nil:
			return "not a duration", "Write a number and a unit: 500ms, 1s, 5m."
		case d <= 0:
			return "not above zero", "Write a number and a unit: 500ms, 1s, 5m."
		}
		*field = d
		return "", ""
	})
}

// buffering reads NONE, or a mapping over what is inherited.
func buffering(field *Buffering, fallback Buffering) read1 {
	return func(at string, n *yaml.Node) error {
		if n.Kind == yaml.ScalarNode && strings.EqualFold(n.Value, "NONE") {
			*field = atOnce
			return nil
		}
		b := *field
		if b == atOnce {
			b = fallback
		}
		err := mapping(at, n, keys{
			"max-staleness":      duration(&b.MaxStaleness),
			"flush-trigger-size": size(&b.FlushTriggerSize, 1),
			"max-buffer-size":    size(&b.MaxBufferSize, 1),
		})
		if err == nil && b.FlushTriggerSize > b.MaxBufferSize {
			err = wrong(n, at, fmt.Sprintf("flush-trigger-size (%d bytes) is above max-buffer-size (%d bytes)", b.FlushTriggerSize, b.MaxBufferSize),
				"Make the buffer larger than what is written at once.")
		}
		*field = b
		return err
	}
}

func directory(field *string, base string) read1 {
	return scalar(func(v string) (string, string) {
		switch {
		case v == "" || strings.ContainsRune(v, 0):
			return "not a directory", "Write . for the directory of the file."
		case strings.HasPrefix(v, "~"):
			return "~ is a shell's", "Write the path from / on."
		}
		if !filepath.IsAbs(v) {
			v = filepath.Join(base, v)
		}
		*field = filepath.Clean(v)
		return "", ""
	})
}

func permissions(field *os.FileMode) read1 {
	return scalar(func(v string) (string, string) {
		m, err := strconv.ParseUint(v, 8, 32)
		if err != nil || m&^0o666 != 0 || m&0o600 != 0o600 {
			return "not permissions of a log file", "Write three octal digits, the owner's 6 and none that executes: 600, 640, 644."
		}
		*field = os.FileMode(m)
		return "", ""
	})
}

// headers reads names and values. A value is told in no error: it may be a key.
func headers(field *map[string]string) read1 {
	return func(at string, n *yaml.Node) error {
		all, err := pairs(at, n)
		if err != nil {
			return err
		}
		h := maps.Clone(*field)
		if h == nil {
			h = map[string]string{}
		}
		for _, p := range all {
			name := textproto.CanonicalMIMEHeaderKey(p.key.Value)
			if p.value.Kind != yaml.ScalarNode || name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(p.value.Value, "\r\n\x00") {
				return wrong(onLine(p.key), join(at, p.key.Value), "not a header of HTTP", "Write NAME: VALUE, each on one line.")
			}
			h[name] = p.value.Value
		}
		*field = h
		return nil
	}
}

// facilities are RFC 5424's, by the names of syslog(3).
var facilities = map[string]int{
	"user": 1, "daemon": 3, "syslog": 5, "local0": 16, "local1": 17, "local2": 18, "local3": 19,
	"local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

func facility(field *int) read1 {
	return scalar(func(v string) (string, string) {
		f, ok := facilities[strings.ToLower(v)]
		if !ok {
			return "not a facility", "Use one of " + strings.Join(slices.Sorted(maps.Keys(facilities)), ", ") + "."
		}
		*field = f
		return "", ""
	})
}

func hostPort(at string, n *yaml.Node, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host != "" {
		if p, perr := strconv.Atoi(port); perr == nil && p > 0 && p < 1<<16 {
			return nil
		}
	}
	return wrong(onLine(n), at, fmt.Sprintf("address %q is not host:port", address), "Write address: host:port.")
}

// serverURL says what is wrong with the address of an HTTP server, "" for nothing.
// It tells no password.
func serverURL(address string) string {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return "address is missing"
	case err != nil:
		return "address is not a URL"
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Sprintf("address %q is not the URL of an HTTP server", u.Redacted())
	}
	return ""
}
