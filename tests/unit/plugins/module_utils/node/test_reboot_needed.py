# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a machine needs a reboot by the triggers that were chosen, and what is in the way of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Completed, Host
from ansible_collections.bulwark.node.plugins.module_utils.node import reboot, reboot_needed
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine, snapshot

TREE = "debian12-memory"
SENTINEL = "/var/run/reboot-required"
RUNNING = "6.1.0-28-amd64"
OSRELEASE = "/proc/sys/kernel/osrelease"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
MACHINE_ID = "8f2f0d2c6f0b4f3c9c0c5a3d6e1b7a42"
COMMAND = ["/opt/wants-reboot", "--now"]


def ask(host: Host, **options: Any) -> dict[str, Any]:
    params = {"triggers": ["sentinel"], "sentinel": [SENTINEL], "command": None, **options}
    return reboot_needed.needed(host, reboot_needed.asked(params))


def answering(machine: Machine, answer: Completed, *files: str) -> Host:
    return Host(machine(TREE, dict.fromkeys(files, "")).root, lambda command: answer)


def told(found: dict[str, Any], key: str = "reasons") -> list[tuple[str, str]]:
    return [(each["source"], each["detail"]) for each in found[key]]


def test_a_machine_that_needs_none(machine: Machine) -> None:
    ids = {BOOT_ID: "decc24db-dfde-4798-bf1f-b30139e40ef1", "/etc/machine-id": f"{MACHINE_ID}\n"}
    host = machine(TREE, {**ids, "/proc/stat": "cpu 1 2\nbtime 1795000000\n"})
    before = snapshot(host)
    assert ask(host) == {
        "required": False,
        "reasons": [],
        "errors": [],
        "blocked": [],
        "transaction_running": False,
        "since": None,
        "boot_id": "decc24db-dfde-4798-bf1f-b30139e40ef1",
        "booted_at": 1795000000,
        "machine_id": MACHINE_ID,
    }
    assert snapshot(host) == before
    assert host.commands == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/etc/machine-id": "", "/var/lib/dbus/machine-id": f"{MACHINE_ID}\n"}, MACHINE_ID),
        ({"/etc/machine-id": "", "/var/lib/dbus/machine-id": ""}, None),
    ],
)
def test_the_machine_id_is_where_the_kubelet_looks_for_it(
    machine: Machine, files: dict[str, str], expected: str | None
) -> None:
    assert ask(machine(TREE, files))["machine_id"] == expected


@pytest.mark.parametrize(
    ("files", "detail"),
    [
        ({SENTINEL: ""}, f"{SENTINEL} exists"),
        (
            {SENTINEL: "", f"{SENTINEL}.pkgs": "libc6\nlibc6\nlinux-base\n"},
            f"{SENTINEL} exists, asked for by libc6, linux-base",
        ),
        # kured asks whether something is there, not what it is.
        ({f"{SENTINEL}/x": ""}, f"{SENTINEL} exists"),
    ],
)
def test_the_sentinel_asks_by_being_there(machine: Machine, files: dict[str, str], detail: str) -> None:
    host = machine(TREE, files)
    found = ask(host)
    assert (found["required"], told(found)) == (True, [("sentinel", detail)])
    assert found["since"] == found["reasons"][0]["since"] == host.changed_at(SENTINEL)


def test_packages_without_a_sentinel_ask_for_nothing(machine: Machine) -> None:
    assert ask(machine(TREE, {f"{SENTINEL}.pkgs": "libc6"}))["required"] is False


def test_a_sentinel_that_leads_nowhere_is_none(machine: Machine) -> None:
    host = machine(TREE)
    Path(f"{host.root}/dangling").symlink_to("/nowhere")
    assert ask(host, sentinel=["/dangling"])["required"] is False


def test_any_of_several_sentinels_asks_and_each_once(machine: Machine) -> None:
    host = machine(TREE, {"/etc/two": "", "/etc/three": ""})
    found = ask(host, sentinel=["/etc/one", "/etc/two", "/etc/three", "/etc/two"])
    assert told(found) == [("sentinel", "/etc/two exists"), ("sentinel", "/etc/three exists")]


def test_the_first_reason_is_the_oldest_whichever_trigger_it_is_of(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = machine(TREE, {"/etc/one": "", "/etc/two": ""})
    monkeypatch.setattr(Host, "changed_at", lambda self, path: {"/etc/one": 200, "/etc/two": 100}.get(path))
    assert ask(host, sentinel=["/etc/one", "/etc/two"])["since"] == 100


def test_a_sentinel_that_may_not_be_looked_at_is_an_error_and_costs_no_other(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, real = machine(TREE, {"/etc/two": ""}), Host.changed_at

    def refused(self: Host, path: str) -> int | None:
        if path == "/secret/one":
            raise HostError(path, "cannot stat: EACCES (Permission denied)", "EACCES")
        return real(self, path)

    monkeypatch.setattr(Host, "changed_at", refused)
    found = ask(host, sentinel=["/secret/one"])
    assert (found["required"], found["reasons"]) == (None, [])
    assert told(found, "errors") == [("sentinel", "/secret/one: cannot stat: EACCES (Permission denied)")]
    found = ask(host, sentinel=["/secret/one", "/etc/two"])
    assert (found["required"], told(found)) == (True, [("sentinel", "/etc/two exists")])
    assert len(found["errors"]) == 1


def test_a_newer_kernel_asks_where_it_was_chosen(machine: Machine) -> None:
    host = machine(TREE, {OSRELEASE: RUNNING, "/boot/vmlinuz-6.1.0-31-amd64": ""})
    assert ask(host)["required"] is False
    found = ask(host, triggers=["sentinel", "kernel"])
    assert (found["required"], told(found)) == (
        True,
        [("kernel", f"6.1.0-31-amd64 is installed, {RUNNING} is running")],
    )


def test_a_kernel_that_cannot_be_told_is_an_error_and_no_no(machine: Machine) -> None:
    found = ask(machine(TREE, {OSRELEASE: "6.9.0-other", "/boot/vmlinuz-6.1.0-31-amd64": ""}), triggers=["kernel"])
    assert found["required"] is None
    assert "no installed kernel is of the flavour" in found["errors"][0]["detail"]


def test_needs_restarting_is_an_error_on_a_machine_without_it(machine: Machine) -> None:
    found = ask(machine(TREE), triggers=["needs_restarting"])
    assert (found["required"], [each["source"] for each in found["errors"]]) == (None, ["needs_restarting"])
    assert "neither needs-restarting nor dnf is on this machine" in found["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("answer", "required"),
    [
        (Completed(0, "", ""), False),
        (Completed(1, "  * glibc\nReboot is required to fully utilize these updates.\n", ""), True),
        (Completed(1, "", "Error: no cache"), None),
    ],
)
def test_needs_restarting_says_what_it_says(machine: Machine, answer: Completed, required: bool | None) -> None:
    found = ask(answering(machine, answer, "/usr/bin/dnf"), triggers=["needs_restarting"])
    assert found["required"] is required
    assert [each["source"] for each in found["reasons"] + found["errors"]] == ["needs_restarting"] * (
        required is not False
    )


@pytest.mark.parametrize(
    ("answer", "required", "detail"),
    [
        (Completed(0, "", ""), True, "/opt/wants-reboot returned 0"),
        (Completed(0, "firmware\n", ""), True, "/opt/wants-reboot returned 0 and said: firmware"),
        (Completed(1, "said", "no"), False, None),
        (
            Completed(2, "", "no such option\n"),
            None,
            "/opt/wants-reboot --now: returned 2 and said: no such option; expected 0 (reboot) or 1 (no reboot)",
        ),
        (
            Completed(127, "", "[Errno 2] No such file or directory"),
            None,
            "/opt/wants-reboot --now: returned 127 and said: [Errno 2] No such file or directory; expected 0 (reboot) or 1 (no reboot)",
        ),
        (
            Completed(-9, "", ""),
            None,
            "/opt/wants-reboot --now: returned -9 and said: nothing; expected 0 (reboot) or 1 (no reboot)",
        ),
    ],
)
def test_a_command_answers_by_its_return_code(
    machine: Machine, answer: Completed, required: bool | None, detail: str | None
) -> None:
    found = ask(answering(machine, answer), triggers=["command"], command=COMMAND)
    assert found["required"] is required
    assert told(found) + told(found, "errors") == ([("command", detail)] if detail else [])


@pytest.mark.parametrize(
    ("running", "untold", "expected", "blocked"),
    [
        (True, None, True, "packages are being changed: the lock of dpkg, rpm or zypper is held"),
        (False, None, False, None),
        (None, "neither dpkg nor rpm is on this machine", None, None),
        (
            None,
            "/var/lib/dpkg/lock: EACCES",
            None,
            "whether packages are being changed is unknown: /var/lib/dpkg/lock: EACCES",
        ),
    ],
)
def test_a_transaction_blocks_and_so_does_one_that_cannot_be_asked_for(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    running: bool | None,
    untold: str | None,
    expected: bool | None,
    blocked: str | None,
) -> None:
    monkeypatch.setattr(reboot, "transaction", lambda host: (running, untold))
    found = ask(machine(TREE))
    # It is no trigger: the machine needs a reboot or not whatever dpkg does.
    assert (found["required"], found["transaction_running"]) == (False, expected)
    assert told(found, "blocked") == ([("transaction", blocked)] if blocked else [])


def test_a_machine_whose_dpkg_was_interrupted_is_not_to_be_rebooted(machine: Machine) -> None:
    found = ask(machine(TREE, {"/var/lib/dpkg/updates/0001": ""}))
    assert (found["required"], found["transaction_running"]) == (False, False)
    assert told(found, "blocked") == [("transaction", "dpkg was interrupted; run dpkg --configure -a first")]


@pytest.mark.parametrize(
    ("options", "option", "expected"),
    [
        ({"triggers": []}, "triggers", "at least one of sentinel, kernel, needs_restarting, command"),
        ({"sentinel": []}, "sentinel", "at least one path"),
        ({"sentinel": ["/a", "run/b"]}, "sentinel[1]", "an absolute path"),
        ({"triggers": ["command"]}, "command", "a program and its arguments"),
        ({"triggers": ["command"], "command": []}, "command", "a program and its arguments"),
        ({"triggers": ["command"], "command": [""]}, "command", "a program and its arguments"),
        ({"triggers": ["command"], "command": ["/bin/true", "a\0b"]}, "command[1]", "no NUL"),
        ({"command": ["/bin/true"]}, "triggers", "command among them"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    machine: Machine, options: dict[str, Sequence[str]], option: str, expected: str
) -> None:
    with pytest.raises(OptionError) as caught:
        ask(machine(TREE), **options)
    assert caught.value.details["option"] == option
    assert caught.value.details["expected"].startswith(expected)
