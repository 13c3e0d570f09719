// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// maxDocument bounds what is read of a logs.yaml.
const maxDocument = 1 << 20

// Read reads a logs.yaml. Relative directories in it are beside the file.
func Read(path string) (*Config, error) {
	refuse := func(err error, next string) error {
		return &agentapi.Error{What: "the log configuration " + path + " is refused", Why: err.Error(), Next: next, Field: "log_config_file"}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, refuse(err, "Give an absolute path.")
	}
	b, err := read(abs)
	if err != nil {
		return nil, refuse(err, "Check the path and its permissions.")
	}
	c, err := Parse(b, filepath.Dir(abs))
	if e, ok := errors.AsType[*agentapi.Error](err); ok {
		e.What = "the log configuration " + path + " is refused"
		return nil, e
	}
	return c, err
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = fmt.Errorf("it is larger than %d bytes", maxDocument)
	}
	return b, err
}

// Parse reads the text of a logs.yaml; base is the directory that relative ones
// start from. An error is an *agentapi.Error that names line, key and value.
func Parse(text []byte, base string) (*Config, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, &agentapi.Error{What: refused, Why: err.Error(), Next: "Correct the file; `holdfast start -help` shows one."}
	}
	c := Default()
	root := &doc
	if doc.Kind == yaml.DocumentNode {
		root = doc.Content[0]
	}
	if err := c.decode(root, base); err != nil {
		return nil, err
	}
	return c, nil
}

const refused = "the log configuration is refused"

// wrong is the error of one key.
func wrong(n *yaml.Node, at, why, next string) error {
	what := at
	if n.Kind == yaml.ScalarNode {
		what = fmt.Sprintf("%s = %q", at, n.Value)
	}
	return &agentapi.Error{What: refused, Why: fmt.Sprintf("line %d: %s: %s", n.Line, what, why), Next: next, Field: at}
}

// onLine is a node for wrong that tells no value.
func onLine(n *yaml.Node) *yaml.Node { return &yaml.Node{Line: n.Line} }

// read1 reads the value of one key; at is the key's place in the document.
type read1 = func(at string, n *yaml.Node) error

// keys are what a mapping may hold.
type keys map[string]read1

// foreign are keys of CockroachDB's that mean nothing here.
var foreign = []string{
	"auditable", "capture-stray-errors", "compression", "disable-keep-alives", "exit-on-error", "file-based-headers",
	"format-options", "max-in-flight", "no-color", "otlp-defaults", "otlp-servers", "redact", "redactable", "unsafe-tls",
}

// mapping reads a mapping with these keys and no others. Nothing is an empty one.
func mapping(at string, n *yaml.Node, known keys) error {
	pairs, err := pairs(at, n)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		read, ok := known[p.key.Value]
		if !ok {
			why := "unknown key"
			if slices.Contains(foreign, p.key.Value) {
				why = "CockroachDB's, and without a meaning here"
			}
			return &agentapi.Error{What: refused, Why: fmt.Sprintf("line %d: %s: %s", p.key.Line, join(at, p.key.Value), why),
				Next: "Leave it out. The keys here are " + strings.Join(slices.Sorted(maps.Keys(known)), ", ") + ".", Field: join(at, p.key.Value)}
		}
		if err := read(join(at, p.key.Value), p.value); err != nil {
			return err
		}
	}
	return nil
}

type pair struct{ key, value *yaml.Node }

// pairs lists a mapping in the order of the file; a key comes once.
func pairs(at string, n *yaml.Node) ([]pair, error) {
	switch n = follow(n); {
	case isNull(n):
		return nil, nil
	case n.Kind != yaml.MappingNode:
		return nil, wrong(n, orDocument(at), "not a mapping", "Write its keys below it, indented, each with a colon.")
	}
	var all []pair
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := follow(n.Content[i])
		if key.Kind != yaml.ScalarNode {
			return nil, wrong(key, orDocument(at), "a key that is not a word", "Write plain keys.")
		}
		if seen[key.Value] {
			return nil, wrong(onLine(key), join(at, key.Value), "given twice", "Keep one of them.")
		}
		seen[key.Value] = true
		all = append(all, pair{key, follow(n.Content[i+1])})
	}
	return all, nil
}

// named reads a mapping of names to sinks, in the order of the names.
func named(at string, n *yaml.Node, read func(name, at string, n *yaml.Node) error) error {
	all, err := pairs(at, n)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b pair) int { return strings.Compare(a.key.Value, b.key.Value) })
	for _, p := range all {
		if !nameRE.MatchString(p.key.Value) {
			return wrong(onLine(p.key), join(at, p.key.Value), "not a name", "Use letters, digits, - and _, 40 at most.")
		}
		if err := read(p.key.Value, join(at, p.key.Value), p.value); err != nil {
			return err
		}
	}
	return nil
}

// follow takes an alias for what it stands for. An anchor that holds its own
// alias does no harm: the walk goes no deeper than the keys that are known.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func join(at, key string) string { return strings.TrimPrefix(at+"."+key, ".") }

func orDocument(at string) string {
	if at == "" {
		return "the document"
	}
	return at
}
