# Copyright (c) The Holdfast Authors
# SPDX-License-Identifier: MPL-2.0

# Takes the rest of a file from standard input and installs it. In: TARGET (DIR/NAME), SHORT,
# ATTEMPT, HASH, SIZE, MODE, OWNER; FROM and OFFSET: the part to go on from, and how much of it.
# Status 65: it is not the file that was announced; 70: no room; 75: it ended early, its part is kept;
# 76: FROM is gone, as the command of a cut connection has ended with it meanwhile.
set -u
umask 077
part=$DIR/.$NAME.$SHORT.$ATTEMPT.part
kept=$DIR/.$NAME.$ATTEMPT.previous
have() { if [ -f "$part" ]; then wc -c < "$part"; else echo 0; fi; }
stop() {
  need=$((SIZE - $(have)))
  rm -f -- "$part" "$kept"
  # What is free is looked at with the part still counted: freed is what it took.
  [ "${free:-$SIZE}" -ge "$need" ] || { echo "${free} bytes were left, $need more were needed" >&2; exit 70; }
  exit 1
}
look() { free=$(df --output=avail -B1 -- "$DIR" | tail -n 1 | tr -d ' '); }
(umask 022; mkdir -p -- "$DIR") || exit 1
# Every attempt has a file of its own: the command of a cut connection may still
# hold the old one open, and neither writes into nor installs this one.
{ : > "$part"; } || { look; stop; }
if [ -n "$FROM" ]; then
  if [ "$OFFSET" -gt 0 ]; then
    head -c "$OFFSET" -- "$DIR/$FROM" > "$part" || { [ -f "$DIR/$FROM" ] || { rm -f -- "$part"; exit 76; }; look; stop; }
  fi
  rm -f -- "$DIR/$FROM"
fi
cat >> "$part" || { look; stop; }
[ "$(have)" -ge "$SIZE" ] || exit 75
sum=$(sha256sum < "$part") || exit 1
[ "${sum%% *}" = "$HASH" ] || { rm -f -- "$part"; exit 65; }
{ [ -z "$OWNER" ] || chown -- "$OWNER" "$part"; } && chmod -- "$MODE" "$part" && sync -- "$part" || { look; stop; }
if [ -f "$TARGET" ]; then
  ln -- "$TARGET" "$kept" 2>/dev/null || { cp -p -- "$TARGET" "$kept" && sync -- "$kept"; } || { look; stop; }
  mv -f -T -- "$kept" "$TARGET.previous" || { look; stop; }
fi
mv -f -T -- "$part" "$TARGET" || { look; stop; }
sync -- "$DIR" || exit 1
rm -f -- "$DIR/.$NAME."????????????????.????????????????.part "$DIR/.$NAME."????????????????.previous
