#!/usr/bin/env bash
# Puts the pinned uPlot into engine/console/assets/uplot: what its npm package
# holds, unchanged. To renew it set version and integrity to what
# `npm view uplot version dist.integrity` says, run `make uplot`, and look at
# the charts with `make browser`.
set -euo pipefail
version=1.6.32
integrity=sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==

into=$(cd "$(dirname "$0")/../engine/console/assets/uplot" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm pack --silent "uplot@$version" >/dev/null
got=sha512-$(openssl dgst -sha512 -binary "uplot-$version.tgz" | base64 -w0)
if [ "$got" != "$integrity" ]; then
  echo "uplot-$version.tgz is not what was pinned: $got" >&2
  exit 1
fi
tar xzf "uplot-$version.tgz"
cp package/dist/uPlot.iife.min.js package/dist/uPlot.min.css package/LICENSE "$into/"
echo "uPlot $version is in $into" >&2
