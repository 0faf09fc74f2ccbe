# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the manifest remembers, through changes, failures and undos."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.converge import Change as Step
from ansible_collections.bulwark.node.plugins.module_utils.converge import Undos
from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import READ_LIMIT, Host
from ansible_collections.bulwark.node.plugins.module_utils.manifest import HEADER, MANIFEST, Manifest, released

Faulty = Callable[..., Any]
FILE, LINK, ATTRIBUTE, OTHER = "/etc/x.d/ours.conf", "/etc/x.d/link", "/sys/attribute", "/sys/other"


@pytest.fixture
def host(tree: Path) -> Host:
    """A machine with two attributes and nothing of ours."""
    (tree / "var/lib").mkdir(parents=True)
    (tree / "etc").mkdir()
    (tree / "sys").mkdir()
    (tree / "sys/attribute").write_text("always [madvise] never\n")
    (tree / "sys/other").write_text("5\n")
    return Host(str(tree))


@pytest.fixture
def manifest(host: Host) -> Manifest:
    """The writes of the domain "test"."""
    return Manifest(host, "test")


def _snapshot(root: Path) -> dict[str, object]:
    """Every name below a root, with what it holds and its mode and owner."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            status = path.lstat()
            held = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(root))] = (held, status.st_mode, status.st_uid, status.st_gid)
    return found


def _undo(undos: Undos) -> list[tuple[str, str | None]]:
    return list(undos.run())


def _failures(undos: Undos) -> list[tuple[str, str]]:
    return [(what, reason) for what, reason in undos.run() if reason is not None]


Change = Callable[[Manifest, Undos], None]
CHANGES: dict[str, Change] = {
    "file": lambda manifest, undos: manifest.file(FILE, "new\n", undos),
    "link": lambda manifest, undos: manifest.link(LINK, "../target", undos),
    "kernel": lambda manifest, undos: manifest.kernel(ATTRIBUTE, "defer!!", undos),
}
KINDS = ("files", "links", "folders", "mounts", "kernel", "devices", "members", "limits")
changes = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())


def test_without_a_manifest_there_are_no_entries(manifest: Manifest) -> None:
    assert manifest.entries() == {kind: {} for kind in KINDS}
    assert manifest.entries()["kernel"].get(ATTRIBUTE) is None


def test_each_domain_has_its_own_entries(manifest: Manifest, host: Host) -> None:
    undos, other = Undos(), Manifest(host, "other")
    manifest.kernel(ATTRIBUTE, "never", undos)
    other.kernel(OTHER, "7", undos)
    assert manifest.mine("kernel") == {ATTRIBUTE: {"before": "madvise", "by": "test"}}
    assert other.mine("kernel") == {OTHER: {"before": "5", "by": "other"}}
    assert other.mine("files") == {}


def test_entries_say_what_was_there_before_and_who_changed_it(tree: Path, manifest: Manifest) -> None:
    undos = Undos()
    for change in CHANGES.values():
        change(manifest, undos)
    assert manifest.entries() == {
        **{kind: {} for kind in KINDS},
        "files": {FILE: {"before": None, "by": "test"}},
        "links": {LINK: {"before": None, "by": "test"}},
        "folders": {"/etc/x.d": {"before": None, "by": "test"}},
        "kernel": {ATTRIBUTE: {"before": "madvise", "by": "test"}},
    }
    assert (tree / FILE[1:]).read_text() == "new\n"
    assert stat.S_IMODE((tree / FILE[1:]).stat().st_mode) == 0o644
    assert os.readlink(tree / LINK[1:]) == "../target"
    assert (tree / ATTRIBUTE[1:]).read_text() == "defer!!"


def test_the_manifest_is_for_root_alone_and_sorted(tree: Path, manifest: Manifest) -> None:
    manifest.kernel(OTHER, "6", Undos())
    manifest.kernel(ATTRIBUTE, "never", Undos())
    path = tree / MANIFEST[1:]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    content = json.loads(path.read_text())
    assert content["schema"] == 1
    assert path.read_text() == json.dumps(content, indent=2, sort_keys=True) + "\n"
    assert os.listdir(path.parent) == ["manifest.json"]


@changes
def test_undone_the_machine_is_as_it_was(tree: Path, manifest: Manifest, change: Change) -> None:
    (tree / ATTRIBUTE[1:]).write_text("madvise")
    before = _snapshot(tree)
    undos = Undos()
    change(manifest, undos)
    assert _snapshot(tree) != before
    assert _failures(undos) == []
    assert _snapshot(tree) == before


def test_the_first_value_is_kept_and_forgotten_when_it_is_back(tree: Path, manifest: Manifest) -> None:
    for value in ("6", "7"):
        manifest.kernel(OTHER, value, Undos())
        assert manifest.entries()["kernel"].get(OTHER) == {"before": "5", "by": "test"}
    manifest.kernel(OTHER, "5", Undos())
    assert manifest.entries()["kernel"].get(OTHER) is None
    assert not (tree / "var/lib/bulwark").exists()


def test_a_file_is_forgotten_only_when_text_mode_and_owner_are_back(tree: Path, manifest: Manifest) -> None:
    path = tree / "etc/file"
    path.write_text("old")
    path.chmod(0o640)
    before = {"text": "old", "mode": "0640", "uid": os.getuid(), "gid": os.getgid()}
    for text in ("one", "two"):
        manifest.file("/etc/file", text, Undos())
        assert manifest.entries()["files"].get("/etc/file") == {"before": before, "by": "test"}
    path.chmod(0o600)
    manifest.file("/etc/file", "old", Undos())
    assert manifest.entries()["files"].get("/etc/file") is not None
    path.chmod(0o640)
    manifest.file("/etc/file", "old", Undos())
    assert manifest.entries()["files"].get("/etc/file") is None


def test_another_domain_keeps_the_name_of_the_first(host: Host, manifest: Manifest) -> None:
    manifest.kernel(OTHER, "6", Undos())
    Manifest(host, "second").kernel(OTHER, "7", Undos())
    Manifest(host, "second").kernel(ATTRIBUTE, "never", Undos())
    assert manifest.entries()["kernel"] == {
        ATTRIBUTE: {"before": "madvise", "by": "second"},
        OTHER: {"before": "5", "by": "test"},
    }


def test_the_undo_of_a_second_change_goes_back_to_the_first(tree: Path, manifest: Manifest) -> None:
    manifest.kernel(OTHER, "6", Undos())
    undos = Undos()
    manifest.kernel(OTHER, "7", undos)
    assert _failures(undos) == []
    assert (tree / "sys/other").read_text() == "6"
    assert manifest.entries()["kernel"].get(OTHER) == {"before": "5", "by": "test"}


def test_a_way_back_that_was_taken_and_is_undone_is_still_a_way_back(tree: Path, manifest: Manifest) -> None:
    manifest.kernel(OTHER, "6", Undos())
    before = _snapshot(tree)
    undos = Undos()
    manifest.kernel(OTHER, "5", undos)
    assert manifest.entries()["kernel"].get(OTHER) is None
    assert _failures(undos) == []
    assert manifest.entries()["kernel"].get(OTHER) == {"before": "5", "by": "test"}
    assert _snapshot(tree) == before


GARBAGE = [
    b"",
    b"\xff\xfe",
    b"not json",
    b"[]",
    b"null",
    b"1",
    b"{}",
    b'{"schema": 2, "files": {}, "links": {}, "kernel": {}}',
    b'{"schema": 1, "files": {}, "links": {}, "kernel": {}, "later": {}}',
    b'{"schema": 1, "limits": {"/x": {"by": "test", "before": null}}}',
    b'{"schema": 1, "devices": {"/x": {"by": "test", "before": null}}}',
    b'{"schema": 1, "members": {"/x": {"by": "test", "before": 5}}}',
    b'{"schema": 1, "files": [], "links": {}, "kernel": {}}',
    b'{"schema": 1, "files": {}, "links": {}, "kernel": {"/x": 5}}',
    b'{"schema": 1, "files": {}, "links": {}, "kernel": {"/x": {"by": "test", "before": 5}}}',
    b'{"schema": 1, "files": {}, "links": {}, "kernel": {"/x": {"by": "test", "before": null}}}',
    b'{"schema": 1, "files": {}, "links": {}, "kernel": {"/x": {"by": 5, "before": "5"}}}',
    b'{"schema": 1, "kernel": {"/x": {"by": "test", "before": "5", "after": 6}}}',
    b'{"schema": 1, "kernel": {"/x": {"by": "test", "before": "5", "boot": null}}}',
    b'{"schema": 1, "files": {}, "links": {"/x": {"by": "test", "before": ["y"]}}, "kernel": {}}',
    b'{"schema": 1, "files": {"/x": {"by": "test", "before": "text"}}, "links": {}, "kernel": {}}',
    b'{"schema": 1, "files": {"/x": {"by": "test", "before": {"text": "y"}}}, "links": {}, "kernel": {}}',
    b'{"schema": 1, "files": {"/x": {"by": "test", "before": {"text": "y", "mode": 420, "uid": 0, "gid": 0}}}, "links": {}, "kernel": {}}',
    b'{"schema": 1, "files": {"/x": {"by": "test", "before": {"text": "y", "mode": "0644", "uid": "0", "gid": 0}}}, "links": {}, "kernel": {}}',
    b'{"schema": 1, "files": {}, "links": {}, "kernel": {"/x": {"by": "test"}}}',
    b'{"schema": 1, "files": {}, "links": {}, "kernel": {"/x": ["before", "by"]}}',
    b"[" * 100_000,
    b" " * (READ_LIMIT + 1),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:50]))
@changes
def test_a_manifest_that_is_none_is_refused_and_nothing_is_touched(
    tree: Path, manifest: Manifest, change: Change, garbage: bytes
) -> None:
    (tree / "var/lib/bulwark").mkdir()
    (tree / MANIFEST[1:]).write_bytes(garbage)
    (tree / ATTRIBUTE[1:]).write_text("madvise")
    before = _snapshot(tree)
    undos = Undos()
    with pytest.raises(HostError, match=f"^{MANIFEST}: "):
        change(manifest, undos)
    _undo(undos)
    assert _snapshot(tree) == before


@pytest.mark.parametrize(
    "content", [{"schema": 2}, {"schema": 2, "files": []}, {"schema": 1, "files": {}, "timers": {}}]
)
def test_a_newer_releases_manifest_is_left_to_that_release(tree: Path, manifest: Manifest, content: object) -> None:
    (tree / "var/lib/bulwark").mkdir()
    (tree / MANIFEST[1:]).write_text(json.dumps(content))
    with pytest.raises(HostError, match=r"newer release of bulwark\.node: use that one") as caught:
        manifest.kernel(ATTRIBUTE, "never", Undos())
    assert "move it away" not in str(caught.value)
    assert json.loads((tree / MANIFEST[1:]).read_text()) == content


def test_a_newer_releases_key_of_an_entry_is_kept(tree: Path, manifest: Manifest) -> None:
    entry = {"before": "1", "by": "test", "of_tomorrow": "x"}
    (tree / "var/lib/bulwark").mkdir()
    (tree / MANIFEST[1:]).write_text(json.dumps({"schema": 1, "kernel": {"/sys/there": entry}}))
    manifest.kernel(ATTRIBUTE, "never", Undos())
    assert manifest.entries()["kernel"]["/sys/there"] == entry


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EPERM"])
@pytest.mark.parametrize(
    "step",
    [("open", 0), ("mkdir", 0), ("fchmod", 0), ("fsync", 0), ("rename", 0), ("write", 0), ("symlink", 0)],
    ids=str,
)
@changes
def test_a_change_that_fails_is_undone_and_leaves_no_entry(
    tree: Path, manifest: Manifest, faulty: Faulty, change: Change, step: tuple[str, int], code: str
) -> None:
    (tree / ATTRIBUTE[1:]).write_text("madvise")
    before = _snapshot(tree)
    for number in range(1, 50):
        proxy = faulty((step[0], number), getattr(errno, code))
        undos = Undos()
        failed = _code_of(lambda: change(manifest, undos))  # noqa: B023 - called at once
        reached = proxy.count(step[0]) >= number
        assert failed == (code if reached else None)
        proxy.faults.clear()
        assert _failures(undos) == []
        assert _snapshot(tree) == before, f"{step[0]} number {number}"
        if not reached:
            return
    pytest.fail("never came to the end")


def _code_of(action: Callable[[], None]) -> str | None:
    try:
        action()
    except HostError as error:
        return error.code or str(error)
    return None


def test_a_write_that_fails_for_good_is_named_and_its_entry_is_true(
    tree: Path, manifest: Manifest, faulty: Faulty
) -> None:
    def refuse_old(descriptor: int, data: bytes) -> int:
        if bytes(data) == b"5":
            raise OSError(errno.EIO, "")
        return os.write(descriptor, data)

    faulty(("write", 0), refuse_old)
    undos = Undos()
    manifest.kernel(OTHER, "6", undos)
    (failure,) = _failures(undos)
    assert failure[0] == OTHER
    assert "cannot write '5': EIO" in failure[1]
    assert (tree / "sys/other").read_text().strip() == "6"
    assert manifest.entries()["kernel"].get(OTHER) == {"before": "5", "by": "test"}


def test_an_undo_writes_nothing_to_an_attribute_that_never_changed(
    tree: Path, manifest: Manifest, faulty: Faulty
) -> None:
    def refuse_new(descriptor: int, data: bytes) -> int:
        if bytes(data) in (b"6", b"5"):
            raise OSError(errno.EINVAL, "")
        return os.write(descriptor, data)

    faulty(("write", 0), refuse_new)
    undos = Undos()
    with pytest.raises(HostError, match="EINVAL"):
        manifest.kernel(OTHER, "6", undos)
    assert _failures(undos) == []
    assert manifest.entries()["kernel"].get(OTHER) is None


def test_a_manifest_too_large_to_be_read_again_is_not_written(tree: Path, manifest: Manifest) -> None:
    path = tree / "etc/file"
    # Each of these is six characters in JSON.
    path.write_bytes(b"\x01" * (READ_LIMIT // 4))
    before = _snapshot(tree)
    undos = Undos()
    with pytest.raises(HostError, match=f"^{MANIFEST}: would grow beyond"):
        manifest.file("/etc/file", "new", undos)
    _undo(undos)
    assert _snapshot(tree) == before


# files


def test_bytes_that_are_no_text_come_back(tree: Path, manifest: Manifest) -> None:
    path = tree / "etc/file"
    path.write_bytes(b"\xff\x00caf\xe9\r\n\xed\xa0\x80")
    undos = Undos()
    manifest.file("/etc/file", "new", undos)
    entry = manifest.entries()["files"].get("/etc/file")
    assert entry is not None
    assert entry["before"]["text"].encode("utf-8", "surrogateescape") == b"\xff\x00caf\xe9\r\n\xed\xa0\x80"
    assert _failures(undos) == []
    assert path.read_bytes() == b"\xff\x00caf\xe9\r\n\xed\xa0\x80"


def test_a_removed_file_comes_back_with_mode_and_owner(tree: Path, manifest: Manifest) -> None:
    path = tree / "etc/file"
    path.write_text("old")
    if os.getuid() == 0:
        os.chown(path, 1234, 2345)
    path.chmod(0o640)
    before = _snapshot(tree)
    undos = Undos()
    manifest.file("/etc/file", None, undos)
    assert not path.exists()
    entry = manifest.entries()["files"].get("/etc/file")
    assert entry is not None
    assert (entry["before"]["text"], entry["before"]["mode"]) == ("old", "0640")
    assert _failures(undos) == []
    assert _snapshot(tree) == before


def test_removing_what_is_not_there_makes_no_folder(tree: Path, manifest: Manifest) -> None:
    before = _snapshot(tree)
    manifest.file(FILE, None, Undos())
    manifest.link(LINK, None, Undos())
    assert _snapshot(tree) == before


def test_folders_made_for_a_file_go_with_it_unless_they_are_in_use(tree: Path, manifest: Manifest) -> None:
    undos = Undos()
    manifest.file("/etc/a/b/file", "x", undos)
    (tree / "etc/a/other").touch()
    assert _failures(undos) == []
    assert os.listdir(tree / "etc/a") == ["other"]


def test_folders_that_we_made_go_with_the_last_that_is_in_them(tree: Path, host: Host, manifest: Manifest) -> None:
    (tree / "etc/theirs").mkdir()
    before = _snapshot(tree)
    other = Manifest(host, "other")
    manifest.file("/etc/a/b/file", "x", Undos())
    other.link("/etc/a/b/link", "file", Undos())
    manifest.file("/etc/theirs/file", "x", Undos())
    assert {path: entry["by"] for path, entry in manifest.entries()["folders"].items()} == {
        "/etc/a": "test",
        "/etc/a/b": "test",
    }
    manifest.file("/etc/a/b/file", None, Undos())
    assert (tree / "etc/a/b").is_dir()
    other.link("/etc/a/b/link", None, Undos())
    manifest.file("/etc/theirs/file", None, Undos())
    assert _snapshot(tree) == before


def test_a_folder_that_another_filled_stays_and_so_does_its_entry(tree: Path, manifest: Manifest) -> None:
    manifest.file("/etc/a/b/file", "x", Undos())
    (tree / "etc/a/other").touch()
    manifest.file("/etc/a/b/file", None, Undos())
    assert os.listdir(tree / "etc/a") == ["other"]
    assert list(manifest.entries()["folders"]) == ["/etc/a"]
    # From now on it is theirs.
    manifest.settle()
    assert os.listdir(tree / "etc/a") == ["other"]
    assert not (tree / MANIFEST[1:]).exists()


def test_settling_removes_a_folder_that_a_killed_run_left_and_keeps_one_in_which_something_is_ours(
    tree: Path, host: Host, manifest: Manifest
) -> None:
    manifest.file("/etc/a/b/file", "x", Undos())
    manifest.file("/etc/c/d/file", "x", Undos())
    (tree / "etc/c/d/file").unlink()
    manifest.forget("files", ["/etc/c/d/file"])
    Manifest(host, "other").settle()
    assert not (tree / "etc/c").exists()
    assert list(manifest.entries()["folders"]) == ["/etc/a", "/etc/a/b"]


@pytest.mark.parametrize("step", ["rmdir", "unlink", "fsync", "rename"])
def test_a_removal_that_fails_leaves_file_folder_and_entries(
    tree: Path, manifest: Manifest, faulty: Faulty, step: str
) -> None:
    manifest.file("/etc/a/b/file", "x", Undos())
    before = _snapshot(tree)
    for number in range(1, 50):
        proxy = faulty((step, number), errno.EIO)
        undos = Undos()
        failed = _code_of(lambda: manifest.file("/etc/a/b/file", None, undos))  # noqa: B023 - called at once
        reached = proxy.count(step) >= number
        assert failed == ("EIO" if reached else None)
        proxy.faults.clear()
        assert _failures(undos) == []
        assert _snapshot(tree) == before, f"{step} number {number}"
        if not reached:
            return
    pytest.fail("never came to the end")


@pytest.mark.parametrize("text", ["new", None])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_file_beside_it_stays_a_link(tree: Path, manifest: Manifest, text: str | None, there: bool) -> None:
    if there:
        (tree / "etc/real").write_text("old")
    (tree / "etc/link").symlink_to("real")
    before = _snapshot(tree)
    undos = Undos()
    manifest.file("/etc/link", text, undos)
    assert os.readlink(tree / "etc/link") == "real"
    assert (tree / "etc/real").exists() is (text is not None)
    if there or text is not None:
        assert list(manifest.entries()["files"]) == ["/etc/real"]
    assert _failures(undos) == []
    assert _snapshot(tree) == before


@pytest.mark.parametrize("text", ["new", None])
@pytest.mark.parametrize("target", ["/dev/null", "../outside"])
def test_a_link_out_of_its_folder_is_neither_written_nor_removed(
    tree: Path, manifest: Manifest, text: str | None, target: str
) -> None:
    (tree / "outside").write_text("old")
    (tree / "etc/link").symlink_to(target)
    before = _snapshot(tree)
    undos = Undos()
    with pytest.raises(HostError, match="outside of its folder; refused"):
        manifest.file("/etc/link", text, undos)
    _undo(undos)
    assert _snapshot(tree) == before


# links


@pytest.mark.parametrize("target", ["../other", None])
def test_a_link_is_changed_and_comes_back(tree: Path, manifest: Manifest, target: str | None) -> None:
    (tree / "etc/link").symlink_to("../first")
    before = _snapshot(tree)
    undos = Undos()
    manifest.link("/etc/link", target, undos)
    assert manifest.entries()["links"].get("/etc/link") == {"before": "../first", "by": "test"}
    assert (tree / "etc/link").is_symlink() is (target is not None)
    assert _failures(undos) == []
    assert _snapshot(tree) == before


def test_a_file_in_the_place_of_a_link_is_refused_and_stays(tree: Path, manifest: Manifest) -> None:
    (tree / "etc/link").write_text("precious")
    before = _snapshot(tree)
    undos = Undos()
    with pytest.raises(HostError, match=r"^/etc/link: cannot make the symlink: EEXIST"):
        manifest.link("/etc/link", "target", undos)
    assert _failures(undos) == []
    assert _snapshot(tree) == before


# the kernel


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("always [madvise] never\n", "madvise"),
        ("[always] madvise never", "always"),
        ("0\n", "0"),
        ("4096\t131072\t6291456\n", "4096\t131072\t6291456"),
        ("", ""),
    ],
)
def test_an_attribute_is_what_would_have_to_be_written_to_have_it_again(
    tree: Path, manifest: Manifest, text: str, value: str
) -> None:
    (tree / "sys/attribute").write_text(text)
    assert manifest.attribute(ATTRIBUTE) == value


def test_an_attribute_that_is_not_there_is_refused_and_leaves_no_entry(tree: Path, manifest: Manifest) -> None:
    before = _snapshot(tree)
    undos = Undos()
    with pytest.raises(HostError, match=r"^/sys/none: cannot write '1': ENOENT"):
        manifest.kernel("/sys/none", "1", undos)
    assert _failures(undos) == []
    assert _snapshot(tree) == before


def test_attributes_that_move_together_are_recorded_together_before_they_move(tree: Path, manifest: Manifest) -> None:
    seen: list[object] = []

    def write() -> None:
        seen.append(manifest.entries()["kernel"])
        (tree / "sys/other").write_text("6")
        (tree / "sys/attribute").write_text("7")

    def undo() -> None:
        (tree / "sys/other").write_text("5\n")
        (tree / "sys/attribute").write_text("always [madvise] never\n")

    before = _snapshot(tree)
    undos = Undos()
    manifest.change("kernel", [OTHER, ATTRIBUTE], manifest.attribute, write, undo, undos)
    both = {OTHER: {"before": "5", "by": "test"}, ATTRIBUTE: {"before": "madvise", "by": "test"}}
    assert seen == [both]
    assert manifest.entries()["kernel"] == both
    assert [what for what, _dummy in _undo(undos)] == [f"{OTHER}, {ATTRIBUTE}", MANIFEST]
    assert _snapshot(tree) == before


def test_of_a_group_only_what_moved_stays_recorded(tree: Path, manifest: Manifest) -> None:
    manifest.change(
        "kernel", [OTHER, ATTRIBUTE], manifest.attribute, lambda: _write(tree / "sys/other", "6"), lambda: None, Undos()
    )
    assert list(manifest.entries()["kernel"]) == [OTHER]


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def test_text_of_our_own_is_nothing_that_was_there_before_us(tree: Path, manifest: Manifest) -> None:
    (tree / "etc/x.d").mkdir()
    (tree / FILE[1:]).write_text(f"{HEADER}.\nold\n")
    assert manifest.lost(FILE, f"{HEADER}.\nold\n")
    assert not manifest.lost(FILE, "theirs\n")
    undos = Undos()
    manifest.file(FILE, f"{HEADER}.\nnew\n", undos)
    assert manifest.entries()["files"] == {FILE: {"before": None, "by": "test"}}
    assert not manifest.lost(FILE, f"{HEADER}.\nnew\n")
    assert _failures(undos) == []
    assert (tree / FILE[1:]).read_text() == f"{HEADER}.\nold\n"


@pytest.mark.parametrize("before", ["", "theirs\n", f"{HEADER}\n"])
def test_only_what_begins_as_ours_is_replaced(manifest: Manifest, before: str) -> None:
    change = Step("file", FILE, before, "new")
    if before == "theirs\n":
        with pytest.raises(OwnerError, match=f"{FILE} is there and is not ours"):
            manifest.check([change])
    else:
        manifest.check([change])


def test_a_link_to_a_file_of_our_own_is_nothing_that_was_there_before_us(tree: Path, manifest: Manifest) -> None:
    (tree / "etc/x.d").mkdir()
    (tree / "etc/target").write_text(f"{HEADER}.\n")
    (tree / LINK[1:]).symlink_to("../target")
    manifest.link(LINK, None, Undos())
    assert manifest.entries()["links"] == {}


def test_a_file_of_which_another_owner_is_edited_need_not_begin_as_ours(tree: Path, manifest: Manifest) -> None:
    manifest.file(FILE, "theirs\n", Undos())
    manifest.settle(edits=True)
    assert list(manifest.entries()["files"]) == [FILE]
    manifest.settle()
    assert manifest.entries()["files"] == {}
    assert (tree / FILE[1:]).read_text() == "theirs\n"


def test_a_file_that_stays_without_our_lines_is_named() -> None:
    ours, theirs = f"{HEADER}.\na = 1\nb = 2\n", "b = 2\n"
    (said,) = released(
        {"/a": ours, "/b": ours, "/c": ours, "/d": theirs}, {"/a": theirs, "/b": None, "/c": ours, "/d": theirs}
    )
    assert said.startswith("/a keeps the lines in it that are not this collection's")


def test_what_is_forgotten_comes_back_where_the_run_fails(tree: Path, manifest: Manifest) -> None:
    manifest.kernel(ATTRIBUTE, "never", Undos())
    manifest.kernel(OTHER, "6", Undos())
    before, undos = manifest.entries(), Undos()
    manifest.forget("kernel", [ATTRIBUTE, "/not/there"], undos)
    assert list(manifest.entries()["kernel"]) == [OTHER]
    assert list(undos.run()) == [(MANIFEST, None)]
    assert manifest.entries() == before


def test_an_entry_is_kept_although_the_object_is_as_it_was(tree: Path, manifest: Manifest) -> None:
    manifest.change(
        "kernel",
        [ATTRIBUTE],
        lambda path: "1",
        lambda: None,
        lambda: None,
        Undos(),
        {"after": "2", "boot": "x"},
        keep=True,
    )
    entry = {"before": "1", "by": "test", "after": "2", "boot": "x"}
    assert manifest.entries()["kernel"] == {ATTRIBUTE: entry}


@pytest.mark.parametrize("known", [False, True])
def test_on_the_way_back_what_has_no_entry_gets_none(tree: Path, manifest: Manifest, known: bool) -> None:
    if known:
        manifest.kernel(ATTRIBUTE, "never", Undos())
    before, undos = (manifest.entries(), _snapshot(tree)), Undos()
    manifest.kernel(ATTRIBUTE, "always", undos, record=False)
    assert list(manifest.entries()["kernel"]) == ([ATTRIBUTE] if known else [])
    assert _failures(undos) == []
    assert (manifest.entries(), _snapshot(tree).keys()) == (before[0], before[1].keys())
    assert manifest.attribute(ATTRIBUTE) == ("never" if known else "madvise")


def test_settling_drops_our_entries_of_what_is_as_before_and_no_others(host: Host, manifest: Manifest) -> None:
    manifest.kernel(OTHER, "6", Undos())
    entries: dict[str, dict[str, Any]] = {
        "files": {path: {"before": None, "by": "test"} for path in ("/etc/gone", "/sys/other", "/sys/mine")},
        "links": {path: {"before": None, "by": "test"} for path in (LINK, "/sys/link")},
        "folders": {"/gone": {"before": None, "by": "test"}, "/sys": {"before": None, "by": "other"}},
        "mounts": {"/dev/gone": {"before": None, "by": "test"}, "/dev/there": {"before": None, "by": "test"}},
        "kernel": {
            ATTRIBUTE: {"before": "madvise", "by": "test"},
            OTHER: {"before": "5", "by": "test"},
            "/sys/theirs": {"before": "", "by": "other"},
        },
        "devices": {"/dev/x": {"before": "0600 0 0", "by": "test", "after": "0660 0 0", "boot": "b"}},
        "members": {"kvm/alice": {"before": None, "by": "test"}, "kvm/bob": {"before": None, "by": "other"}},
        "limits": {"b 1 2 nofile": {"before": "1:1", "by": "test"}},
    }
    host.replace(MANIFEST, json.dumps({"schema": 1, **entries}).encode())
    host.replace("/sys/mine", f"{HEADER}.\n".encode())
    host.symlink("other", "/sys/link")
    mounted = {"/dev/there": "hugetlbfs"}
    assert manifest.estranged() == (
        "/sys/other: forgotten, not given back: it was changed by hand and is not ours any more. "
        "Take out what this collection set in it, or remove it",
    )
    manifest.settle(mounted.get)
    assert manifest.entries() == {
        "folders": {"/sys": {"before": None, "by": "other"}},
        "mounts": {"/dev/there": {"before": None, "by": "test"}},
        "files": {"/sys/mine": {"before": None, "by": "test"}},
        "links": {},
        "kernel": {key: entries["kernel"][key] for key in (OTHER, "/sys/theirs")},
        "devices": {},
        "members": {"kvm/bob": {"before": None, "by": "other"}},
        "limits": entries["limits"],
    }
    settled = host.read_bytes(MANIFEST)
    manifest.settle()
    assert host.read_bytes(MANIFEST) == settled
