# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transparent hugepages on trees whose kernel answers to writes: facts, offered values, bounds, owners, the way back."""

from __future__ import annotations

import itertools
import json
from functools import partial
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import Result, converge
from ansible_collections.bulwark.node.plugins.module_utils.errors import (
    BulwarkError,
    HostError,
    OptionError,
    OwnerError,
    UnmetError,
)
from ansible_collections.bulwark.node.plugins.module_utils.node import thp
from ansible_collections.bulwark.node.plugins.module_utils.node.transparent_hugepages import TransparentHugepages
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import (
    MANIFEST,
    FakeKernel,
    Machine,
    WriteFault,
    different,
    failure,
    snapshot,
)

ROOT = thp.ROOT
SYSTEMD = "cgroup-v2-systemd"
OURS = "/etc/tmpfiles.d/10-bulwark-transparent-hugepages.conf"
MADE_BY_US = {"/var", "/var/lib", "/var/lib/bulwark"}


def params(**given: Any) -> dict[str, Any]:
    none = dict.fromkeys(("enabled", "defrag", "shmem_enabled", "khugepaged", "sizes"))
    return {**none, "persist": True, "state": "present", **given}


def run(host: FakeKernel, check: bool = False, **given: Any) -> Result:
    return converge(TransparentHugepages(host), params(**given), check)


def size(text: str, enabled: str | None = None, shmem_enabled: str | None = None) -> dict[str, Any]:
    return {"size": text, "enabled": enabled, "shmem_enabled": shmem_enabled}


def fact(text: str, size_bytes: int, enabled: str | None, shmem_enabled: str) -> dict[str, Any]:
    return {"size": text, "size_bytes": size_bytes, "enabled": enabled, "shmem_enabled": shmem_enabled}


def facts(*sizes: dict[str, Any], ptes: int = 511) -> dict[str, Any]:
    return {
        "enabled": "madvise",
        "defrag": "madvise",
        "shmem_enabled": "never",
        "khugepaged": {
            "alloc_sleep_millisecs": 60000,
            "defrag": 1,
            "max_ptes_none": ptes,
            "max_ptes_shared": 256,
            "max_ptes_swap": 64,
            "pages_to_scan": 4096,
            "scan_sleep_millisecs": 10000,
        },
        "always_for": [],
        "sizes": list(sizes),
        "reason": None,
    }


FACTS = {
    SYSTEMD: facts(fact("64K", 65536, "never", "never"), fact("2M", 2 << 20, "inherit", "never")),
    "arm64-64k-pages": facts(
        fact("128K", 131072, "never", "never"), fact("512M", 512 << 20, "inherit", "never"), ptes=8191
    ),
    "tuned": facts(),
    # Shared memory has pages of 8K too, which others have not.
    "debian12-hybrid": facts(
        fact("8K", 8 << 10, None, "never"),
        *(fact(f"{kib}K", kib << 10, "never", "never") for kib in (16, 32, 64, 128, 256, 512)),
        fact("1M", 1 << 20, "never", "never"),
        fact("2M", 2 << 20, "inherit", "inherit"),
    ),
    "no-hugepages": {
        "enabled": None,
        "defrag": None,
        "shmem_enabled": None,
        "khugepaged": {},
        "always_for": [],
        "sizes": [],
        "reason": "this kernel has no transparent hugepages",
    },
}


@pytest.mark.parametrize("tree", FACTS)
def test_the_facts_of_a_tree(machine: Machine, tree: str) -> None:
    assert thp.facts(machine(tree)) == FACTS[tree]


@pytest.mark.parametrize(
    ("enabled", "sizes", "always_for"),
    [
        ("always", {}, ["all sizes"]),
        ("madvise", {}, []),
        ("always", {64: "never", 2048: "inherit"}, ["2M"]),
        ("always", {64: "never", 2048: "madvise"}, []),
        ("never", {64: "always", 2048: "inherit"}, ["64K"]),
        # A size that is for shared memory alone.
        ("always", {8: None, 2048: "madvise"}, []),
    ],
)
def test_the_sizes_in_which_all_memory_is_given(enabled: str, sizes: dict[int, str | None], always_for: Any) -> None:
    values = {f"{ROOT}/enabled": enabled}
    for kib, value in sizes.items():
        folder = f"{ROOT}/hugepages-{kib}kB"
        values |= {f"{folder}/shmem_enabled": "always"} if value is None else {f"{folder}/enabled": value}
    assert thp.shape(values)["always_for"] == always_for


@pytest.mark.parametrize("text", ["", "garbage", "[", "[]", "1 2", "-1"])
def test_an_attribute_that_holds_garbage_is_not_there(machine: Machine, text: str) -> None:
    assert thp.facts(machine(SYSTEMD, {f"{ROOT}/enabled": text}))["enabled"] is None


@pytest.mark.parametrize(
    ("given", "option", "value", "expected"),
    [
        ({}, "enabled", None, "a value here"),
        ({"state": "absent", "enabled": "never"}, "enabled", "never", "no value beside state absent"),
        ({"khugepaged": {"pages_to_scan": -1}}, "khugepaged.pages_to_scan", -1, "1 to 4294967295"),
        ({"khugepaged": {"pages_to_scan": 0}}, "khugepaged.pages_to_scan", 0, "1 to 4294967295"),
        (
            {"khugepaged": {"scan_sleep_millisecs": 1 << 32}},
            "khugepaged.scan_sleep_millisecs",
            1 << 32,
            "0 to 4294967295",
        ),
        ({"khugepaged": {"defrag": 2}}, "khugepaged.defrag", 2, "0 to 1"),
        ({"khugepaged": {"max_ptes_none": 512}}, "khugepaged.max_ptes_none", "512", "0 to 511"),
        ({"sizes": [size("x", "never")]}, "sizes[0].size", "x", "a size such as"),
        ({"sizes": [size("2M")]}, "sizes[0].enabled", None, "a value here or in shmem_enabled"),
        (
            {"sizes": [size("2M", "never"), size("2048kB", "always")]},
            "sizes[1].size",
            "2048kB",
            "sizes[0].enabled names",
        ),
        ({"sizes": [size("4M", "never")]}, "sizes[0].size", "4M", "a size of this kernel: 64K, 2M"),
        (
            {"sizes": [size("64K", None, "inherit")], "shmem_enabled": "force"},
            "sizes[0].shmem_enabled",
            "inherit",
            "force",
        ),
        ({"defrag": "defer+always"}, "defrag", "defer+always", "always, defer, defer+madvise, madvise, never"),
    ],
)
def test_a_refused_option_is_named_with_its_value_and_what_is_expected(
    machine: Machine, given: dict[str, Any], option: str, value: object, expected: str
) -> None:
    host = machine(SYSTEMD)
    before = snapshot(host)
    with pytest.raises(OptionError) as caught:
        run(host, **given)
    assert (caught.value.details["option"], caught.value.details["value"]) == (option, value)
    assert expected in caught.value.details["expected"]
    assert snapshot(host) == before


def test_a_value_that_an_older_kernel_does_not_offer_is_refused_with_those_it_does(machine: Machine) -> None:
    host = machine(SYSTEMD, {f"{ROOT}/defrag": "always [madvise] never"})
    with pytest.raises(OptionError, match="what this kernel offers: always, madvise, never"):
        run(host, defrag="defer")


CASES: dict[str, dict[str, Any]] = {
    "policies": {"enabled": "never", "defrag": "defer+madvise", "shmem_enabled": "advise"},
    "khugepaged": {"khugepaged": {"defrag": 0, "max_ptes_none": 0, "pages_to_scan": None}},
    "sizes": {"sizes": [size("64K", "always", "within_size"), size("2M", shmem_enabled="inherit")]},
    "not persisted": {"enabled": "always", "persist": False},
    "persisted as it is": {"enabled": "madvise"},
}


@pytest.mark.parametrize("case", CASES)
def test_check_mode_changes_nothing_and_foretells_the_run_which_a_second_run_leaves_alone(
    machine: Machine, case: str
) -> None:
    host, given = machine(SYSTEMD), CASES[case]
    untouched = snapshot(host)
    foretold = run(host, check=True, **given)
    assert snapshot(host) == untouched
    real = run(host, **given)
    assert foretold == real
    assert real.changed
    assert real.after == thp.facts(host)
    applied = snapshot(host)
    for check in (True, False):
        again = run(host, check, **given)
        assert (again.changed, again.changes, again.diff) == (False, (), ())
    assert snapshot(host) == applied


def test_attributes_are_persisted_by_tmpfiles_and_a_later_run_keeps_the_others(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, enabled="never", sizes=[size("64K", "always")])
    run(host, enabled="always", khugepaged={"defrag": 0})
    assert (host.read(OURS) or "").splitlines()[1:] == [
        f"w! {ROOT}/enabled - - - - always",
        f"w! {ROOT}/hugepages-64kB/enabled - - - - always",
        f"w! {ROOT}/khugepaged/defrag - - - - 0",
    ]


def test_without_systemd_nothing_is_persisted_and_that_is_refused(machine: Machine) -> None:
    host = machine("debian12-hybrid")
    before = snapshot(host)
    with pytest.raises(BulwarkError, match=r"persist: without systemd .* or boot with transparent_hugepage=never$"):
        run(host, enabled="never")
    with pytest.raises(BulwarkError, match=r"Set persist to false; run this again after each boot for defrag$"):
        run(host, defrag="never")
    assert snapshot(host) == before
    assert run(host, enabled="never", persist=False).after["enabled"] == "never"


def test_not_to_persist_warns_of_what_an_earlier_run_persisted_otherwise(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, enabled="never", defrag="never")
    warnings = run(host, enabled="always", persist=False).verdict.warnings
    assert warnings == (f"{OURS} still sets {ROOT}/enabled to never at the next boot",)


def test_absent_settles_what_a_killed_run_recorded_and_never_wrote(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, enabled="never")
    manifest = (host.read(MANIFEST) or "").encode()
    run(host, state="absent")
    host.make_folder("/var/lib/bulwark")
    host.replace(MANIFEST, manifest)
    assert not run(host, True, state="absent").changed
    assert host.exists(MANIFEST)
    assert not run(host, state="absent").changed
    assert not host.exists(MANIFEST)


def test_absent_restores_the_first_values_and_the_machine_is_as_it_was(machine: Machine) -> None:
    host = machine(SYSTEMD)
    before = snapshot(host)
    run(host, enabled="never", khugepaged={"max_ptes_none": 7}, sizes=[size("64K", "always")])
    run(host, enabled="always", defrag="never")
    assert host.exists(MANIFEST)
    assert run(host, state="absent").changed
    assert different(before, snapshot(host)) <= {"/var", "/var/lib"}
    assert not run(host, state="absent").changed


def test_a_running_tuned_owns_what_its_profile_sets(machine: Machine) -> None:
    with pytest.raises(OwnerError, match=rf"virtual-host/tuned.conf sets {ROOT}/enabled to never and wins"):
        run(machine("tuned"), enabled="madvise")
    with pytest.raises(OwnerError, match=rf"throughput-performance/tuned.conf sets {ROOT}/defrag to always"):
        run(machine("tuned"), defrag="madvise", enabled="never")
    assert run(machine("tuned"), enabled="never", defrag="always").changed
    assert run(machine("tuned", without=["/run/tuned"]), enabled="madvise").verdict.warnings == ()
    (warning,) = run(machine("tuned"), enabled="madvise", persist=False).verdict.warnings
    assert f"virtual-host/tuned.conf sets {ROOT}/enabled to never, which counts at the next boot" in warning


def test_force_is_refused_or_explained_where_a_size_inherits(machine: Machine) -> None:
    path = f"{ROOT}/hugepages-64kB/shmem_enabled"
    host = machine(SYSTEMD, {path: "always [inherit] within_size advise never"})
    with pytest.raises(OptionError, match="no size but that of a hugepage may inherit, and 64K does"):
        run(host, True, shmem_enabled="force")
    assert run(host, shmem_enabled="force", sizes=[size("64K", None, "never"), size("2M", None, "inherit")]).changed
    host.refuses = {f"{ROOT}/shmem_enabled": "EINVAL"}
    with pytest.raises(HostError, match=r"refuses 'never' \(EINVAL\): beside force"):
        run(host, shmem_enabled="never")


def test_absent_names_who_still_sets_it(machine: Machine) -> None:
    host = machine("rivals")
    run(host, enabled="always")
    assert run(host, state="absent").verdict.warnings == (
        f"/usr/lib/tmpfiles.d/90-late.conf sets {ROOT}/enabled to never, which may count at the next boot",
    )


def test_a_lost_manifest_is_told_once_and_our_own_file_is_nothing_to_go_back_to(machine: Machine) -> None:
    host = machine(SYSTEMD)
    run(host, enabled="never")
    host.remove(MANIFEST)
    (warning,) = run(host, enabled="always").verdict.warnings
    assert "cannot be given back" in warning
    assert f"{ROOT}/enabled (never)" in warning
    assert json.loads(host.read(MANIFEST) or "")["files"][OURS]["before"] is None
    assert run(host, enabled="madvise").verdict.warnings == ()


def test_a_file_of_somebody_else_at_our_path_is_not_touched(machine: Machine) -> None:
    host = machine(SYSTEMD, {OURS: "d /run/else\n"})
    before = snapshot(host)
    for given in ({"enabled": "never"}, {"enabled": "never", "defrag": "never"}):
        with pytest.raises(OwnerError, match=f"{OURS} is there and is not ours"):
            run(host, True, **given)
    assert snapshot(host) == before


def test_tuned_owns_a_size_by_its_path(machine: Machine) -> None:
    path = f"{ROOT}/hugepages-64kB/enabled"
    files = {
        "/etc/tuned/active_profile": "x",
        "/run/tuned/tuned.pid": "1",
        "/etc/tuned/x/tuned.conf": f"[sysfs]\n{path}=always",
    }
    with pytest.raises(OwnerError, match=path):
        run(machine(SYSTEMD, files), sizes=[size("64K", "never")])


def test_an_earlier_tmpfile_wins_and_a_later_one_is_a_warning(machine: Machine) -> None:
    with pytest.raises(OwnerError, match=r"/etc/tmpfiles\.d/01-defrag.conf"):
        run(machine("rivals"), defrag="always")
    assert run(machine("rivals"), enabled="always").verdict.warnings == (
        f"/usr/lib/tmpfiles.d/90-late.conf sets {ROOT}/enabled to never; {OURS} wins over it at boot",
    )


def test_a_value_that_does_not_stay_fails_the_run_and_all_goes_back(machine: Machine) -> None:
    host = machine(SYSTEMD)
    before = snapshot(host)
    choose = host._choose

    def stubborn(path: str, value: str) -> None:
        if not path.endswith("/enabled"):
            choose(path, value)

    host._choose = stubborn  # type: ignore[method-assign]
    with pytest.raises(UnmetError, match="'never' was written and 'madvise' read back"):
        run(host, enabled="never", defrag="never")
    assert different(before, snapshot(host)) <= MADE_BY_US


@pytest.mark.parametrize(("after", "on"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("absent", [False, True])
def test_whichever_write_fails_the_machine_is_as_before_or_the_rest_is_named(
    machine: Machine, after: bool, on: bool, absent: bool
) -> None:
    given: dict[str, Any] = {"enabled": "never", "khugepaged": {"defrag": 0}}
    for number in itertools.count(1):
        host = machine(SYSTEMD)
        if absent:
            run(host, **given)
            host.log.clear()
        before = snapshot(host)
        host.fault = WriteFault(number, after, on)
        wanted: dict[str, Any] = {"state": "absent"} if absent else given
        error = failure(partial(run, host, **wanted))
        if error is None:
            assert number > len(host.log), f"write {number} failed unnoticed"
            break
        left = different(before, snapshot(host)) - MADE_BY_US
        named = [item["what"] for item in error.details["not_undone"]]
        if named:
            left.discard(MANIFEST)
        assert on or after or not named, (number, host.log)
        assert left <= set(named), (number, host.log, error.details)
    assert number > 4


@pytest.mark.parametrize("undo", ["first_line", "line"])
def test_a_file_changed_by_hand_is_named_and_not_taken_for_ours(machine: Machine, undo: str) -> None:
    host = machine(SYSTEMD)
    before = snapshot(host)
    run(host, enabled="never")
    text, line = host.read(OURS) or "", "w! /sys/module/other/parameters/x - - - - 7\nd /run/other 0755\n"
    theirs = text.split("\n", 1)[1] if undo == "first_line" else line
    host.replace(OURS, (theirs if undo == "first_line" else text + line).encode())
    if undo == "line":
        assert run(host, enabled="always").changed
        assert (host.read(OURS) or "").endswith(line)
    foretold = run(host, state="absent", check=True)
    done = run(host, state="absent")
    assert (done.changes, done.after, done.diff) == (foretold.changes, foretold.after, foretold.diff)
    assert done.verdict == foretold.verdict
    (said,) = [text for text in done.verdict.warnings if text.startswith(OURS)]
    assert ("changed by hand" if undo == "first_line" else "keeps the lines") in said
    assert host.read(OURS) == theirs
    assert different(before, snapshot(host)) - {OURS} <= {"/var", "/var/lib"}
    assert not run(host, state="absent").changed
