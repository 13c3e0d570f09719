# Copyright (c) The Holdfast Authors
# SPDX-License-Identifier: MPL-2.0

# Says what an upload finds. In: TARGET (DIR/NAME), SHORT, HASH, MODE, OWNER.
# Out: lines of "holdfast: key=value". Status 21: TARGET is no regular file.
set -u
say() { printf 'holdfast: %s=%s\n' "$1" "$2"; }
say arch "$(uname -m)"
if [ -L "$TARGET" ] || { [ -e "$TARGET" ] && [ ! -f "$TARGET" ]; }; then exit 21; fi
if [ -f "$TARGET" ]; then
  sum=$(sha256sum < "$TARGET") || exit 1
  say target "${sum%% *}"
  if [ "${sum%% *}" = "$HASH" ]; then
    # The run that installed it may have ended before all of it was durable.
    { [ -z "$OWNER" ] || chown -- "$OWNER" "$TARGET"; } && chmod -- "$MODE" "$TARGET" &&
      sync -- "$TARGET" && sync -- "$DIR" || exit 1
    exit 0
  fi
fi
part= size=0
for p in "$DIR/.$NAME.$SHORT."????????????????.part; do
  [ -f "$p" ] || continue
  n=$(wc -c < "$p")
  if [ -z "$part" ] || [ "$n" -gt "$size" ]; then part=$p size=$n; fi
done
if [ -n "$part" ]; then
  # An upload that was cut may write still: what is hashed is what is counted.
  sum=$(head -c "$size" -- "$part" | sha256sum) || exit 1
  say part "${part##*/}"
  say size "$size"
  say sum "${sum%% *}"
fi
d=$DIR
while [ ! -d "$d" ]; do d=$(dirname -- "$d"); done
say free "$(df --output=avail -B1 -- "$d" | tail -n 1 | tr -d ' ')"
