#!/bin/sh
# $1 is the image's root, with all packages.
set -eu
root=$1

# Each machine gets host keys and an id of its own: the keys from Google's guest agent.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
printf 'PermitRootLogin no\nPasswordAuthentication no\n' >"$root/etc/ssh/sshd_config.d/machine.conf"

chroot "$root" systemctl enable systemd-networkd
# Nobody waits for a network that is there at once, and a machine lives for minutes.
chroot "$root" systemctl mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer e2scrub_reap.service fstrim.timer getty.target console-getty.service

# Disks are loop devices: which is which, whoever attaches them says in a file.
mkdir -p "$root/etc/google-disks"
cat >"$root/etc/udev/rules.d/65-gce-disk-naming.rules" <<'END'
SUBSYSTEM=="block", KERNEL=="loop*", PROGRAM="/bin/cat /etc/google-disks/%k", SYMLINK+="disk/by-id/google-%c"
END
