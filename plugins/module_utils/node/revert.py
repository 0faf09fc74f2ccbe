# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A timer on the node that puts MTUs back by itself, and that only a fresh connection cancels.

The script moves itself away before it acts, and who cancels moves it away first: of the two exactly one comes through.
Without systemd, or in another network namespace than systemd's, the timer is a process of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER
from ansible_collections.bulwark.node.plugins.module_utils.node import netns
from ansible_collections.bulwark.node.plugins.module_utils.node.system import has_systemd

__all__ = ["SET_MTU", "Pending", "act", "arm", "cancel", "pending"]

SET_MTU = 'set_mtu() { { ip link set dev "$1" mtu "$2" || echo "$2" >"/sys/class/net/$1/mtu"; } 2>/dev/null; }'
"""A function of sh: a link's name and its MTU."""
_STATE = "/run/bulwark-revert.json"
_GRACE = 10
_TEMPLATE = """\
{header}: MTUs as they were, unless a fresh connection says that all is well.
mv {script} {script}.running 2>/dev/null || exit 0
{set_mtu}
{lines}
logger -t bulwark "nobody confirmed the new MTUs: the old ones are back" 2>/dev/null || true
rm -f {script}.running {state}
"""


@dataclass(frozen=True)
class Pending:
    """An armed timer.

    ``connection``: the one that armed it, None where a probe proves instead. ``deadline``: seconds after boot at which it
    acts. ``mtus``: (name in sysfs, MTU) that it then sets, in this order.
    """

    token: str
    connection: str | None
    deadline: float
    mtus: tuple[tuple[str, int], ...] = ()

    @property
    def script(self) -> str:
        """Each timer has its own: one that sleeps must not take the next one's."""
        return f"/run/bulwark-revert-{self.token}.sh"

    @property
    def unit(self) -> str:
        """The name of its units, without the suffix."""
        return f"bulwark-revert-{self.token}"

    def seconds(self, host: Host) -> int:
        """How long it still waits."""
        return max(0, round(self.deadline - host.uptime()))


def pending(host: Host) -> Pending | None:
    """The timer that is armed, None where none is. Raises BulwarkError where its state cannot be understood."""
    text = host.read(_STATE, 4096)
    if text is None:
        return None
    try:
        kept = json.loads(text)
        # One of an earlier release says no MTUs.
        mtus = tuple((str(name), int(mtu)) for name, mtu in kept.get("mtus", ()))
        found = Pending(str(int(kept["token"])), kept["connection"], float(kept["deadline"]), mtus)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BulwarkError(f"{_STATE}: is not what we wrote; wait until its timer has acted, then remove it") from None
    # A run that died while it armed left a script that nobody starts.
    return found if host.exists(found.script) and host.uptime() < found.deadline + _GRACE else None


def arm(host: Host, mtus: Sequence[tuple[str, int]], seconds: int, connection: str | None) -> Pending:
    """Arm the timer: after ``seconds`` the links, by their names in sysfs, get these MTUs, in this order. Raises BulwarkError."""
    made = Pending(str(secrets.randbits(64)), connection, host.uptime() + seconds, tuple(mtus))
    # What systemd starts is in the machine's own network.
    systemd = has_systemd(host) and not netns.foreign(host)
    script = _TEMPLATE.format(
        header=HEADER,
        set_mtu=SET_MTU,
        script=made.script,
        state=_STATE,
        lines="\n".join(f"set_mtu {shlex.quote(name)} {mtu}" for name, mtu in mtus),
    )
    state = {"token": made.token, "connection": connection, "deadline": made.deadline, "mtus": made.mtus}
    host.replace(_STATE, (json.dumps(state) + "\n").encode(), 0o600)
    # Of a name that is no UTF-8 the bytes.
    host.replace(made.script, os.fsencode(script), 0o600)
    if systemd:
        delay = [f"--on-active={seconds}", "--timer-property=AccuracySec=100ms"]
        host.run(["systemd-run", "--quiet", "--collect", f"--unit={made.unit}", *delay, "/bin/sh", made.script])
    else:
        host.detach(["/bin/sh", "-c", 'sleep "$0"; exec /bin/sh "$1"', str(seconds), made.script])
    return made


def cancel(host: Host, armed: Pending) -> bool:
    """Disarm the timer; False where it was faster."""
    taken = f"{armed.script}.cancelled"
    if not host.rename(armed.script, taken):
        return False
    host.remove(taken)
    host.remove(_STATE)
    if has_systemd(host):
        # It would find nothing to do; a timer that waits for that need not be seen.
        host.attempt(["systemctl", "stop", f"{armed.unit}.timer"])
    return True


def act(host: Host, armed: Pending, script: bytes) -> None:
    """Do now what a cancelled timer would have done by its script. Raises HostError."""
    host.replace(armed.script, script, 0o600)
    host.run(["/bin/sh", armed.script])
