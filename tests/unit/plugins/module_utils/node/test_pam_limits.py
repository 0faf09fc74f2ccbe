# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a login, and the services that give them."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import pam_limits
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Machine

CONF = "/etc/security/limits.conf"
EL9 = {
    "/etc/pam.d/system-auth": "auth required pam_env.so\n-session optional pam_systemd.so\nsession required pam_limits.so\n",
    "/etc/pam.d/password-auth": "session required pam_limits.so\n",
    "/etc/pam.d/sshd": "auth substack password-auth\nsession include password-auth\n",
    "/etc/pam.d/crond": "session substack\tpassword-auth",
    "/etc/pam.d/chfn": "auth include system-auth\naccount include system-auth\n",
    "/usr/lib/pam.d/vendor": "session [success=ok ignore=ignore default=bad] /usr/lib64/security/pam_limits.so conf=/x",
    "/usr/lib/pam.d/sshd": "session required pam_permit.so",
}


def test_a_captured_debian(machine: Machine) -> None:
    assert pam_limits.facts(machine("debian12-memory")) == {
        "entries": [],
        "loaded_by": ["login", "runuser", "runuser-l", "su", "su-l"],
    }


def test_services_that_include_a_file_that_loads_it(machine: Machine) -> None:
    loaded = pam_limits.loaded_by(machine("no-hugepages", EL9))
    # "vendor" gives it a file of its own: no drop-in counts there.
    assert loaded == ["crond", "password-auth", "sshd", "system-auth"]


@pytest.mark.parametrize(
    "text",
    [
        "# session required pam_limits.so",
        "account required pam_limits.so",
        "session required pam_limits.so.bak",
        "session required",
        "@include",
        "@include nowhere\nsession include",
        "session [unclosed pam_limits.so",
    ],
)
def test_lines_that_load_nothing(machine: Machine, text: str) -> None:
    assert pam_limits.loaded_by(machine("no-hugepages", {"/etc/pam.d/x": text})) == []


def test_files_that_include_one_another_end(machine: Machine) -> None:
    files = {f"/etc/pam.d/{name}": "@include a\n@include b\nsession include c\n" * 50 for name in "abc"}
    assert pam_limits.loaded_by(machine("no-hugepages", files)) == []


def test_lines_come_in_the_order_in_which_they_are_read(machine: Machine) -> None:
    files = {
        CONF: "# a comment\n\n*  SOFT  Nofile  Unlimited # why\n@qemu - memlock 1 2 3\nbroken soft nofile\nroot -\nx maybe core 0",
        "/etc/security/limits.d/90-b.conf": "%group hard maxlogins 4",
        "/etc/security/limits.d/10-a.conf": "\xa0 :1000 hard nproc 5\n\t:1000 hard nproc 5",
        "/etc/security/limits.d/README": "* hard nofile 1",
    }
    found = [tuple(entry.values()) for entry in pam_limits.entries(machine("debian12-memory", files))]
    drop = "/etc/security/limits.d"
    assert found == [
        (CONF, 3, "*", "soft", "nofile", "unlimited"),
        (CONF, 4, "@qemu", "-", "memlock", "1"),
        (CONF, 6, "root", "-", None, None),
        (f"{drop}/10-a.conf", 2, ":1000", "hard", "nproc", "5"),
        (f"{drop}/90-b.conf", 1, "%group", "hard", "maxlogins", "4"),
    ]


def test_no_more_lines_than_anybody_reads(machine: Machine) -> None:
    assert len(pam_limits.facts(machine("no-hugepages", {CONF: "* soft core 0\n" * 5000}))["entries"]) == 1000
