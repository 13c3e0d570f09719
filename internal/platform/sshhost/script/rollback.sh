# Copyright (c) The Holdfast Authors
# SPDX-License-Identifier: MPL-2.0

# Puts the previous version in the place of TARGET (DIR/NAME). Status 66: there is none.
set -u
[ -f "$TARGET.previous" ] || exit 66
mv -f -T -- "$TARGET.previous" "$TARGET" && sync -- "$DIR"
