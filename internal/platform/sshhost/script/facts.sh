# Copyright (c) The Holdfast Authors
# SPDX-License-Identifier: MPL-2.0

# Says what the machine is. In: INSTALL, a path. Out: lines of "holdfast: key=value".
set -u
say() { printf 'holdfast: %s=%s\n' "$1" "$2"; }
say time "$(date +%s.%N)"
say os "$(uname -s)"
say kernel "$(uname -r)"
say arch "$(uname -m)"
say uid "$(id -u)"
if [ -d /run/systemd/system ]; then say systemd "$(systemctl --version 2>/dev/null | head -n 1)"; fi
if [ "$(id -u)" = 0 ]; then say root yes
elif ! command -v sudo >/dev/null 2>&1; then say root missing
elif sudo -n -- /bin/sh -c : >/dev/null 2>&1; then say root sudo
else say root refused; fi
d=$INSTALL
while [ ! -d "$d" ]; do d=$(dirname -- "$d"); done
say free "$(df --output=avail -B1 -- "$d" | tail -n 1 | tr -d ' ')"
say where "$d"
