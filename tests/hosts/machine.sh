#!/bin/sh
# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: machine.sh case ROOT               the case of a machine: its mounts, for as long as this runs
#        machine.sh power CGROUP ARGUMENT…  its power: boot, and boot again after a reboot; the
#                                           arguments are systemd-nspawn's; inside the case
#        machine.sh sweep NAME              end what is left in that cgroup; in a mount namespace of its own
#
# Both die with the process that started them (PR_SET_PDEATHSIG), and all that they made but the
# cgroups goes with their namespaces: there is nothing to unmount.
set -eu

case_of() {
    # /run of this machine lies on a disk at times, and nspawn keeps its books there.
    mount -t tmpfs tmpfs /run
    mkdir /run/upper /run/work /run/root
    cd "$1"
    mount -t overlay -o lowerdir=.,upperdir=/run/upper,workdir=/run/work overlay /run/root
    # The Debian of this machine may use cgroup v1, which systemd 257 of Debian 13 refuses to boot on, or both
    # versions, of which nspawn hands on what it finds here. Seen from the case there is version 2 alone, and so it is
    # in all machines. Controllers that version 1 holds on to are missing in them.
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    cd /
    echo ready
    exec sleep infinity
}

# Without systemd as PID 1 there is nobody to register a machine with: nspawn keeps the cgroup in which it is
# (--keep-unit) and then leaves it to the unit to start it again, with this status.
REBOOTS=133

power() {
    cgroup=$1
    shift
    while :; do
        # A group that hands controllers on takes no process any more, hence a new one for each boot.
        find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
        mkdir -p "$cgroup"
        status=0
        # shellcheck disable=SC2016  # the inner shell's own
        setpriv --pdeathsig KILL sh -c 'echo $$ >"$0/cgroup.procs"; exec systemd-nspawn "$@"' "$cgroup" "$@" || status=$?
        [ "$status" = "$REBOOTS" ] || exit "$status"
    done
}

sweep() {
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    cd /sys/fs/cgroup
    [ -d "$1" ] || exit 0
    echo 1 >"$1/cgroup.kill"
    until find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.05; done
}

case $1 in
sweep) sweep "$2" ;;
case) case_of "$2" ;;
power)
    shift
    power "$@"
    ;;
esac
