#!/usr/bin/env bash
# A cluster on an emulated Compute Engine: scripts/gce.sh run|plan|stop TERRAFORM BIN.
# The emulator runs beside, with machines in a network of its own that terraform
# joins; what it has, and the state, are in BIN/gce and gone after stop.
set -euo pipefail
what=$1 terraform=$2 bin=$3 dir=$3/gce
[ "$(id -u)" = 0 ] || { echo "containers need root: try sudo make $what-gce" >&2; exit 1; }
endpoint=http://127.0.0.1:8090

alive() { [ -s "$dir/pid" ] && [ -s "$dir/outer" ] && kill -0 "$(cat "$dir/outer")" 2>/dev/null; }

# In the emulator's network, on a copy of examples/gce.
tf() {
  nsenter --net --target "$(cat "$dir/pid")" -- env HOLDFAST_GCE_ENDPOINT=$endpoint HOLDFAST_PROGRESS="$dir/progress" TF_VAR_private_key_file="$dir/key" \
    TF_VAR_project=holdfast-test TF_VAR_deletion_protection=false TF_VAR_zones='{ a = "us-east4-a", b = "us-west2-b", c = "us-central1-a" }' \
    "$terraform" -chdir="$dir/example" "$@"
}

start() {
  rm -rf "$dir" && mkdir -p "$dir/example"
  cp examples/gce/main.tf "$dir/example/"
  ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
  "${GO:-go}" build -o "$dir/gcefake" ./test/gcefake
  echo "Starting the emulator (its log: $dir/log). The first time, an image is built, about half a minute." >&2
  setsid "$dir/gcefake" -machines containers -pid "$dir/pid" >"$dir/endpoint" 2>"$dir/log" </dev/null &
  echo $! >"$dir/outer"
  for _ in $(seq 600); do
    [ -s "$dir/endpoint" ] && return
    kill -0 "$(cat "$dir/outer")" 2>/dev/null || break
    sleep 0.5
  done
  cat "$dir/log" >&2
  echo "The emulator did not start." >&2
  exit 1
}

case $what in
run)
  alive || start
  tf apply -auto-approve -input=false
  cat >&2 <<END

A cluster of three machines, in an emulated project of Google's.
  make plan-gce                  what differs: nothing
  tail $dir/progress             what the apply did
  grep compute $dir/log          the calls that it made, and yours
  make stop-gce                  destroys it, and ends the emulator
END
  ;;
plan)
  alive || { echo "There is no emulator: make run-gce" >&2; exit 1; }
  tf plan -detailed-exitcode -input=false
  ;;
stop)
  if alive; then
    tf destroy -auto-approve -input=false
    outer=$(cat "$dir/outer")
    kill "$outer"
    for _ in $(seq 100); do
      kill -0 "$outer" 2>/dev/null || break
      sleep 0.2
    done
  else
    echo "There is no emulator: nothing is left of its cluster." >&2
  fi
  rm -rf "$dir"
  ;;
*)
  echo "usage: scripts/gce.sh run|plan|stop TERRAFORM BIN" >&2
  exit 2
  ;;
esac
