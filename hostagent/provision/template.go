// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
)

// render returns the content of the file.
func (f *File) render() ([]byte, error) {
	if f.Template == "" {
		return []byte(f.Content), nil
	}
	var secrets []string
	vars := map[string]string{}
	for name, v := range f.Vars {
		vars[name] = v.text
		if v.secret {
			secrets = append(secrets, v.text)
		}
	}
	names := slices.Sorted(maps.Keys(vars))
	for _, name := range names {
		if !strings.Contains(f.Template, "."+name) {
			return nil, fmt.Errorf("the variable %s is not in it", name)
		}
	}
	t, err := template.New("template").Option("missingkey=error").Parse(f.Template)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, vars); err != nil {
		return nil, errors.New(redact(fmt.Sprintf("%v; there are %s", err, strings.Join(names, ", ")), secrets))
	}
	if b.Len() > maxText {
		return nil, fmt.Errorf("the file would have more than %d bytes", maxText)
	}
	return b.Bytes(), nil
}
