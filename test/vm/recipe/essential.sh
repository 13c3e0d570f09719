#!/bin/sh
# $1 is the image's root; its essential packages are there, the others are not.
set -eu
etc=$1/etc/initramfs-tools
mkdir -p "$etc/conf.d" "$etc/hooks" "$etc/scripts/init-bottom"

# Only what the root file system needs: emulation is slow to load the rest, and
# udev loads it later.
printf 'MODULES=list\nCOMPRESS=gzip\n' >"$etc/conf.d/machine"

cat >"$etc/hooks/machine" <<'END'
#!/bin/sh
[ "${1:-}" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk ext4
END

# What is this machine's only, over the root file system, before systemd runs.
cat >"$etc/scripts/init-bottom/seed" <<'END'
#!/bin/sh
[ "${1:-}" = prereqs ] && exit 0
tar -x -f /seed.tar -C "$rootmnt" || panic "the seed is not to be unpacked"
rm -f /seed.tar
END

chmod 755 "$etc/hooks/machine" "$etc/scripts/init-bottom/seed"
