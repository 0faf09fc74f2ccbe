# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A timer on the node that puts MTUs back by itself, and that only a fresh connection cancels.

The script is the timer's whole state: it moves itself away before it acts, and who cancels moves it away first. So of the
two exactly one comes through. Without systemd it is a process of its own.
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node import netns
from ansible_collections.bulwark.node.plugins.module_utils.node.system import has_systemd

__all__ = ["Pending", "arm", "cancel", "pending"]

_STATE = "/run/bulwark-revert.json"
_GRACE = 10
_TEMPLATE = """\
# Written by the bulwark.node collection: MTUs as they were, unless a fresh connection says that all is well.
{delay}mv {script} {script}.running || exit 0
set_mtu() {{ ip link set dev "$1" mtu "$2" 2>/dev/null || echo "$2" >"/sys/class/net/$1/mtu"; }}
{lines}
logger -t bulwark "nobody confirmed the new MTUs: the old ones are back" 2>/dev/null || true
rm -f {script}.running {state}
"""


@dataclass(frozen=True)
class Pending:
    """An armed timer: its token, the connection that armed it (None: none), and seconds after boot at which it acts."""

    token: str
    connection: str | None
    deadline: float

    @property
    def script(self) -> str:
        """Each timer has its own: one that sleeps must not take the next one's."""
        return f"/run/bulwark-revert-{self.token}.sh"


def pending(host: Host) -> Pending | None:
    """The timer that is armed, None where none is. Raises BulwarkError where its state cannot be understood."""
    text = host.read(_STATE, 4096)
    if text is None:
        return None
    try:
        kept = json.loads(text)
        found = Pending(str(int(kept["token"])), kept["connection"], float(kept["deadline"]))
    except (ValueError, KeyError, TypeError):
        raise BulwarkError(f"{_STATE}: is not what we wrote; wait until its timer has acted, then remove it") from None
    # A run that died while it armed left a script that nobody starts.
    return found if host.exists(found.script) and host.uptime() < found.deadline + _GRACE else None


def arm(host: Host, mtus: Sequence[tuple[str, int]], seconds: int, connection: str | None) -> Pending:
    """Arm the timer: after ``seconds`` the links get these MTUs, in this order. Raises BulwarkError."""
    made = Pending(str(secrets.randbits(64)), connection, host.uptime() + seconds)
    # What systemd starts is in the machine's own network.
    systemd = has_systemd(host) and not netns.foreign(host)
    script = _TEMPLATE.format(
        delay="" if systemd else f"sleep {seconds}\n",
        script=made.script,
        state=_STATE,
        lines="\n".join(f"set_mtu {shlex.quote(name)} {mtu}" for name, mtu in mtus),
    )
    state = {"token": made.token, "connection": connection, "deadline": made.deadline}
    host.replace(_STATE, (json.dumps(state) + "\n").encode(), 0o600)
    host.replace(made.script, script.encode(), 0o600)
    if systemd:
        host.run(
            [
                *(
                    "systemd-run",
                    "--quiet",
                    "--collect",
                    f"--unit=bulwark-revert-{made.token}",
                    f"--on-active={seconds}",
                ),
                *("--timer-property=AccuracySec=100ms", "/bin/sh", made.script),
            ]
        )
    else:
        host.detach(["/bin/sh", made.script])
    return made


def cancel(host: Host, armed: Pending) -> bool:
    """Disarm the timer; False where it was faster."""
    if not host.rename(armed.script, f"{armed.script}.cancelled"):
        return False
    host.remove(f"{armed.script}.cancelled")
    host.remove(_STATE)
    if has_systemd(host):
        # It would find nothing to do; a timer that waits for that need not be seen.
        host.attempt(["systemctl", "stop", f"bulwark-revert-{armed.token}.timer"])
    return True
