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
	t, err := f.parse()
	if err != nil {
		return nil, err
	}
	var secrets []string
	vars := map[string]string{}
	for name, v := range f.Vars {
		vars[name] = v.text
		if v.secret {
			secrets = append(secrets, v.text)
		}
	}
	var b bytes.Buffer
	if err := t.Execute(&b, vars); err != nil {
		names := slices.Sorted(maps.Keys(vars))
		return nil, errors.New(redact(fmt.Sprintf("%v; there are %s", err, strings.Join(names, ", ")), secrets))
	}
	if b.Len() > maxText {
		return nil, fmt.Errorf("the file would have more than %d bytes", maxText)
	}
	return b.Bytes(), nil
}

func (f *File) parse() (*template.Template, error) {
	for _, name := range slices.Sorted(maps.Keys(f.Vars)) {
		if !strings.Contains(f.Template, "."+name) {
			return nil, fmt.Errorf("the variable %s is not in it", name)
		}
	}
	return template.New("template").Option("missingkey=error").Parse(f.Template)
}

// checkTemplate makes the content to see whether it can be made. Where a variable is
// not known that shows when the step runs.
func (f *File) checkTemplate() error {
	for _, v := range f.Vars {
		if v.unknown != "" {
			_, err := f.parse()
			return err
		}
	}
	_, err := f.render()
	return err
}
