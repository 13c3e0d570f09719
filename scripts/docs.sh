#!/usr/bin/env bash
# Writes docs/ from the provider's schema, templates/ and examples/, or with
# --check says where docs/ differs from that. Nothing is downloaded: the schema
# comes from a terraform that is there, under the dev_overrides of
# $TF_CLI_CONFIG_FILE, and tfplugindocs gets it as a file.
# usage: docs.sh [--check] TERRAFORM TFPLUGINDOCS
set -eu -o pipefail
check=
if [ "$1" = --check ]; then check=yes; shift; fi
terraform=$1 tfplugindocs=$2
root=$(cd "$(dirname "$0")/.." && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/schema" "$work/provider/examples"
cp "$root/examples/provider/provider.tf" "$work/schema/"
# tfplugindocs looks for a provider of the namespace hashicorp.
"$terraform" -chdir="$work/schema" providers schema -json |
  sed -E 's#"registry\.[a-z]+\.(io|org)/holdfastdb/holdfast"#"registry.terraform.io/hashicorp/holdfast"#' >"$work/schema.json"

# In a copy: the real examples/ may hold a cluster, and --check changes nothing.
cp -r "$root/templates" "$work/provider/"
cp -r "$root"/examples/{provider,resources,data-sources} "$work/provider/examples/"
"$tfplugindocs" generate --provider-dir "$work/provider" --provider-name holdfast \
  --providers-schema "$work/schema.json" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

if [ -n "$check" ]; then
  diff -r -u "$root/docs" "$work/provider/docs" >&2 || { echo "docs/ is not what schema, templates and examples say: run make generate" >&2; exit 1; }
  exit 0
fi
rm -rf "$root/docs"
cp -r "$work/provider/docs" "$root/docs"
echo "docs: $(find "$root/docs" -name '*.md' | wc -l) pages"
