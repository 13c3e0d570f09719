# Copyright (c) The Holdfast Authors
# SPDX-License-Identifier: MPL-2.0

# Writes DIR/node.json from standard input, of SIZE bytes. In: DIR, SIZE, ATTEMPT, and CLAIM: yes
# where there must be none yet. Status 17: there is one; 75: its content ended early.
set -u
umask 077
record=$DIR/node.json
new=$record.$ATTEMPT.new
stop() { rm -f -- "$new"; exit "$1"; }
mkdir -p -- "$DIR" || exit 1
cat > "$new" || stop 1
[ "$(wc -c < "$new")" -eq "$SIZE" ] || stop 75
sync -- "$new" || stop 1
if [ "$CLAIM" = yes ]; then
  # A link, unlike a rename, never takes the place of what another run has put there meanwhile.
  if ! ln -- "$new" "$record"; then
    if [ -e "$record" ]; then stop 17; fi
    stop 1
  fi
  rm -f -- "$new"
else
  mv -f -T -- "$new" "$record" || stop 1
fi
sync -- "$DIR" || exit 1
