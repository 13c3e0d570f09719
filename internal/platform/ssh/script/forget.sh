# Copyright (c) The Holdfast Authors
# SPDX-License-Identifier: MPL-2.0

# Removes DIR/node.json, and DIR and MOUNTS where they are empty then.
set -u
[ -d "$DIR" ] || exit 0
rm -f -- "$DIR/node.json" "$DIR/node.json."????????????????.new && sync -- "$DIR" || exit 1
for d in "$DIR" "$MOUNTS"; do
  if [ -d "$d" ]; then rmdir --ignore-fail-on-non-empty -- "$d" || exit 1; fi
done
