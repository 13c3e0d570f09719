#!/bin/sh
# $1 is the image's root, with all packages.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 ops
printf 'ops ALL=(ALL) NOPASSWD: ALL\n' >"$root/etc/sudoers.d/ops"
chmod 440 "$root/etc/sudoers.d/ops"

# Each machine gets a host key and an id of its own.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
cat >"$root/etc/ssh/sshd_config.d/machine.conf" <<'END'
PermitRootLogin no
PasswordAuthentication no
HostKey /etc/ssh/ssh_host_ed25519_key
END

printf 'LABEL=root / ext4 noatime 0 1\n' >"$root/etc/fstab"
chroot "$root" systemctl enable systemd-networkd
# Jobs of a machine that lives for weeks.
chroot "$root" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer e2scrub_reap.service fstrim.timer

# Disks that are missing are waited for at each boot: 90 s unless it is said.
mkdir -p "$root/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultDeviceTimeoutSec=30s\n' >"$root/etc/systemd/system.conf.d/machine.conf"

# Google's agent has nobody to ask, but on a guest that plays one of Compute Engine.
for unit in google-guest-agent google-startup-scripts google-shutdown-scripts; do
  mkdir -p "$root/etc/systemd/system/$unit.service.d"
  printf '[Unit]\nConditionKernelCommandLine=holdfast.cloud\n' >"$root/etc/systemd/system/$unit.service.d/cloud.conf"
done

# Emulation is slow to start programs: what finds nothing to do on these machines is left out, at each
# boot and at each daemon-reload.
mkdir -p "$root/etc/systemd/system-generators"
for generator in "$root"/lib/systemd/system-generators/*; do
  case ${generator##*/} in
    systemd-fstab-generator) ;;
    *) ln -s /dev/null "$root/etc/systemd/system-generators/${generator##*/}" ;;
  esac
done
chroot "$root" systemctl mask getty@tty1.service systemd-logind.service systemd-binfmt.service systemd-network-generator.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service systemd-fsckd.socket \
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
  sys-kernel-config.mount proc-sys-fs-binfmt_misc.automount modprobe@drm.service modprobe@efi_pstore.service
