#!/bin/sh
# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: image.sh furnish ROOT UUID   make a fresh root the machine's: its kernels, its settings; called by mmdebstrap
#        image.sh                     what only the machine itself can do, as its first PID 1: install GRUB; then power off
set -eu

# The upgrade is from Debian's last kernel but one to the last. Both are there while a point release is current.
kernels() {
    set -- "$1" "$(chroot "$1" apt-cache pkgnames linux-image- | grep -E '^linux-image-[0-9.-]+-cloud-amd64$' | sort -V | tail -n 2)"
    root=$1
    # shellcheck disable=SC2086  # a word each
    set -- $2
    [ $# = 2 ] || { echo "the mirror has less than two kernels: $*" >&2 && exit 1; }
    # MODULES=dep asks for the disk of the machine that builds. This is all that ours takes to mount its own.
    printf 'MODULES=list\nCOMPRESS=lz4\n' >"$root/etc/initramfs-tools/conf.d/machine"
    printf 'virtio_pci\nvirtio_blk\n' >>"$root/etc/initramfs-tools/modules"
    chroot "$root" apt-get install --quiet --quiet --yes --no-install-recommends "$1"
    mkdir "$root/srv/upgrade"
    # _apt may not write there, and apt-get says so.
    chroot "$root" sh -ec "cd /srv/upgrade && apt-get --quiet --quiet -o APT::Sandbox::User=root download '$2'"
}

furnish() {
    root=$1
    kernels "$root"
    echo "UUID=$2 / ext4 errors=remount-ro 0 1" >"$root/etc/fstab"
    # As an image for clouds has it: a drop-in that comes before ours.
    cat >"$root/etc/default/grub.d/15_cloud.cfg" <<'END'
GRUB_TIMEOUT=0
GRUB_TERMINAL="console serial"
GRUB_CMDLINE_LINUX="console=ttyS0"
END
    # QEMU's user network gives every machine this address.
    cat >"$root/etc/systemd/network/10-virtio.network" <<'END'
[Match]
Driver=virtio_net

[Network]
Address=10.0.2.15/24
LinkLocalAddressing=no
END
    chroot "$root" systemctl --quiet enable systemd-networkd.service
    # Timers fire at a moment of their own choice, and the rest only takes time where processors are slow.
    chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer getty@tty1.service serial-getty@ttyS0.service
    rm -f "$root"/etc/ssh/ssh_host_rsa_key* "$root"/etc/ssh/ssh_host_ecdsa_key* "$root/etc/resolv.conf"
    echo vm >"$root/etc/hostname"
    printf '127.0.0.1 localhost vm\n::1 localhost\n' >"$root/etc/hosts"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    # What systemd would do at the first boot has been done by the packages: systemd-update-done.service(8).
    touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"
    install -m 0755 "$0" "$root/image.sh"
}

install_grub() {
    # The initramfs has mounted /dev, /proc and /sys.
    export PATH=/usr/sbin:/usr/bin
    if grub-install --target=i386-pc /dev/vda && update-grub && rm /image.sh; then
        echo installed
    fi
    sync
    mount -o remount,ro /
    echo o >/proc/sysrq-trigger
    # PID 1 must not end before the power does.
    exec sleep infinity
}

case ${1-} in
furnish) furnish "$2" "$3" ;;
*) install_grub ;;
esac
