#!/usr/bin/env bash
# What make run shows after the apply: the cluster as a table, a key written
# through one node and read from another.
# usage: tour.sh TERRAFORM EXAMPLE HOLDFAST
set -eu
terraform=$1 example=$2 holdfast=$3

# {"a":"http://127.0.x.1:8500", …} → one URL per line, in node order.
mapfile -t urls < <("$terraform" -chdir="$example" output -json endpoints | grep -oE 'http://[0-9.:]+')
[ ${#urls[@]} -gt 0 ] || { echo "the example has no endpoints: did the apply end?" >&2; exit 1; }
first=${urls[0]} last=${urls[${#urls[@]}-1]}

echo
"$holdfast" status -http-addr "$first"
echo
echo "\$ holdfast kv put -http-addr $first hello 'written through the first node'"
"$holdfast" kv put -http-addr "$first" hello 'written through the first node'
echo "\$ holdfast kv get -http-addr $last hello"
"$holdfast" kv get -http-addr "$last" hello
echo
echo "The cluster is running; its console is at $first/ui. Try: curl $first/v1/kv/hello?raw    make plan    make stop"
echo "For the command line: export HOLDFAST_HTTP_ADDR=$first"
