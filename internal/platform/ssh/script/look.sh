# Copyright (c) The Holdfast Authors
# SPDX-License-Identifier: MPL-2.0

# Says whose the machine is. In: DIR, BINARY, UNIT. Out: lines of "holdfast: key=value".
set -u
say() { printf 'holdfast: %s=%s\n' "$1" "$2"; }
say machine "$(cat /etc/machine-id 2>/dev/null)"
say boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
if [ -e "$DIR/node.json" ]; then
  all=$(base64 -w 0 < "$DIR/node.json") || exit 1
  say record "$all"
fi
if [ -e "$DIR/spec.json" ]; then
  all=$(base64 -w 0 < "$DIR/spec.json") || exit 1
  say spec "$all"
fi
if [ -e "$DIR/pki" ]; then say pki yes; fi
if [ -e "$BINARY" ]; then say binary yes; fi
if [ -e "$UNIT" ]; then say unit yes; fi
say addresses "$(ip -o addr show 2>/dev/null | tr '\n' ' ')"
say complete yes
