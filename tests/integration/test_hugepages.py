# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module hugepages on this machine's own kernel. What it says is held to sysfs and to tools that are not ours."""

from __future__ import annotations

import json
import mmap
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from .conftest import SYSTEMD, WITHOUT_SYSTEMD, Module, snapshot

pytestmark = pytest.mark.usefixtures("kernel")

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
GIGANTIC = Path("/sys/kernel/mm/hugepages/hugepages-1048576kB")
SYSCTL = Path("/etc/sysctl.d/90-bulwark-hugepages.conf")
TMPFILES = Path("/etc/tmpfiles.d/10-bulwark-hugepages.conf")
MANIFEST = Path("/var/lib/bulwark/manifest.json")
_MAP_HUGETLB = 0x40000


def number(path: Path) -> int:
    return int(path.read_text())


def two_megabytes(count: int, **more: Any) -> dict[str, Any]:
    return {"pools": [{"size": "2M", "count": count}], **more}


def gigabytes(count: int, **more: Any) -> dict[str, Any]:
    return {"pools": [{"size": "1G", "count": count}], "persist": False, **more}


def too_many_gigabytes() -> dict[str, Any]:
    """More pages of 1 GiB than the machine has whole ones: the kernel's own image lies in one of them."""
    if not GIGANTIC.is_dir():
        pytest.skip("hardware: this CPU has no pages of 1 GiB")
    rows = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(row.split()[1]) for row in rows if row.startswith("MemTotal:"))
    count = total // (1 << 20) - 1
    if count < 2:
        pytest.skip("hardware: fewer than 3 GiB of memory")
    # The guard is not what is tried here; pages that are not there are not taken from anybody.
    return gigabytes(count, memory_reserve="0")


def settled() -> dict[str, Any]:
    """The machine without the lock file that any run makes, which lies in /run."""
    return {path: value for path, value in snapshot().items() if path != "/run/bulwark.lock"}


@contextmanager
def pages_in_use(count: int) -> Iterator[None]:
    with mmap.mmap(-1, count * (2 << 20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_HUGETLB) as memory:
        for page in range(count):
            memory[page * (2 << 20)] = 1
        yield


def test_check_predicts_what_the_run_does_and_the_second_run_changes_nothing(module: Module) -> None:
    options = two_megabytes(24)
    before = snapshot()
    predicted = module("hugepages", options, check=True, inside=WITHOUT_SYSTEMD)
    assert predicted["changed"]
    assert snapshot() == before
    done = module("hugepages", options, inside=WITHOUT_SYSTEMD)
    assert done["changed"]
    assert number(POOL / "nr_hugepages") == 24
    assert SYSCTL.read_text().splitlines()[-1] == "vm.nr_hugepages = 24"
    assert predicted["after"] == done["after"]
    assert predicted["changes"] == done["changes"]
    assert "+vm.nr_hugepages = 24" in predicted.output
    assert "+vm.nr_hugepages = 24" in done.output
    settled = snapshot()
    for check in (True, False):
        again = module("hugepages", options, check=check, inside=WITHOUT_SYSTEMD)
        assert not again["changed"]
        assert again["changes"] == []
    assert snapshot() == settled
    gone = module("hugepages", {"state": "absent"}, inside=WITHOUT_SYSTEMD)
    assert gone["changed"]
    assert not module("hugepages", {"state": "absent"}, inside=WITHOUT_SYSTEMD)["changed"]
    assert snapshot() == before


def test_the_manifest_keeps_what_was_there_before(module: Module) -> None:
    module("hugepages", two_megabytes(4), inside=WITHOUT_SYSTEMD)
    module("hugepages", two_megabytes(8), inside=WITHOUT_SYSTEMD)
    manifest = json.loads(MANIFEST.read_text())
    assert MANIFEST.stat().st_mode & 0o777 == 0o600
    assert manifest["files"] == {str(SYSCTL): {"before": None, "by": "hugepages"}}
    assert {entry["before"] for entry in manifest["kernel"].values()} == {"0"}
    module("hugepages", {"state": "absent"}, inside=WITHOUT_SYSTEMD)
    assert not MANIFEST.exists()


def test_procps_reads_the_persisted_pool(module: Module) -> None:
    if shutil.which("sysctl") is None:
        pytest.skip("the Debian package procps is missing")
    module("hugepages", two_megabytes(6), inside=WITHOUT_SYSTEMD)
    (POOL / "nr_hugepages").write_text("0")
    subprocess.run(["sysctl", "--load", str(SYSCTL)], check=True, capture_output=True)
    assert number(POOL / "nr_hugepages") == 6
    module("hugepages", {"state": "absent"}, inside=WITHOUT_SYSTEMD)


def test_systemd_tmpfiles_reads_the_persisted_pool(module: Module) -> None:
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("the Debian package systemd is missing")
    options = {"pools": [{"size": "2M", "count": 6, "node": 0}, {"size": "2M", "overcommit": 3}]}
    done = module("hugepages", options, inside=SYSTEMD)
    assert not done.failed, done["msg"]
    (POOL / "nr_hugepages").write_text("0")
    (POOL / "nr_overcommit_hugepages").write_text("0")
    # Not at boot, nothing happens: pages in use would be at stake.
    subprocess.run(["systemd-tmpfiles", "--create", str(TMPFILES)], check=True)
    assert number(POOL / "nr_hugepages") == 0
    subprocess.run(["systemd-tmpfiles", "--create", "--boot", str(TMPFILES)], check=True)
    assert number(POOL / "nr_hugepages") == 6
    assert number(POOL / "nr_overcommit_hugepages") == 3
    module("hugepages", {"state": "absent"}, inside=SYSTEMD)


def test_a_size_beside_the_default_is_mounted_now_and_at_boot(module: Module) -> None:
    if not GIGANTIC.is_dir():
        pytest.skip("hardware: this CPU has no pages of 1 GiB")
    options = {"pools": [{"size": "1G", "count": 1}], "on_shortfall": "warn"}
    before = snapshot()
    done = module("hugepages", options, inside=SYSTEMD)
    assert not done.failed, done["msg"]
    assert {"path": "/dev/hugepages1G", "size": "1G", "size_bytes": 1 << 30} in done["after"]["mounts"]
    unit = Path("/etc/systemd/system/dev-hugepages1G.mount")
    assert Path("/etc/systemd/system/sysinit.target.wants/dev-hugepages1G.mount").resolve() == unit
    if shutil.which("systemd-analyze"):
        verdict = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert "dev-hugepages1G" not in verdict.stderr, verdict.stderr
    # The namespace took the mount with it, and so a boot is what this looks like to the next run.
    again = module("hugepages", options, inside=SYSTEMD)
    assert [change["kind"] for change in again["changes"] if change["kind"] != "pool"] == ["mount"]
    module("hugepages", {"state": "absent"}, inside=SYSTEMD)
    Path("/dev/hugepages1G").rmdir()
    assert snapshot() == before


@pytest.mark.parametrize("check", [True, False])
def test_pages_in_use_are_not_taken(module: Module, check: bool) -> None:
    module("hugepages", two_megabytes(8, persist=False))
    with pages_in_use(5):
        refused = module("hugepages", two_megabytes(3, persist=False), check=check)
        assert refused.failed
        assert "pools[0].count: got 3, expected 5 or more" in refused["msg"]
        assert number(POOL / "nr_hugepages") == 8
    module("hugepages", {"state": "absent", "pools": [{"size": "2M"}]})


def test_with_consent_pages_in_use_become_surplus_and_go_once_they_are_free(module: Module) -> None:
    module("hugepages", two_megabytes(8, persist=False))
    with pages_in_use(5):
        predicted = module("hugepages", two_megabytes(3, persist=False, allow_surplus=True), check=True)
        done = module("hugepages", two_megabytes(3, persist=False, allow_surplus=True))
        assert not done.failed, done["msg"]
        assert number(POOL / "surplus_hugepages") == 2
        assert predicted["after"] == done["after"]
    assert number(POOL / "nr_hugepages") == 3
    module("hugepages", {"state": "absent", "pools": [{"size": "2M"}]})


@pytest.mark.usefixtures("whole_memory")
def test_a_real_shortfall_is_explained_and_undone(module: Module) -> None:
    options = too_many_gigabytes()
    before = settled()
    predicted = module("hugepages", options, check=True)
    assert predicted.warns("may fall short")
    failed = module("hugepages", options)
    assert failed.failed
    assert not failed["changed"]
    unmet = failed["unmet"][0]
    assert unmet["target"] == "pools[0].count"
    assert unmet["got"] < unmet["wanted"] == options["pools"][0]["count"]
    assert unmet["evidence"]["nodes"][0]["free_blocks"] > 0
    assert "Boot with hugepagesz=1G" in failed["msg"]
    assert failed["not_undone"] == []
    assert settled() == before


@pytest.mark.usefixtures("whole_memory")
def test_a_tolerated_shortfall_keeps_what_there_is_and_is_no_change_again(module: Module) -> None:
    options = {**too_many_gigabytes(), "on_shortfall": "warn"}
    # The pool is to stay small enough that the machine can go on: the kernel gives whole GiB only.
    options["memory_reserve"] = "2G"
    options["pools"][0]["count"] -= 3
    first = module("hugepages", options)
    if first.failed:
        pytest.skip("hardware: too little memory is free for a shortfall that leaves 2 GiB")
    got = number(GIGANTIC / "nr_hugepages")
    try:
        assert first["unmet"][0]["got"] == got
        assert not first["reboot_required"]
        assert first.warns("pools[0].count: asked for")
        again = module("hugepages", options)
        if number(GIGANTIC / "nr_hugepages") == got:
            assert not again["changed"]
            assert again["unmet"][0]["got"] == got
    finally:
        (GIGANTIC / "nr_hugepages").write_text("0")
        MANIFEST.unlink()
        MANIFEST.parent.rmdir()


def test_more_memory_than_may_be_given_is_refused_with_the_sum(module: Module) -> None:
    before = settled()
    refused = module("hugepages", two_megabytes(1 << 30))
    assert refused.failed
    assert "is kept for the system (4 GiB or 10 %, whichever is more)" in refused["msg"]
    assert settled() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "present"}, "pools: is missing, expected at least one pool"),
        (two_megabytes(-1), "pools[0].count: got -1, expected 0 or more"),
        ({"pools": [{"size": "3M", "count": 1}]}, "pools[0].size: got '3M', expected a size of this kernel: 2M"),
        ({"pools": [{"size": "big", "count": 1}]}, "pools[0].size: got 'big', expected a size such as 2M"),
        ({"pools": [{"size": "2M", "count": 1, "node": 99}]}, "pools[0].node: got 99, expected a NUMA node"),
        ({"pools": [{"size": "2M"}]}, "pools[0].count: is missing, expected a number of pages"),
        ({"pools": [{"size": "1G", "count": 1}]}, "cannot be persisted without systemd"),
        (
            two_megabytes(1, persist=False, on_shortfall="reboot"),
            "on_shortfall: got 'reboot', expected persist beside it",
        ),
        (
            {"pools": [{"size": "2M", "overcommit": 1 << 70}]},
            "pools[0].overcommit: got 1180591620717411303424, expected 0 to",
        ),
    ],
)
def test_bad_input_is_refused_by_name_before_the_first_write(
    module: Module, options: dict[str, Any], message: str
) -> None:
    before = snapshot()
    refused = module("hugepages", options, inside=WITHOUT_SYSTEMD)
    assert refused.failed
    assert message in refused["msg"]
    assert snapshot() == before


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "mount --bind /etc/sysctl.d /etc/sysctl.d\nmount -o remount,bind,ro /etc/sysctl.d",
            "mounted read-only (EROFS)",
        ),
        ("mount -t tmpfs tmpfs /etc/sysctl.d\nln -s /dev/null " + str(SYSCTL), "outside of its folder; refused"),
        ("mount -t tmpfs tmpfs /etc/sysctl.d\necho x > " + str(SYSCTL), "is there and is not ours"),
    ],
)
def test_a_file_that_cannot_be_ours_is_refused_before_the_first_write(
    module: Module, fault: str, message: str, check: bool
) -> None:
    before = snapshot()
    failed = module("hugepages", two_megabytes(5), check=check, inside=f"{WITHOUT_SYSTEMD}\n{fault}")
    assert failed.failed
    assert message in failed["msg"]
    assert not {"mode", "owner", "state"} & set(failed.result), "of no file that we failed on"
    assert snapshot() == before


def test_folders_and_fifos_beside_our_file_are_no_matter(module: Module) -> None:
    strange = "mount -t tmpfs tmpfs /etc/sysctl.d\nmkdir /etc/sysctl.d/x.conf\nmkfifo /etc/sysctl.d/y.conf"
    assert module("hugepages", two_megabytes(5), check=True, inside=f"{WITHOUT_SYSTEMD}\n{strange}")["changed"]


def test_check_mode_knows_whether_the_kernel_overcommits_gigantic_pages(module: Module) -> None:
    if not GIGANTIC.is_dir():
        pytest.skip("hardware: this CPU has no pages of 1 GiB")
    options = {"pools": [{"size": "1G", "overcommit": 1}], "persist": False}
    predicted, done = module("hugepages", options, check=True), module("hugepages", options)
    assert predicted.failed == done.failed
    if not done.failed:
        module("hugepages", {"state": "absent"})


def test_a_full_disk_undoes_the_pool(module: Module) -> None:
    before = snapshot()
    fault = (
        "mkdir -p /var/lib/bulwark\nmount -t tmpfs -o size=4k,nr_inodes=2 tmpfs /var/lib/bulwark\n"
        "head -c 4096 /dev/zero > /var/lib/bulwark/full"
    )
    failed = module("hugepages", two_megabytes(5), inside=f"{WITHOUT_SYSTEMD}\n{fault}")
    with suppress(FileNotFoundError):
        # The mount point that the fault was prepared on.
        MANIFEST.parent.rmdir()
    assert failed.failed
    assert "ENOSPC" in failed["msg"]
    assert failed["not_undone"] == []
    assert snapshot() == before
