# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module transparent_hugepages on this machine's own kernel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import SYSTEMD, WITHOUT_SYSTEMD, Module, snapshot

ROOT = Path("/sys/kernel/mm/transparent_hugepage")
TMPFILES = Path("/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf")

pytestmark = [
    pytest.mark.usefixtures("kernel"),
    pytest.mark.skipif(not ROOT.is_dir(), reason="hardware: this kernel has no transparent hugepages"),
]


def chosen(path: Path) -> str:
    return path.read_text().partition("[")[2].partition("]")[0]


def other(path: Path) -> str:
    """A value that the attribute does not have."""
    return "never" if chosen(path) == "madvise" else "madvise"


def test_check_predicts_what_the_run_does_and_absent_puts_all_back(module: Module) -> None:
    enabled, defrag, scan = ROOT / "enabled", ROOT / "defrag", ROOT / "khugepaged" / "pages_to_scan"
    pages = int(scan.read_text()) + 1
    options = {"enabled": other(enabled), "defrag": other(defrag), "khugepaged": {"pages_to_scan": pages}}
    before = snapshot()
    predicted = module("transparent_hugepages", options, check=True, inside=SYSTEMD)
    assert predicted["changed"]
    assert snapshot() == before
    done = module("transparent_hugepages", options, inside=SYSTEMD)
    assert not done.failed, done["msg"]
    assert (chosen(enabled), chosen(defrag)) == (options["enabled"], options["defrag"])
    assert int(scan.read_text()) == pages
    assert (predicted["after"], predicted["changes"]) == (done["after"], done["changes"])
    settled = snapshot()
    for check in (True, False):
        assert not module("transparent_hugepages", options, check=check, inside=SYSTEMD)["changed"]
    assert snapshot() == settled
    assert module("transparent_hugepages", {"state": "absent"}, inside=SYSTEMD)["changed"]
    assert not module("transparent_hugepages", {"state": "absent"}, inside=SYSTEMD)["changed"]
    assert snapshot() == before


def test_systemd_tmpfiles_sets_at_boot_what_was_persisted(module: Module) -> None:
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("the Debian package systemd is missing")
    enabled = ROOT / "enabled"
    was, wanted = chosen(enabled), other(enabled)
    module("transparent_hugepages", {"enabled": wanted}, inside=SYSTEMD)
    enabled.write_text(was)
    subprocess.run(["systemd-tmpfiles", "--create", "--boot", str(TMPFILES)], check=True)
    assert chosen(enabled) == wanted
    module("transparent_hugepages", {"state": "absent"}, inside=SYSTEMD)
    assert chosen(enabled) == was


def test_without_persist_nothing_is_written_to_etc(module: Module) -> None:
    wanted = other(ROOT / "enabled")
    module("transparent_hugepages", {"enabled": wanted, "persist": False}, inside=WITHOUT_SYSTEMD)
    assert chosen(ROOT / "enabled") == wanted
    assert not TMPFILES.exists()
    module("transparent_hugepages", {"state": "absent"}, inside=WITHOUT_SYSTEMD)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "present"}, "enabled: is missing, expected a value here"),
        ({"enabled": "never"}, "persist: without systemd nothing sets transparent hugepages at boot"),
        ({"persist": False, "khugepaged": {"defrag": 2}}, "khugepaged.defrag: got 2, expected 0 to 1"),
        (
            {"persist": False, "khugepaged": {"max_ptes_none": 1 << 40}},
            "max_ptes_none: got 1099511627776, expected 0 to",
        ),
        ({"persist": False, "khugepaged": {"max_ptes_none": 4 << 20}}, "max_ptes_none: got '4194304', expected 0 to"),
        (
            {"persist": False, "sizes": [{"size": "3K", "enabled": "never"}]},
            "sizes[0].size: got '3K', expected a size of this kernel",
        ),
        ({"state": "absent", "enabled": "never"}, "enabled: got 'never', expected no value beside state absent"),
    ],
)
def test_bad_input_is_refused_by_name_before_the_first_write(
    module: Module, options: dict[str, Any], message: str
) -> None:
    before = snapshot()
    refused = module("transparent_hugepages", options, inside=WITHOUT_SYSTEMD)
    assert refused.failed
    assert message in refused["msg"]
    assert snapshot() == before


@pytest.mark.parametrize("check", [True, False])
def test_a_folder_that_cannot_be_written_is_told_before_the_first_write(module: Module, check: bool) -> None:
    before = snapshot()
    fault = "mkdir -p /etc/tmpfiles.d\nmount --bind /etc/tmpfiles.d /etc/tmpfiles.d\nmount -o remount,bind,ro /etc/tmpfiles.d"
    options = {"enabled": other(ROOT / "enabled")}
    failed = module("transparent_hugepages", options, check=check, inside=f"{SYSTEMD}\n{fault}")
    assert failed.failed
    assert "EROFS" in failed["msg"]
    assert snapshot() == before
