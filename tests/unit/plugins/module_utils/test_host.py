# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the machine, with every call behind it failing in turn."""

from __future__ import annotations

import errno
import os
import signal
import stat
import struct
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import HostError
from ansible_collections.bulwark.node.plugins.module_utils.host import READ_LIMIT, Completed, Host

Faulty = Callable[..., Any]
InChild = Callable[[Callable[[], object]], int]

OLD, NEW = b"old " * 5000, b"new " * 7000
ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"

# reading


@pytest.mark.parametrize("path", ["/none", "/none/deeper", "/file/below", "/dangling"])
@pytest.mark.parametrize("whole_machine", [True, False])
def test_what_is_not_there_is_none(tree: Path, path: str, whole_machine: bool) -> None:
    (tree / "file").write_text("x")
    (tree / "dangling").symlink_to("nowhere")
    host, path = (Host(), f"{tree}{path}") if whole_machine else (Host(str(tree)), path)
    assert host.read_bytes(path) is None
    assert host.read(path) is None
    assert host.integer(path) is None
    assert host.names(path) == []
    assert host.mode_and_owner(path) is None
    assert host.exists(path) is False
    assert host.same_file(path, path) is None
    assert host.statvfs(path) is None
    assert host.remove_folder(path) is False


@pytest.mark.parametrize("gone", ["ENOENT", "ENOTDIR", "ESRCH", "ENODEV"])
@pytest.mark.parametrize("call", ["open", "read"])
def test_a_process_that_vanishes_while_it_is_read_is_none(tree: Path, faulty: Faulty, call: str, gone: str) -> None:
    (tree / "status").write_text("x")
    faulty((call, 1), getattr(errno, gone))
    assert Host(str(tree)).read("/status") is None


def test_a_reaped_process_is_none(in_child: InChild) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    folder = os.open(f"/proc/{pid}", os.O_RDONLY)
    os.waitpid(pid, 0)
    try:
        assert Host().read(f"/proc/self/fd/{folder}/status") is None
    finally:
        os.close(folder)


@pytest.mark.parametrize("code", ["EACCES", "EPERM", "EIO", "ENOMEM", "ELOOP"])
@pytest.mark.parametrize("call", ["open", "read"])
def test_what_cannot_be_read_is_an_error_with_its_errno(tree: Path, faulty: Faulty, call: str, code: str) -> None:
    (tree / "file").write_text("x")
    faulty((call, 1), getattr(errno, code))
    with pytest.raises(HostError, match=rf"^/file: cannot read: {code} \(") as caught:
        Host(str(tree)).read("/file")
    assert caught.value.code == code


def _as_nobody(action: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return action()

    return run


def test_without_the_right_to_look_nothing_is_said_to_be_absent(tree: Path, in_child: InChild) -> None:
    (tree / "file").write_text("1")
    host = Host(str(tree))
    calls: list[Callable[[], object]] = [
        lambda: host.read("/file"),
        lambda: host.integer("/file"),
        lambda: host.exists("/file"),
        lambda: host.mode_and_owner("/file"),
        lambda: host.names("/"),
        lambda: host.link_target("/file"),
        lambda: host.replace("/file", b"2"),
        lambda: host.write("/file", "2"),
        lambda: host.make_folder("/folder/deeper"),
    ]

    def expect_refusals() -> None:
        for call in calls:
            with pytest.raises(HostError) as caught:
                call()
            assert caught.value.code == "EACCES"

    tree.chmod(0)
    try:
        assert in_child(_as_nobody(expect_refusals)) == 0
    finally:
        tree.chmod(0o755)
    assert (tree / "file").read_text() == "1"


@pytest.mark.parametrize(
    ("text", "number"),
    [("0\n", 0), ("-1", -1), ("  42 \n", 42), ("18446744073709551615\n", (1 << 64) - 1), ("007", 7)],
)
def test_a_number_alone_in_a_file_is_read(tree: Path, text: str, number: int) -> None:
    (tree / "file").write_text(text)
    assert Host(str(tree)).integer("/file") == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "x",
        "1 2",
        "1.5",
        "0x10",
        "1e3",
        "--1",
        "+1",
        "1_000",
        "\u0663",
        "1\0",
        "max",
        "9" * 21,
        "1" * 5000,
        "\xff",
    ],
    ids=lambda text: repr(text)[:12],
)
def test_what_is_no_number_is_named_and_not_guessed(tree: Path, text: str) -> None:
    (tree / "file").write_bytes(text.encode("latin-1" if text == "\xff" else "utf-8"))
    with pytest.raises(HostError, match=r"^/file: holds ") as caught:
        Host(str(tree)).integer("/file")
    assert len(str(caught.value)) < 200
    assert caught.value.code is None


def test_bytes_that_are_no_utf_8_are_shown_as_escapes(tree: Path) -> None:
    (tree / "file").write_bytes(b"gr\xfc\xdfe \xe2\x82\xac\x00")
    host = Host(str(tree))
    assert host.read("/file") == "gr\\xfc\\xdfe \u20ac\0"
    assert host.read_bytes("/file") == b"gr\xfc\xdfe \xe2\x82\xac\x00"


@pytest.mark.parametrize(("size", "fits"), [(READ_LIMIT, True), (READ_LIMIT + 1, False), (10 << 20, False)])
def test_a_file_beyond_the_limit_is_refused_and_never_held(tree: Path, faulty: Faulty, size: int, fits: bool) -> None:
    with (tree / "file").open("wb") as file:
        file.truncate(size)
    proxy = faulty()
    host = Host(str(tree))
    if fits:
        assert len(host.read_bytes("/file") or b"") == size
    else:
        with pytest.raises(HostError, match=f"^/file: holds more than {READ_LIMIT} bytes"):
            host.read("/file")
    asked = sum(arguments[1] for name, arguments in proxy.calls if name == "read")
    assert asked <= READ_LIMIT + (128 << 10)


def test_lines_come_one_by_one_however_many_there_are(tree: Path) -> None:
    many = [f"line {number} {'x' * 60}" for number in range(100_000)]
    (tree / "file").write_text("\n".join(many) + "\n")
    assert list(Host(str(tree)).lines("/file")) == many


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"\n\na", ["", "", "a"]),
        (b"gr\xfc\xdfe\n\0", ["gr\\xfc\\xdfe", "\0"]),
    ],
)
def test_lines_are_all_of_the_text(tree: Path, content: bytes, lines: list[str]) -> None:
    (tree / "file").write_bytes(content)
    assert list(Host(str(tree)).lines("/file")) == lines


def test_a_line_without_an_end_comes_in_pieces(tree: Path) -> None:
    (tree / "file").write_bytes(b"x" * 300_000 + b"\ny\n")
    *pieces, last = Host(str(tree)).lines("/file")
    assert (len("".join(pieces)), last, max(map(len, pieces)) <= 128 << 10) == (300_000, "y", True)


def test_lines_of_no_file_are_none_and_of_a_refused_one_an_error(tree: Path, faulty: Faulty) -> None:
    assert list(Host(str(tree)).lines("/missing")) == []
    (tree / "file").write_text("a\n")
    faulty(("read", 1), errno.EIO)
    with pytest.raises(HostError, match=r"^/file: cannot read: EIO"):
        list(Host(str(tree)).lines("/file"))


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(HostError, match="holds more than 1000 bytes"):
        Host().read_bytes("/dev/zero", 1000)


def test_the_null_device_reads_as_an_empty_file() -> None:
    assert Host().read("/dev/null") == ""


@pytest.mark.parametrize("writer", [False, True])
def test_a_fifo_in_the_place_of_a_file_is_refused_and_does_not_hang(
    tree: Path, in_child: InChild, writer: bool
) -> None:
    os.mkfifo(tree / "file")
    keep = os.open(tree / "file", os.O_RDWR) if writer else None

    def expect_refusals() -> None:
        host = Host(str(tree))
        for call in (lambda: host.read("/file"), lambda: host.replace("/file", b"x")):
            with pytest.raises(HostError, match=r"^/file: is (a FIFO|not a regular file)"):
                call()

    assert in_child(expect_refusals) == 0
    assert stat.S_ISFIFO((tree / "file").stat().st_mode)
    if keep is not None:
        os.close(keep)


@pytest.mark.parametrize("path", ["/", "/folder"])
def test_a_folder_is_no_file(tree: Path, path: str) -> None:
    (tree / "folder").mkdir()
    with pytest.raises(HostError) as caught:
        Host(str(tree)).read(path)
    assert caught.value.code == "EISDIR"


@pytest.mark.parametrize("root", [True, False])
def test_a_nul_in_a_path_is_an_error_of_ours(tree: Path, root: bool) -> None:
    host = Host(str(tree)) if root else Host()
    for call in (host.read, host.names, host.exists, host.link_target, host.remove, host.destination):
        with pytest.raises(HostError, match=r"^/a\\0b: ") as caught:
            call("/a\0b")
        assert caught.value.code == "EINVAL"


def test_names_are_sorted_and_can_be_printed(tree: Path) -> None:
    for name in (b"b", b"a", b"\xff", b"10", b"9"):
        (Path(os.fsdecode(bytes(tree) + b"/" + name))).touch()
    assert Host(str(tree)).names("/") == ["10", "9", "\\xff", "a", "b"]


def test_an_unlistable_folder_is_an_error(tree: Path, faulty: Faulty) -> None:
    faulty(("listdir", 1), errno.EIO)
    with pytest.raises(HostError) as caught:
        Host(str(tree)).names("/")
    assert caught.value.code == "EIO"


def test_mode_and_owner_are_those_of_the_file_behind_a_link(tree: Path) -> None:
    (tree / "file").touch()
    (tree / "file").chmod(0o4640)
    (tree / "link").symlink_to("/file")
    assert Host(str(tree)).mode_and_owner("/link") == (0o4640, os.getuid(), os.getgid())


@pytest.mark.parametrize(
    ("text", "seconds"), [("12.34 56.78\n", 12.34), ("5", 5.0), (None, None), ("", None), ("x 1", None)]
)
def test_uptime_is_a_number_or_an_error(tree: Path, text: str | None, seconds: float | None) -> None:
    (tree / "proc").mkdir()
    if text is not None:
        (tree / "proc/uptime").write_text(text)
    host = Host(str(tree))
    if seconds is not None:
        assert host.uptime() == seconds
    else:
        with pytest.raises(HostError, match=r"^/proc/uptime: holds .* expected seconds"):
            host.uptime()


@pytest.mark.parametrize(("text", "expected"), [("6f3c1a52-9b0e\n", "6f3c1a52-9b0e"), (None, "")])
def test_the_boot_has_an_id_or_an_empty_one(tree: Path, text: str | None, expected: str) -> None:
    if text is not None:
        (tree / "proc/sys/kernel/random").mkdir(parents=True)
        (tree / "proc/sys/kernel/random/boot_id").write_text(text)
    assert Host(str(tree)).boot_id() == expected


# another root

LINKS = {
    "plain": "etc/file",
    "absolute": "/etc/file",
    "through": "/folder/file",
    "folder": "etc",
    "climbing": "../../../../../../etc/file",
    "etc/climbing": "../../../etc/./file",
    "chain": "/absolute",
    "etc/up": "..",
}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/file",
        "//etc///file",
        "/etc/./file",
        "/etc/../etc/file",
        "/../../../etc/file",
        "/plain",
        "/absolute",
        "/through",
        "/folder/file",
        "/climbing",
        "/etc/climbing",
        "/chain",
        "/etc/up/etc/up/plain",
    ],
)
@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/../root", "{}-link"])
def test_paths_are_resolved_inside_the_root(tree: Path, path: str, spelling: str) -> None:
    # Beside the root lies what a path that climbs out would find.
    (tree.parent / "etc").mkdir()
    (tree.parent / "etc/file").write_text("outside")
    (tree.parent / "root-link").symlink_to(tree)
    (tree / "etc").mkdir()
    (tree / "etc/file").write_text("inside")
    for link, target in LINKS.items():
        (tree / link).symlink_to(target)
    host = Host(spelling.format(tree))
    assert host.read(path) == "inside"
    assert host.same_file(path, "/etc/file") is True
    assert host.resolved(path) == "/etc/file"
    assert host.resolved(f"{path}-none").startswith("/")
    host.write(path, "INSIDE")
    assert (tree / "etc/file").read_text() == "INSIDE"
    assert (tree.parent / "etc/file").read_text() == "outside"


def test_a_path_of_the_whole_machine_is_resolved_where_nothing_is_yet(tree: Path) -> None:
    (tree / "link").symlink_to(tree / "folder")
    assert Host().resolved(f"{tree}/link/new") == f"{tree.resolve()}/folder/new"
    assert Host(str(tree)).resolved("/") == Host().resolved("/") == "/"


def test_a_file_system_says_what_it_says_to_python(tree: Path) -> None:
    status, expected = Host(str(tree)).statvfs("/"), os.statvfs(tree)
    assert status is not None
    assert (status.f_blocks, status.f_frsize, status.f_files) == (
        expected.f_blocks,
        expected.f_frsize,
        expected.f_files,
    )


def test_a_file_system_that_does_not_answer_is_an_error(tree: Path, faulty: Faulty) -> None:
    faulty(("statvfs", 1), errno.EIO)
    with pytest.raises(HostError, match="/: cannot statvfs: EIO"):
        Host(str(tree)).statvfs("/")


def test_a_link_is_told_by_what_it_holds_and_its_folder_is_followed(tree: Path) -> None:
    (tree / "real").mkdir()
    (tree / "folder").symlink_to("/real")
    host = Host(str(tree))
    host.symlink("/etc/target", "/folder/link")
    assert host.link_target("/real/link") == "/etc/target"
    assert host.link_target("/folder") == "/real"
    assert host.link_target("/real") is None
    assert host.link_target("/none") is None
    host.remove("/folder/link")
    assert host.names("/real") == []


@pytest.mark.parametrize("whole_machine", [True, False])
def test_a_loop_of_links_is_an_error_and_ends(tree: Path, whole_machine: bool) -> None:
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    host, path = (Host(), f"{tree}/a") if whole_machine else (Host(str(tree)), "/a")
    for call in (host.read, host.exists, host.names, host.mode_and_owner):
        with pytest.raises(HostError) as caught:
            call(path)
        assert caught.value.code == "ELOOP"
    with pytest.raises(HostError):
        host.replace(path, b"x")
    assert sorted(os.listdir(tree)) == ["a", "b"]
    assert (tree / "a").is_symlink()


@pytest.mark.parametrize(("links", "resolved"), [(40, True), (41, False)])
@pytest.mark.parametrize("whole_machine", [True, False])
def test_as_many_links_are_followed_as_the_kernel_follows(
    tree: Path, links: int, resolved: bool, whole_machine: bool
) -> None:
    (tree / "0").write_text("x")
    for number in range(1, links + 1):
        (tree / str(number)).symlink_to(str(number - 1))
    host, path = (Host(), f"{tree}/{links}") if whole_machine else (Host(str(tree)), f"/{links}")
    if resolved:
        assert host.read(path) == "x"
    else:
        with pytest.raises(HostError, match=r"ELOOP|too many symlinks"):
            host.read(path)


# write


def test_write_makes_no_file(tree: Path) -> None:
    with pytest.raises(HostError, match=r"^/none: cannot write '1': ENOENT"):
        Host(str(tree)).write("/none", "1")
    assert os.listdir(tree) == []


@pytest.mark.parametrize("call", ["open", "write"])
@pytest.mark.parametrize("code", ["EINVAL", "EPERM", "EROFS", "EBUSY"])
def test_a_refused_value_is_named_with_the_errno(tree: Path, faulty: Faulty, call: str, code: str) -> None:
    (tree / "attribute").write_text("0")
    faulty((call, 1), getattr(errno, code))
    with pytest.raises(HostError, match=rf"^/attribute: cannot write '7': {code}") as caught:
        Host(str(tree)).write("/attribute", "7")
    assert caught.value.code == code


def test_a_value_is_one_write_and_a_short_one_is_an_error(tree: Path, faulty: Faulty) -> None:
    (tree / "attribute").write_text("0")
    proxy = faulty(("write", 2), lambda descriptor, data: os.write(descriptor, data[:2]))
    host = Host(str(tree))
    host.write("/attribute", "12345")
    assert proxy.count("write") == 1
    with pytest.raises(HostError, match=r"^/attribute: took 2 of the 5 bytes of '12345'"):
        host.write("/attribute", "12345")


# replace

# Every call that changes something, in order: which of its kind, and its name.
STEPS = [
    ("open", 1),  # the folder
    ("open", 2),  # the temporary file
    ("write", 1),
    ("write", 2),
    ("open", 3),  # the old file
    ("fchown", 1),
    ("fchmod", 1),
    ("listxattr", 1),
    ("listxattr", 2),
    ("getxattr", 1),
    ("setxattr", 1),
    ("fsync", 1),
    ("rename", 1),
    ("fsync", 2),  # the folder
]
UNTIL_THE_RENAME = STEPS[:-1]


def _short_write(descriptor: int, data: memoryview) -> int:
    return os.write(descriptor, data[: len(NEW) - 3])


def _old_file(folder: Path) -> Path:
    path = folder / "file"
    path.write_bytes(OLD)
    os.setxattr(path, "user.note", b"kept")
    return path


def _status(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns


def _in_two_writes(proxy: Any) -> Any:
    proxy.faults.setdefault(("write", 1), _short_write)
    return proxy


def test_a_replacement_goes_by_the_steps_at_which_it_is_made_to_fail(tree: Path, faulty: Faulty) -> None:
    path = _old_file(tree)
    proxy = _in_two_writes(faulty())
    Host(str(tree)).replace("/file", NEW)
    assert path.read_bytes() == NEW
    assert os.getxattr(path, "user.note") == b"kept"
    names = {name for name, _dummy in STEPS}
    assert [name for name, _dummy in proxy.calls if name in names] == [name for name, _dummy in STEPS]
    changing = {
        "link",
        "unlink",
        "truncate",
        "ftruncate",
        "removexattr",
        "chmod",
        "chown",
        "replace",
        "mkdir",
        "symlink",
    }
    assert not changing & {name for name, _dummy in proxy.calls}


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EPERM", "EIO"])
@pytest.mark.parametrize("step", UNTIL_THE_RENAME, ids=str)
def test_a_failure_at_any_step_leaves_the_old_file_alone(
    tree: Path, faulty: Faulty, step: tuple[str, int], code: str
) -> None:
    path = _old_file(tree)
    before = _status(path)
    _in_two_writes(faulty(step, getattr(errno, code)))
    with pytest.raises(HostError, match=rf"^/file: cannot (write|open the folder): {code} ") as caught:
        Host(str(tree)).replace("/file", NEW)
    assert caught.value.code == code
    assert path.read_bytes() == OLD
    assert _status(path) == before
    assert os.listdir(tree) == ["file"]


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EPERM"])
@pytest.mark.parametrize("step", [("open", 1), ("open", 2), ("write", 1), ("fchmod", 1), ("fsync", 1), ("rename", 1)])
def test_a_failure_at_any_step_makes_no_new_file(tree: Path, faulty: Faulty, step: tuple[str, int], code: str) -> None:
    faulty(step, getattr(errno, code))
    with pytest.raises(HostError) as caught:
        Host(str(tree)).replace("/file", NEW)
    assert caught.value.code == code
    assert os.listdir(tree) == []


def test_where_the_last_fsync_fails_the_new_file_is_whole_and_the_error_is_raised(tree: Path, faulty: Faulty) -> None:
    path = _old_file(tree)
    faulty(("fsync", 2), errno.EIO)
    with pytest.raises(HostError, match="EIO"):
        Host(str(tree)).replace("/file", NEW)
    assert path.read_bytes() == NEW
    assert os.listdir(tree) == ["file"]


def test_no_descriptor_is_left_open(tree: Path, faulty: Faulty) -> None:
    before = os.listdir("/proc/self/fd")
    for step in STEPS:
        _old_file(tree)
        _in_two_writes(faulty(step, errno.EIO))
        with pytest.raises(HostError):
            Host(str(tree)).replace("/file", NEW)
    assert os.listdir("/proc/self/fd") == before


def _die(*args: Any, **kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in_the_middle(descriptor: int, data: memoryview) -> None:
    os.write(descriptor, data[:100])
    _die()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_killed_at_any_step_the_file_is_old_or_new_and_never_half(
    tree: Path, faulty: Faulty, in_child: InChild, step: tuple[str, int], after: bool
) -> None:
    path = _old_file(tree)
    path.chmod(0o640)
    real = _short_write if step == ("write", 1) else getattr(os, step[0])

    def fault(*args: Any, **kwargs: Any) -> None:
        if after:
            real(*args, **kwargs)
        _die()

    _in_two_writes(faulty(step, fault))
    assert in_child(lambda: Host(str(tree)).replace("/file", NEW)) == -signal.SIGKILL
    renamed = STEPS.index(step) + after > STEPS.index(("rename", 1))
    assert path.read_bytes() == (NEW if renamed else OLD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.getxattr(path, "user.note") == b"kept"


def test_killed_in_the_middle_of_a_write_the_next_run_after_an_hour_sweeps(
    tree: Path, faulty: Faulty, in_child: InChild
) -> None:
    path = _old_file(tree)
    proxy = faulty(("write", 1), _die_in_the_middle)
    host = Host(str(tree))
    assert in_child(lambda: host.replace("/file", NEW)) == -signal.SIGKILL
    assert path.read_bytes() == OLD
    (left,) = [name for name in os.listdir(tree) if name != "file"]
    proxy.faults.clear()
    host.replace("/file", NEW)
    assert sorted(os.listdir(tree)) == sorted(["file", left])
    hour_ago = time.time() - 3700
    os.utime(tree / left, (hour_ago, hour_ago))
    host.replace("/file", OLD)
    assert os.listdir(tree) == ["file"]


@pytest.mark.parametrize(
    "name",
    [
        ".file.bulwark-notes",
        ".file.bulwark-0123456789abcdef0",
        ".file.bulwark-0123456789ABCDEF",
        ".other.bulwark-0123456789abcdef",
        "file.bulwark-0123456789abcdef",
    ],
)
def test_only_our_own_stale_files_are_swept(tree: Path, name: str) -> None:
    for each in (name, ".file.bulwark-0123456789abcdef"):
        (tree / each).write_text("x")
        os.utime(tree / each, (0, 0))
    Host(str(tree)).replace("/file", NEW)
    assert sorted(os.listdir(tree)) == sorted([name, "file"])


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o4755, 0o2640, 0o000, 0o1777])
def test_mode_and_owner_are_kept(tree: Path, faulty: Faulty, mode: int) -> None:
    path = _old_file(tree)
    if os.getuid() == 0:
        os.chown(path, 1234, 2345)
    path.chmod(mode)
    before = path.stat()
    Host(str(tree)).replace("/file", NEW, 0o777)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_a_new_file_has_the_mode_that_is_asked_for_whatever_the_umask(tree: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        Host(str(tree)).replace("/file", NEW, 0o644)
        Host(str(tree)).make_folder("/a/b", 0o750)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tree / "file").stat().st_mode) == 0o644
    assert stat.S_IMODE((tree / "a").stat().st_mode) == 0o755
    assert stat.S_IMODE((tree / "a/b").stat().st_mode) == 0o750


def test_a_new_file_has_the_owner_that_is_asked_for(tree: Path, faulty: Faulty) -> None:
    proxy = faulty(("fchown", 1), lambda *args: None)
    Host(str(tree)).replace("/file", NEW, 0o4755, (1234, 2345))
    assert [arguments[1:] for name, arguments in proxy.calls if name == "fchown"] == [(1234, 2345)]
    assert stat.S_IMODE((tree / "file").stat().st_mode) == 0o4755


def test_the_temporary_file_is_closed_to_others_while_it_is_written(tree: Path, faulty: Faulty) -> None:
    modes: list[int] = []

    def look(descriptor: int, data: memoryview) -> int:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return os.write(descriptor, data)

    faulty(("write", 1), look)
    (_old_file(tree)).chmod(0o644)
    Host(str(tree)).replace("/file", NEW)
    assert modes == [0o600]


def _acl(*named: tuple[int, int], group: int = 4, mask: int = 4, other: int = 0) -> bytes:
    """posix_acl_xattr.h: a version, then (tag, permissions, id) for the owner, users, the group, the mask, all others."""
    none = 0xFFFFFFFF
    rows = [
        (1, 6, none),
        *((2, bits, user) for user, bits in named),
        (4, group, none),
        (0x10, mask, none),
        (0x20, other, none),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def _set_acl(path: Path, name: str, acl: bytes) -> None:
    try:
        os.setxattr(path, name, acl)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            pytest.skip(f"{path} lies on a filesystem without ACLs; set --basetemp to one on ext4 or xfs")
        raise


def test_acl_and_extended_attributes_are_kept(tree: Path) -> None:
    path = _old_file(tree)
    _set_acl(path, ACL, _acl((1234, 6), mask=6))
    os.setxattr(path, "user.other", b"\0\xff")
    before = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    mode = path.stat().st_mode
    Host(str(tree)).replace("/file", NEW)
    assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == before
    assert {ACL, "user.note", "user.other"} <= before.keys()
    assert path.stat().st_mode == mode


def test_an_acl_that_the_old_file_did_not_have_is_not_inherited_by_the_new_one(tree: Path) -> None:
    path = _old_file(tree)
    path.chmod(0o640)
    _set_acl(tree, DEFAULT_ACL, _acl((1234, 7), mask=7))
    host = Host(str(tree))
    host.replace("/file", NEW)
    assert ACL not in os.listxattr(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    host.replace("/new", NEW, 0o640)
    assert ACL in os.listxattr(tree / "new")


def test_the_label_is_copied_after_the_content_and_what_the_kernel_computes_is_not(tree: Path, faulty: Faulty) -> None:
    _old_file(tree)
    proxy = faulty(
        ("listxattr", 1), lambda fd: ["security.selinux", "security.ima", "security.evm", "security.capability"]
    )
    proxy.faults[("getxattr", 0)] = lambda fd, name: name.encode()
    proxy.faults[("setxattr", 0)] = lambda fd, name, value: None
    Host(str(tree)).replace("/file", NEW)
    copied = [arguments[1:] for name, arguments in proxy.calls if name == "setxattr"]
    assert copied == [("security.selinux", b"security.selinux"), ("security.capability", b"security.capability")]
    # A write takes security.capability and the set-id bits away.
    names = [name for name, _dummy in proxy.calls]
    assert max(i for i, name in enumerate(names) if name == "write") < min(
        names.index(name) for name in ("fchown", "fchmod", "setxattr")
    )
    assert names.index("fchown") < names.index("fchmod") < names.index("setxattr") < names.index("fsync")


@pytest.mark.parametrize("code", ["ENOTSUP", "ENOSYS"])
def test_a_filesystem_without_extended_attributes_is_no_error(tree: Path, faulty: Faulty, code: str) -> None:
    path = tree / "file"
    path.write_bytes(OLD)
    path.chmod(0o600)
    faulty(("listxattr", 1), getattr(errno, code))
    Host(str(tree)).replace("/file", NEW)
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "target", ["/elsewhere/file", "../elsewhere/file", "../../elsewhere/file", "/hop", "../elsewhere/none"]
)
@pytest.mark.parametrize("whole_machine", [True, False])
def test_a_link_out_of_its_folder_is_refused(tree: Path, target: str, whole_machine: bool) -> None:
    (tree / "etc").mkdir()
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere/file").write_bytes(OLD)
    (tree / "hop").symlink_to("elsewhere/file")
    if whole_machine and target.startswith("/"):
        target = f"{tree}{target}"
    (tree / "etc/link").symlink_to(target)
    host, path = (Host(), f"{tree}/etc/link") if whole_machine else (Host(str(tree)), "/etc/link")
    for call in (lambda: host.replace(path, NEW), lambda: host.destination(path)):
        with pytest.raises(HostError, match=r"is a symlink to .*, outside of its folder; refused"):
            call()
    assert (tree / "elsewhere/file").read_bytes() == OLD
    assert os.listdir(tree / "etc") == ["link"]
    assert os.listdir(tree / "elsewhere") == ["file"]


def test_the_refusal_names_the_path_as_the_machine_sees_it(tree: Path) -> None:
    (tree.parent / "alias").symlink_to(tree)
    (tree / "etc").mkdir()
    (tree / "etc/link").symlink_to("/elsewhere/file")
    with pytest.raises(HostError, match=r"^/etc/link: is a symlink to /elsewhere/file, outside"):
        Host(f"{tree.parent}/alias").replace("/etc/link", NEW)


@pytest.mark.parametrize("target", ["file", "./file", "../etc/file", "hop", "/etc/file"])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_within_its_folder_is_followed_and_stays(tree: Path, target: str, there: bool) -> None:
    (tree / "etc").mkdir()
    (tree / "alias").symlink_to("etc")
    (tree / "etc/hop").symlink_to("file")
    (tree / "etc/link").symlink_to(target)
    if there:
        (tree / "etc/file").write_bytes(OLD)
    host = Host(str(tree))
    assert host.destination("/etc/link") == "/etc/file"
    host.replace("/etc/link", NEW)
    assert host.link_target("/etc/link") == target
    assert (tree / "etc/file").read_bytes() == NEW
    host.replace("/alias/link", OLD)
    assert (tree / "etc/file").read_bytes() == OLD


def test_what_is_no_regular_file_is_not_replaced(tree: Path) -> None:
    (tree / "folder").mkdir()
    with pytest.raises(HostError, match=r"^/folder: is not a regular file; refused"):
        Host(str(tree)).replace("/folder", NEW)
    with pytest.raises(HostError, match=r"^/none/file: cannot open the folder: ENOENT"):
        Host(str(tree)).replace("/none/file", NEW)
    assert os.listdir(tree) == ["folder"]


# links, folders, removal


def test_a_link_is_made_only_where_nothing_is(tree: Path) -> None:
    (tree / "file").write_bytes(OLD)
    with pytest.raises(HostError, match=r"^/file: cannot make the symlink: EEXIST"):
        Host(str(tree)).symlink("x", "/file")
    assert (tree / "file").read_bytes() == OLD


def test_removing_takes_the_link_and_not_what_it_points_to(tree: Path) -> None:
    (tree / "file").write_bytes(OLD)
    (tree / "link").symlink_to("file")
    host = Host(str(tree))
    host.remove("/link")
    assert os.listdir(tree) == ["file"]
    host.remove("/file")
    host.remove("/file")
    assert os.listdir(tree) == []


@pytest.mark.parametrize("code", ["EROFS", "EPERM", "EIO"])
@pytest.mark.parametrize(("call", "method"), [("unlink", "remove"), ("rmdir", "remove_folder"), ("symlink", "symlink")])
def test_a_refused_change_of_a_folder_carries_the_errno(
    tree: Path, faulty: Faulty, call: str, method: str, code: str
) -> None:
    (tree / "there").mkdir()
    faulty((call, 1), getattr(errno, code))
    arguments = ("x", "/new") if method == "symlink" else ("/there",)
    with pytest.raises(HostError) as caught:
        getattr(Host(str(tree)), method)(*arguments)
    assert caught.value.code == code
    assert os.listdir(tree) == ["there"]


def test_folders_are_made_from_the_top_and_what_was_made_is_told(tree: Path) -> None:
    (tree / "a").mkdir(0o700)
    host = Host(str(tree))
    assert host.make_folder("/a/b/c") == ["/a/b", "/a/b/c"]
    assert host.make_folder("/a/b/c") == []
    assert host.make_folder("/") == []
    assert stat.S_IMODE((tree / "a").stat().st_mode) == 0o700


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EPERM"])
@pytest.mark.parametrize("step", [("mkdir", 2), ("mkdir", 3), ("chmod", 1), ("chmod", 3)], ids=str)
def test_folders_made_in_vain_are_removed(tree: Path, faulty: Faulty, step: tuple[str, int], code: str) -> None:
    faulty(step, getattr(errno, code))
    with pytest.raises(HostError) as caught:
        Host(str(tree)).make_folder("/a/b/c")
    assert caught.value.code == code
    assert os.listdir(tree) == []


@pytest.mark.parametrize("path", ["/file", "/file/below", "/dangling"])
def test_where_a_file_stands_no_folder_is_said_to_be(tree: Path, path: str) -> None:
    (tree / "file").touch()
    (tree / "dangling").symlink_to("none")
    with pytest.raises(HostError, match=r"cannot make the folder: (EEXIST|ENOTDIR)"):
        Host(str(tree)).make_folder(path)
    assert sorted(os.listdir(tree)) == ["dangling", "file"]


def test_a_folder_goes_only_when_it_is_empty(tree: Path) -> None:
    (tree / "a/b").mkdir(parents=True)
    (tree / "link").symlink_to("a/b")
    host = Host(str(tree))
    assert host.remove_folder("/a") is False
    assert host.remove_folder("/link") is False
    assert host.remove_folder("/a/b") is True
    assert host.remove_folder("/a") is True
    assert host.remove_folder("/a") is False


# the lock


def test_a_lock_that_another_process_holds_is_refused_by_its_number_and_freed_when_it_dies(tree: Path) -> None:
    ready, done = os.pipe()
    holder = os.fork()
    if holder == 0:
        with Host(str(tree)).locked("/lock", 1):
            os.write(done, b"x")
            signal.pause()
    os.read(ready, 1)
    host = Host(str(tree))
    with (
        pytest.raises(HostError, match=rf"^/lock: another run \(process {holder}\) is changing this node"),
        host.locked("/lock", 0.3),
    ):
        pytest.fail("the lock is held")
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    with host.locked("/lock", 0):
        assert (tree / "lock").read_text() == f"{os.getpid()}\n"
    assert stat.S_IMODE((tree / "lock").stat().st_mode) == 0o600
    os.close(ready)
    os.close(done)


def test_a_lock_waits_for_one_that_is_given_back(tree: Path) -> None:
    ready, done = os.pipe()
    holder = os.fork()
    if holder == 0:
        with Host(str(tree)).locked("/lock", 1):
            os.write(done, b"x")
            time.sleep(0.2)
        os._exit(0)
    os.read(ready, 1)
    with Host(str(tree)).locked("/lock", 10):
        pass
    os.waitpid(holder, 0)
    os.close(ready)
    os.close(done)


def test_a_lock_is_given_back_when_its_body_fails(tree: Path) -> None:
    host = Host(str(tree))
    with pytest.raises(ZeroDivisionError), host.locked("/lock", 0):
        raise ZeroDivisionError
    with host.locked("/lock", 0):
        pass


def test_a_lock_file_that_is_a_link_is_refused(tree: Path) -> None:
    (tree / "victim").write_bytes(OLD)
    (tree / "lock").symlink_to(tree / "victim")
    with pytest.raises(HostError, match="cannot open: ELOOP"), Host().locked(f"{tree}/lock", 0):
        pytest.fail("the link was followed")
    assert (tree / "victim").read_bytes() == OLD


@pytest.mark.parametrize("call", ["ftruncate", "pwrite"])
def test_a_full_disk_does_not_cost_the_lock(tree: Path, faulty: Faulty, call: str) -> None:
    faulty((call, 1), errno.ENOSPC)
    with Host(str(tree)).locked("/lock", 0):
        pass


# commands


def test_a_command_that_succeeds_gives_its_output() -> None:
    seen: list[list[str]] = []

    def runner(command: list[str]) -> Completed:
        seen.append(command)
        return Completed(0, "out", "err")

    assert Host(run=runner).run(["mount", "a b"]) == Completed(0, "out", "err")
    assert seen == [["mount", "a b"]]


@pytest.mark.parametrize(
    ("completed", "said"),
    [
        (Completed(1, "out", "no such device\n"), "returned 1 and said: no such device"),
        (Completed(32, "out\n", ""), "returned 32 and said: out"),
        (Completed(-9, "", " "), "returned -9 and said: nothing"),
        (Completed(127, "", "[Errno 2] No such file"), "returned 127 and said: [Errno 2] No such file"),
    ],
)
def test_a_command_that_fails_is_named_with_what_it_said(completed: Completed, said: str) -> None:
    with pytest.raises(HostError) as caught:
        Host(run=lambda command: completed).run(["umount", "/x"])
    assert str(caught.value) == f"umount /x: {said}"


def test_what_a_command_says_is_cut() -> None:
    with pytest.raises(HostError) as caught:
        Host(run=lambda command: Completed(1, "", "x" * 1_000_000)).run(["loud"])
    assert len(str(caught.value)) < 600


def test_a_captured_tree_runs_no_command(tree: Path) -> None:
    with pytest.raises(HostError, match=r"^umount: no command can be run in this tree"):
        Host(str(tree)).run(["umount", "/x"])


# what outlives us, and who is first


def test_of_two_who_rename_a_file_one_succeeds(tree: Path) -> None:
    host = Host(str(tree))
    (tree / "a").write_text("x")
    (tree / "link").symlink_to("/b")
    assert [host.rename("/a", "/b"), host.rename("/a", "/c")] == [True, False]
    assert (host.read("/b"), host.exists("/c")) == ("x", False)
    # The link itself, and not what it leads to.
    assert host.rename("/link", "/other")
    assert (host.link_target("/other"), host.read("/b")) == ("/b", "x")
    assert not host.rename("/none/a", "/none/b")


def test_a_rename_that_is_refused_is_an_error(tree: Path, faulty: Faulty) -> None:
    (tree / "a").write_text("x")
    faulty(("rename", 1), errno.EROFS)
    with pytest.raises(HostError, match="/a: cannot rename: EROFS"):
        Host(str(tree)).rename("/a", "/b")


def test_a_detached_command_outlives_us_and_keeps_nothing_of_ours_open(tree: Path, in_child: InChild) -> None:
    done, kept = tree / "done", tree / "kept"
    script = f"cd; ls /proc/self/fd >{kept}; cat /proc/$$/stat >{done}.new; mv {done}.new {done}"

    def start() -> None:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 77)
        os.set_inheritable(77, True)
        Host().detach(["/bin/sh", "-c", f"while kill -0 {os.getpid()} 2>/dev/null; do :; done; {script}"])

    assert in_child(start) == 0
    end = time.monotonic() + 10
    while not done.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert "77" not in kept.read_text().split()
    fields = done.read_text().split()
    # Its own session, without a terminal to be hung up by.
    assert fields[5] == fields[0]
    assert fields[6] == "0"


def test_a_command_that_cannot_be_detached_is_an_error() -> None:
    with pytest.raises(HostError, match="/none/at/all x: cannot be started: No such file or directory"):
        Host().detach(["/none/at/all", "x"])


@pytest.mark.parametrize(("later", "days"), [(0, 0), (86399, 0), (86401, 1), (-500000, 0)])
def test_days_unchanged_are_whole_and_never_negative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: int, days: int
) -> None:
    (tmp_path / "file").write_text("")
    host = Host(root=str(tmp_path))
    changed = host.changed_at("/file")
    assert changed is not None
    monkeypatch.setattr(time, "time", lambda: changed + later)
    assert host.days_unchanged("/file") == days
    assert host.days_unchanged("/none") is None
