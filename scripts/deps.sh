#!/usr/bin/env bash
# Installs the Debian packages that real disks need, where their commands are
# missing. Without root nothing is needed: the local platform uses directories.
# With "browser", only Chromium, 330 MB, in which tests look at the console;
# without it they are skipped. With "tests", what tests speak to that no user
# needs: OpenSSH's server, which its package also starts on a machine with
# systemd, and systemd's own tools. With "vm", only what builds and runs test
# machines, 90 MB. With "containers", what the machines of the emulated cloud are
# made of: systemd-nspawn, which starts nothing by itself, and mmdebstrap.
set -eu
[ "$(id -u)" = 0 ] || exit 0
PATH=$PATH:/usr/sbin:/sbin

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
if [ "${1:-}" = browser ]; then
  need chromium chromium
elif [ "${1:-}" = tests ]; then
  need sshd openssh-server
  need systemd-analyze systemd # to verify units; nothing is started
elif [ "${1:-}" = containers ]; then
  need systemd-nspawn systemd-container
  need nsenter util-linux
  need ip iproute2
  need mmdebstrap mmdebstrap
elif [ "${1:-}" = vm ]; then
  need qemu-system-x86_64 qemu-system-x86
  need qemu-img qemu-utils
  need mmdebstrap mmdebstrap
  need mke2fs e2fsprogs
  need cpio cpio
else
  need mkfs.ext4 e2fsprogs
  need mkfs.xfs xfsprogs
  need blkid util-linux
  need lsblk util-linux
  need mount mount
  need ip iproute2
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]} (Debian's package names). Install them and run this again." >&2
  exit 1
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
  apt-get update -q >/dev/null
  apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}
