// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package mountinfo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrMalformed is returned for a line that is not of the format.
var ErrMalformed = errors.New("malformed mountinfo line")

// Parse parses a mount table. A line is (proc(5)):
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//	|  |  |    |     |     |          |        | |    |         |
//	id |  dev  root  point options    0..n     | type source    super options
//	   parent                         fields   separator
//
// Lines that do not parse are left out and named in the error; the others are
// returned with it.
func Parse(data []byte) (Table, error) {
	var table Table
	var errs []error
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		m, err := parseLine(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", number, err))
			continue
		}
		table = append(table, m)
	}
	return table, errors.Join(errs...)
}

func parseLine(line string) (Mount, error) {
	// Split, not Fields: an empty source is printed as two spaces in a row.
	fields := strings.Split(line, " ")
	if len(fields) < 10 {
		return Mount{}, fmt.Errorf("%w: %d fields, want 10 or more", ErrMalformed, len(fields))
	}
	separator := 6
	for separator < len(fields) && fields[separator] != "-" {
		separator++
	}
	if len(fields)-separator < 4 {
		return Mount{}, fmt.Errorf("%w: no separator with three fields after it", ErrMalformed)
	}
	m := Mount{
		Root:    Unescape(fields[3]),
		Point:   Unescape(fields[4]),
		Options: Unescape(fields[5]),
		FSType:  Unescape(fields[separator+1]),
		Source:  Unescape(fields[separator+2]),
		// Some file systems print their own options unescaped.
		SuperOptions: Unescape(strings.Join(fields[separator+3:], " ")),
	}
	var err error
	if m.ID, err = strconv.Atoi(fields[0]); err != nil {
		return Mount{}, fmt.Errorf("%w: id: %w", ErrMalformed, err)
	}
	if m.Parent, err = strconv.Atoi(fields[1]); err != nil {
		return Mount{}, fmt.Errorf("%w: parent: %w", ErrMalformed, err)
	}
	major, minor, ok := strings.Cut(fields[2], ":")
	if !ok {
		return Mount{}, fmt.Errorf("%w: device %q is not MAJ:MIN", ErrMalformed, fields[2])
	}
	maj, err := strconv.ParseUint(major, 10, 32)
	if err != nil {
		return Mount{}, fmt.Errorf("%w: major: %w", ErrMalformed, err)
	}
	mnr, err := strconv.ParseUint(minor, 10, 32)
	if err != nil {
		return Mount{}, fmt.Errorf("%w: minor: %w", ErrMalformed, err)
	}
	m.Major, m.Minor = uint32(maj), uint32(mnr)
	return m, nil
}

// Unescape undoes the kernel's mangling: space, tab, newline, backslash and #
// are written as a backslash and three octal digits. Anything else after a
// backslash is kept as it is.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
