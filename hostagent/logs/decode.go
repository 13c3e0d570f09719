// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

var nameRE = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,39}$`)

// decode reads the document over the defaults.
func (c *Config) decode(root *yaml.Node, base string) error {
	file := defaultFile(base)
	syslog := Syslog{Sink: defaultServer(), Net: "udp", Facility: facilities["daemon"]}
	syslog.Format = Text
	http := HTTP{Sink: defaultServer(), Timeout: serverTimeout}
	fluent := Fluent{Sink: defaultServer(), Net: "tcp"}
	var sinks *yaml.Node
	// The defaults come first, wherever in the file they are.
	err := mapping("", root, keys{
		"file-defaults":   func(at string, n *yaml.Node) error { return file.read(at, n, base) },
		"syslog-defaults": syslog.read,
		"http-defaults":   http.read,
		"fluent-defaults": fluent.read,
		"sinks":           func(_ string, n *yaml.Node) error { sinks = n; return nil },
	})
	if err != nil {
		return err
	}
	files := func(at string, n *yaml.Node) error {
		return named(at, n, func(name, at string, n *yaml.Node) error {
			f := file
			f.Name = "file-groups." + name
			if err := f.read(at, n, base); err != nil {
				return err
			}
			c.Files = append(c.Files, f.settled())
			return nil
		})
	}
	groups := false
	if sinks == nil {
		sinks = &yaml.Node{}
	}
	err = mapping("sinks", sinks, keys{
		"file-groups": func(at string, n *yaml.Node) error { groups = true; return files(at, n) },
		"stderr":      func(at string, n *yaml.Node) error { return mapping(at, n, c.Stderr.keys(fileBuffering)) },
		"syslog-servers": func(at string, n *yaml.Node) error {
			return named(at, n, func(name, at string, n *yaml.Node) error {
				s := syslog
				s.Name = "syslog-servers." + name
				if err := s.read(at, n); err != nil {
					return err
				}
				c.Syslog = append(c.Syslog, s)
				return s.check(at, n)
			})
		},
		"http-servers": func(at string, n *yaml.Node) error {
			return named(at, n, func(name, at string, n *yaml.Node) error {
				h := http
				h.Name = "http-servers." + name
				if err := h.read(at, n); err != nil {
					return err
				}
				c.HTTP = append(c.HTTP, h)
				return h.check(at, n)
			})
		},
		"fluent-servers": func(at string, n *yaml.Node) error {
			return named(at, n, func(name, at string, n *yaml.Node) error {
				f := fluent
				f.Name = "fluent-servers." + name
				if err := f.read(at, n); err != nil {
					return err
				}
				c.Fluent = append(c.Fluent, f)
				return f.check(at, n)
			})
		},
	})
	if err != nil {
		return err
	}
	if !groups { // as CockroachDB does; file-groups: {} is none
		file.Name = "file-groups." + defaultGroup
		c.Files = append(c.Files, file.settled())
	}
	return c.distinct()
}

// distinct refuses two groups that write one file.
func (c *Config) distinct() error {
	paths := map[string]string{}
	for _, f := range c.Files {
		if other, ok := paths[f.path()]; ok {
			return &agentapi.Error{What: refused, Why: fmt.Sprintf("sinks.%s and sinks.%s both write %s", other, f.Name, f.path()),
				Next: "Give them different names.", Field: "sinks." + f.Name}
		}
		paths[f.path()] = f.Name
	}
	return nil
}

// path is the file that a group writes.
func (f *File) path() string {
	return filepath.Join(f.Dir, fileName(strings.TrimPrefix(f.Name, "file-groups."))+".log")
}

// keys are those that every sink has; buffering begins with what it inherits, or
// with fallback.
func (s *Sink) keys(fallback Buffering) keys {
	return keys{
		"filter":    filter(&s.Filter),
		"format":    format(&s.Format),
		"buffering": buffering(&s.Buffering, fallback),
		"channels":  channels,
	}
}

func (f *File) read(at string, n *yaml.Node, base string) error {
	k := f.keys(fileBuffering)
	k["dir"] = directory(&f.Dir, base)
	k["max-file-size"] = size(&f.MaxFileSize, 0)
	k["max-group-size"] = size(&f.MaxGroupSize, 0)
	k["file-permissions"] = permissions(&f.Permissions)
	k["buffered-writes"] = boolean(&f.BufferedWrite)
	if err := mapping(at, n, k); err != nil {
		return err
	}
	switch {
	case f.BufferedWrite && f.Buffering != atOnce:
		return wrong(n, at, "buffered-writes is true, and buffering is set too", "Set buffered-writes: false, or buffering: NONE.")
	case f.MaxGroupSize > 0 && f.MaxGroupSize < f.MaxFileSize:
		return wrong(n, at, fmt.Sprintf("max-group-size (%d bytes) is below max-file-size (%d bytes)", f.MaxGroupSize, f.MaxFileSize), "Make the group larger than one file.")
	}
	return nil
}

// settled is a group that is complete.
func (f File) settled() File {
	if f.BufferedWrite {
		f.Buffering = Buffering{fileBuffering.MaxStaleness, fileBuffering.FlushTriggerSize, unbufferedSize}
	}
	return f
}

func (s *Syslog) read(at string, n *yaml.Node) error {
	k := s.keys(serverBuffering)
	k["net"] = oneOf(&s.Net, "udp", "udp4", "udp6", "tcp", "tcp4", "tcp6", "unix")
	k["address"] = word(&s.Address)
	k["facility"] = facility(&s.Facility)
	return mapping(at, n, k)
}

func (s *Syslog) check(at string, n *yaml.Node) error {
	if s.Net == "unix" {
		if s.Address == "" {
			s.Address = "/dev/log"
		}
		if !filepath.IsAbs(s.Address) {
			return wrong(n, at, fmt.Sprintf("address %q is not the path of a socket", s.Address), "Write it from / on; /dev/log is the machine's own.")
		}
		return nil
	}
	return hostPort(at, n, s.Address)
}

func (h *HTTP) read(at string, n *yaml.Node) error {
	method := "POST"
	k := h.keys(serverBuffering)
	k["address"] = word(&h.Address)
	k["timeout"] = duration(&h.Timeout)
	k["method"] = oneOf(&method, "POST")
	k["headers"] = headers(&h.Headers)
	return mapping(at, n, k)
}

func (h *HTTP) check(at string, n *yaml.Node) error {
	if why := serverURL(h.Address); why != "" {
		return wrong(n, at, why, "Write address: https://logs.example.com/path.")
	}
	return nil
}

func (f *Fluent) read(at string, n *yaml.Node) error {
	k := f.keys(serverBuffering)
	k["net"] = oneOf(&f.Net, "tcp", "tcp4", "tcp6")
	k["address"] = word(&f.Address)
	delete(k, "format") // its protocol is JSON
	return mapping(at, n, k)
}

func (f *Fluent) check(at string, n *yaml.Node) error { return hostPort(at, n, f.Address) }
