# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kubelet reports of its machine, and no more: ``python3 agent.py JOB`` runs in a machine, by its Python (3.9 or later).

JOB is a file of JSON that is read each second: {"url", "token", "node"}; nothing is reported while it is not there. Like a
kubelet it renews a Lease of its own all the time and writes the Node's status where that says something else than it
knows: the boot id with Ready=False first, since nothing runs yet, and Ready=True a second later.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_SECOND = 1


def main() -> None:
    fresh = True
    while True:
        try:
            job = json.loads(Path(sys.argv[1]).read_text())
            _renew(job)
            _report(job, ready=not fresh)
            fresh = False
        except (OSError, ValueError) as error:  # no job yet, or no API server: a kubelet goes on trying
            print(error, flush=True)
        time.sleep(_SECOND)


def _renew(job: dict[str, str]) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    spec = {"holderIdentity": job["node"], "leaseDurationSeconds": 40, "renewTime": _now("%Y-%m-%dT%H:%M:%S.%fZ")}
    try:
        _ask(job, "PATCH", f"{leases}/{job['node']}", {"spec": spec})
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        _ask(job, "POST", leases, {"metadata": {"name": job["node"]}, "spec": spec})


def _report(job: dict[str, str], ready: bool) -> None:
    path = f"/api/v1/nodes/{job['node']}"
    status = _ask(job, "GET", path)["status"]
    info = {
        "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "machineID": Path("/etc/machine-id").read_text().strip(),
    }
    said = next((each for each in status.get("conditions", []) if each["type"] == "Ready"), {"status": None})
    if said["status"] == str(ready) and {key: status["nodeInfo"][key] for key in info} == info:
        return
    condition = {
        "type": "Ready",
        "status": str(ready),
        "reason": "KubeletReady" if ready else "KubeletNotReady",
        "lastTransitionTime": (
            said["lastTransitionTime"] if said["status"] == str(ready) else _now("%Y-%m-%dT%H:%M:%SZ")
        ),
    }
    _ask(job, "PATCH", f"{path}/status", {"status": {"conditions": [condition], "nodeInfo": info}})


def _now(layout: str) -> str:
    return dt.datetime.now(dt.timezone.utc).strftime(layout)


def _ask(job: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    # Conditions are merged by their type.
    kind = "application/json" if method == "POST" else "application/strategic-merge-patch+json"
    headers = {"Authorization": f"Bearer {job['token']}", "Content-Type": kind}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(job["url"] + path, data, headers, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=3) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
