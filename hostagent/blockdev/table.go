// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table writes the table that lsblk prints by default, byte for byte in a
// UTF-8 locale. width is that of the terminal, 0 for none: mount points that
// do not fit go on in the next line, and nothing is cut off. (lsblk would
// break the other columns too; here they stay whole.)
func Table(w io.Writer, devices []Device, width int) error {
	rows := []row{{columns: headings, points: []string{"MOUNTPOINTS"}}}
	for _, n := range Tree(devices) {
		rows = appendRows(rows, n, "", "", "")
	}
	widths := minimalWidths
	for _, r := range rows {
		for i, c := range r.columns {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	room := 0
	if width > 0 {
		used := len(headings)
		for _, w := range widths {
			used += w
		}
		room = max(width-used, len("MOUNTPOINTS"))
	}
	out := bufio.NewWriter(w)
	for _, r := range rows {
		r.write(out, widths, room)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("printing devices: %w", err)
	}
	return nil
}

var headings = [6]string{"NAME", "MAJ:MIN", "RM", "SIZE", "RO", "TYPE"}

// minimalWidths are lsblk's too: most sizes have up to five characters, so
// that tables taken one after the other look alike.
var minimalWidths = [len(headings)]int{3: 5}

// rightAligned columns are the numbers. MAJ:MIN is aligned at its colon.
var rightAligned = [len(headings)]bool{2: true, 3: true, 4: true}

type row struct {
	columns [len(headings)]string
	points  []string
	// below stands in the name's column of the row's further lines: the
	// branches of the tree that go on past them.
	below string
}

// appendRows adds a node and what is below it. branch is drawn before the
// name, stem before further lines of the same node, and trunk before both:
// the branches of the levels above.
func appendRows(rows []row, n Node, trunk, branch, stem string) []row {
	d := n.Device
	below := trunk + stem
	if len(n.Children) > 0 {
		below += "│ "
	}
	rows = append(rows, row{
		columns: [...]string{
			trunk + branch + printable(d.Name), fmt.Sprintf("%3d:%-3d", d.Major, d.Minor), bit(d.Removable),
			HumanSize(d.Size), bit(d.ReadOnly), d.Type,
		},
		points: d.MountPoints,
		below:  below,
	})
	for i, c := range n.Children {
		if i < len(n.Children)-1 {
			rows = appendRows(rows, c, trunk+stem, "├─", "│ ")
		} else {
			rows = appendRows(rows, c, trunk+stem, "└─", "  ")
		}
	}
	return rows
}

func (r row) write(out *bufio.Writer, widths [len(headings)]int, room int) {
	points := wrap(r.points, room)
	if len(points) == 0 {
		points = []string{""}
	}
	for line, point := range points {
		for i, cell := range r.columns {
			if line > 0 {
				cell = ""
				if i == 0 {
					cell = r.below
				}
			}
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if rightAligned[i] {
				cell = padding + cell
			} else {
				cell += padding
			}
			// A bufio.Writer keeps its first error for Flush.
			_, _ = out.WriteString(cell + " ")
		}
		_, _ = out.WriteString(point + "\n")
	}
}

// wrap makes lines of at most room characters, and any length with room 0.
func wrap(points []string, room int) []string {
	var lines []string
	for _, p := range points {
		p = printable(p)
		for room > 0 && utf8.RuneCountInString(p) > room {
			head := string([]rune(p)[:room])
			lines = append(lines, head)
			p = p[len(head):]
		}
		lines = append(lines, p)
	}
	return lines
}

// printable keeps names that a disk or a user chose from moving the cursor:
// control characters and broken UTF-8 are shown as \xNN, as lsblk does.
func printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 || r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
