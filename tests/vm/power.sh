#!/bin/sh
# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: power.sh LOG COMMAND…   the power of a machine: run its emulator, and run it again after a reboot
#
# It is told to end at a reset (-no-reboot), since one that goes on takes three times as long to boot: all memory that ever held
# code is watched for writes. LOG.commands is a pipe to its monitor (QMP), LOG.events what that says, the reason of the end too.
# It dies with the process that started it (PR_SET_PDEATHSIG); SIGTERM cuts the power.
set -eu

log=$1
shift
rm -f "$log.commands"
mkfifo "$log.commands"
# Open at both ends, so that neither waits for the other.
exec 3<>"$log.commands"
while :; do
    setpriv --pdeathsig KILL "$@" <&3 3>&- >"$log.events" 2>>"$log" &
    trap 'kill -KILL $!' TERM
    # Before this it tells of no event.
    echo '{"execute": "qmp_capabilities"}' >&3
    wait $! || true
    # The trap interrupts the first; its address must be free when this ends.
    wait $! || true
    grep -q '"reason": "guest-reset"' "$log.events" || exit 0
done
