// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// maxUnitName is systemd's UNIT_NAME_MAX.
const maxUnitName = 255

// escapeName turns a text into a part of a unit's name as systemd-escape does: / is
// -, and what is neither a letter, a digit, : _ nor . is \xNN, a leading . too.
func escapeName(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '/':
			b.WriteByte('-')
		case c == '.' && i == 0, c != ':' && c != '_' && c != '.' && !alphanumeric(c):
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// escapePath is systemd-escape --path for a clean absolute path.
func escapePath(p string) string {
	if p == "/" {
		return "-"
	}
	return escapeName(strings.Trim(p, "/"))
}

// The two ways in which a value stands in a file. systemd takes the lines apart, then
// the words of those directives that have several, then specifiers.

// word is a value among others: in quotes, so that spaces do not divide it.
func word(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`).Replace(s) + `"`
}

// argument is a word of a command line, where $ is a variable too; the program itself,
// the first word, is taken as it is.
func argument(s string) string { return strings.ReplaceAll(word(s), "$", "$$") }

// line is a value that is the whole rest of its line, as of What= and Description=:
// there are no quotes, a percent sign is the only one that means something.
func line(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// checkText refuses what no file can carry: no quoting of systemd's keeps a new line
// or another control character in all directives alike.
func checkText(field, s string) error {
	odd := func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
	switch {
	case s == "":
		return bad(field, s, "empty", "Give it a value.")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, odd):
		return bad(field, s, "it has a control character or is not UTF-8", "Use a plain text of one line.")
	case strings.TrimSpace(s) != s || strings.HasSuffix(s, `\`):
		return bad(field, s, "it begins or ends with a space, or ends with a backslash", "Leave that out.")
	}
	return nil
}

func checkPath(field, p string) error {
	if err := checkText(field, p); err != nil {
		return err
	}
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
		return bad(field, p, "not an absolute path in its shortest form", "Write it from / on, without . or .. or a closing slash.")
	}
	if len(escapePath(p))+len(".mount") > maxUnitName {
		return bad(field, p, "too long for the name of a mount unit", "Use a shorter path.")
	}
	return nil
}

func bad(field string, value any, why, next string) error {
	return &agentapi.Error{What: "the host's units are refused", Why: fmt.Sprintf("%s = %q: %s", field, fmt.Sprint(value), why), Next: next, Field: field}
}
