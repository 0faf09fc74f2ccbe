# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether traffic can be sent to a proxy of this node: what Istio, Cilium and kube-proxy insert, tried out for IPv4.

The only sure test is to insert the rule. That takes a network namespace, which the kernel ends with the command that it was
made for, and it may load the kernel's own modules of netfilter, as the first such rule of a proxy would: so it is asked for.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.node.request import PASSIVE, Request

__all__ = ["facts"]

_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")
_NAMESPACE = ["unshare", "--net", "--"]
# iptables-extensions(8)
_IPTABLES = {
    "redirect": "-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 15001",
    "tproxy": "-t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY --on-port 15001 --tproxy-mark 1/1",
    "socket_match": "-t mangle -A PREROUTING -p tcp -m socket --transparent -j ACCEPT",
}
# nft(8): the type of the chain, and the rule
_NFT = {
    "redirect": ("nat", "tcp dport 80 redirect to :15001"),
    "tproxy": ("filter", "tcp dport 80 tproxy to :15001"),
    "socket_match": ("filter", "socket transparent 1 accept"),
}


def facts(host: Host, request: Request = PASSIVE) -> dict[str, Any]:
    """The subset ``intercept``: {redirect, tproxy, socket_match, tried[] {name, tool, works, detail}, reason}.

    A capability is true where one tool could insert its rule, false where none could, None with a ``reason`` where it was
    not tried.
    """
    tried: list[dict[str, Any]] = []
    reason = None
    if not request.active:
        reason = "a rule is only inserted when probe is active"
    else:
        tools = [tool for tool in ("iptables", "nft") if any(host.exists(f"{folder}/{tool}") for folder in _FOLDERS)]
        refused = _refusal(host, [*_NAMESPACE, "true"])
        if refused:
            reason = f"no network namespace can be made: {refused}"
        elif not tools:
            reason = "this machine has neither iptables nor nft"
        else:
            tried = [_try(host, name, tool) for name in _NFT for tool in tools]
    return {
        **{name: _any(tried, name) for name in _NFT},
        "tried": tried,
        "reason": reason,
    }


def _any(tried: list[dict[str, Any]], name: str) -> bool | None:
    answers = [each["works"] for each in tried if each["name"] == name]
    return any(answers) if answers else None


def _try(host: Host, name: str, tool: str) -> dict[str, Any]:
    if tool == "nft":
        kind, rule = _NFT[name]
        chain = f"add chain ip bulwark c {{ type {kind} hook prerouting priority 0; }}"
        command = ["nft", f"add table ip bulwark; {chain}; add rule ip bulwark c {rule}"]
    else:
        # Its lock is a file that all namespaces share, and that would stay; whoever holds it could hold us.
        command = ["env", "XTABLES_LOCKFILE=/dev/null", "iptables", "-w", "5", *_IPTABLES[name].split()]
    detail = _refusal(host, [*_NAMESPACE, *command])
    return {"name": name, "tool": tool, "works": detail is None, "detail": detail}


def _refusal(host: Host, command: list[str]) -> str | None:
    """What a command said when it failed, or None where it did its work."""
    try:
        host.run(command)
    except HostError as error:
        return str(error).partition(": ")[2]
    return None
