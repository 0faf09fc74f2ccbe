# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-in files: who has the last word at boot, and what is read and written.

What tmpfiles.d does with a line was tried on systemd-tmpfiles 252 (Debian 12).
"""

from __future__ import annotations

import os
import random
import re
import string
from pathlib import Path

import pytest

from ansible_collections.bulwark.node.plugins.module_utils import dropin as dropin_module
from ansible_collections.bulwark.node.plugins.module_utils.converge import Change
from ansible_collections.bulwark.node.plugins.module_utils.dropin import SYSCTL, TMPFILES, Dropin, Owner
from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, HostError, OwnerError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host

ATTRIBUTE = "/sys/kernel/mm/thp/enabled"
KEY = "vm.nr_hugepages"
W = f"w {ATTRIBUTE} - - - -"


def _write(tree: Path, files: dict[str, str]) -> Host:
    for path, text in files.items():
        (tree / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tree / path[1:]).write_text(text)
    return Host(str(tree))


# lines


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("w /a/b - - - - never", ("/a/b", "never")),
        ("w! /a/b - - - - never", ("/a/b", "never")),
        ("w+ /a/b - - - - never", ("/a/b", "never")),
        ("w!-+ /a/b - - - - never", ("/a/b", "never")),
        ("w\t/a/b\t0644 root root 10d   never ", ("/a/b", "never")),
        ("   w /a/b - - - - never", ("/a/b", "never")),
        ('w "/a/b" "-" - - - never', ("/a/b", "never")),
        ("w '/a/b c' - - - - never", ("/a/b c", "never")),
        ("w //a///b - - - - never", ("/a/b", "never")),
        # The argument is the rest of the line as it stands.
        ("w /a/b - - - - a   b", ("/a/b", "a   b")),
        ('w /a/b - - - - "quo ted"', ("/a/b", '"quo ted"')),
        ("w /a/b - - - - it's", ("/a/b", "it's")),
        ("w /a/b - - - - # c", ("/a/b", "# c")),
        (r"w /a/b - - - - q%%x\\y", ("/a/b", r"q%x\y")),
        ("w /a/b - - - - -1", ("/a/b", "-1")),
        ("w /a/* - - - - never", ("/a/*", "never")),
        # No argument, no setting.
        ("w /a/b - - - - -", None),
        ("w /a/b - - - -", None),
        ("w /a/b", None),
        ("w", None),
        ("", None),
        ("# w /a/b - - - - never", None),
        ("#w /a/b - - - - never", None),
        # Lines that systemd leaves out.
        ("w '/a/b - - - - never", None),
        ("weird /a/b - - - - never", None),
        ("wf /a/b - - - - never", None),
        # Other types write to no file that is there.
        ("f /a/b 0644 - - - never", None),
        ("d /a/b 0755 - - -", None),
        ("L /a/b - - - - /c", None),
    ],
)
def test_tmpfiles_lines_are_read_as_systemd_reads_them(line: str, setting: tuple[str, str] | None) -> None:
    assert TMPFILES.settings(line) == ([] if setting is None else [setting])


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("vm.nr_hugepages=5", ("vm.nr_hugepages", "5")),
        ("  vm.nr_hugepages \t=  5  ", ("vm.nr_hugepages", "5")),
        ("-vm.nr_hugepages = 5", ("vm.nr_hugepages", "5")),
        ("- vm.nr_hugepages = 5", ("vm.nr_hugepages", "5")),
        ("vm/nr_hugepages = 5", ("vm.nr_hugepages", "5")),
        ("net/ipv4/conf/eth0.100/rp_filter = 2", ("net.ipv4.conf.eth0/100.rp_filter", "2")),
        ("net.ipv4.conf.eth0/100.rp_filter = 2", ("net.ipv4.conf.eth0/100.rp_filter", "2")),
        ("kernel.core_pattern = |/bin/x %p a=b", ("kernel.core_pattern", "|/bin/x %p a=b")),
        ("kernel.x = 1 # no comment", ("kernel.x", "1 # no comment")),
        ("kernel.x =", ("kernel.x", "")),
        ("net.ipv4.conf.*.rp_filter = 2", ("net.ipv4.conf.*.rp_filter", "2")),
        ("net.ipv4.tcp_rmem = 4096\t131072 6291456", ("net.ipv4.tcp_rmem", "4096\t131072 6291456")),
        ("", None),
        ("# vm.nr_hugepages = 5", None),
        ("; vm.nr_hugepages = 5", None),
        ("-# vm.nr_hugepages = 5", None),
        ("= 5", None),
        ("-= 5", None),
        # Takes a key out of what globs match, and sets nothing.
        ("-net.ipv4.conf.hub0.rp_filter", None),
        ("vm.nr_hugepages", None),
    ],
)
def test_sysctl_lines_are_read_as_systemd_reads_them(line: str, setting: tuple[str, str] | None) -> None:
    assert SYSCTL.settings(line) == ([] if setting is None else [setting])


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n\n"])
def test_lines_end_where_the_kernel_tools_end_them(ending: str) -> None:
    text = ending.join(["# x\x0bvm.a = 1\x85vm.b = 2\u2028vm.c = 3\x1cvm.d = 4", "vm.e = 5", "vm.f = 6"])
    assert SYSCTL.settings(text) == [("vm.e", "5"), ("vm.f", "6")]


@pytest.mark.parametrize(("dropin", "value"), [(TMPFILES, "1"), (SYSCTL, "2")])
def test_of_two_lines_in_our_file_the_one_counts_that_wins(dropin: Dropin, value: str) -> None:
    lines = [dropin.render("/a/b" if dropin is TMPFILES else "a.b", number) for number in "12"]
    assert list(dropin.values("\n".join(lines)).values()) == [value]


# writing


def test_our_file_is_sorted_and_says_whose_it_is() -> None:
    text = TMPFILES.text({"/b": "2", "/a": "1"}) or ""
    header, *lines = text.splitlines()
    assert header.startswith("# Written by the bulwark.node collection")
    assert "tmpfiles.d(5)" in header
    assert lines == ["w! /a - - - - 1", "w! /b - - - - 2"]
    assert text.endswith("2\n")
    assert (SYSCTL.text({"vm.b": "2", "vm.a": "1"}) or "").splitlines()[1:] == ["vm.a = 1", "vm.b = 2"]
    assert TMPFILES.text({}) is None
    assert SYSCTL.text({}) is None


@pytest.mark.parametrize("dropin", [TMPFILES, SYSCTL], ids=["tmpfiles", "sysctl"])
def test_what_is_written_is_read_back(dropin: Dropin) -> None:
    choose = random.Random(2)
    separator = dropin.separator
    names = string.ascii_letters + string.digits + "_-:,%+@" + ("." if separator == "/" else "/")
    values = string.ascii_letters + string.digits + string.punctuation + " \t"
    for _dummy in range(500):
        settings = {}
        for _dummy in range(choose.randrange(1, 6)):
            words = [
                "k" + "".join(choose.choices(names, k=choose.randrange(8))) for _dummy in range(choose.randrange(2, 5))
            ]
            if separator == ".":
                # With a slash as the first separator it would be the other spelling.
                words[0] = "net"
            value = "v" + "".join(choose.choices(values, k=choose.randrange(12))) + "v"
            settings[("/" if separator == "/" else "") + separator.join(words)] = value
        text = dropin.text(settings) or ""
        assert dropin.values(text) == settings
        assert [key for key, _dummy in dropin.settings(text)] == sorted(settings)


@pytest.mark.parametrize(
    ("dropin", "key", "value"),
    [
        (TMPFILES, "/a", "1\nw /b - - - - 2"),
        (TMPFILES, "/a\nb", "1"),
        (TMPFILES, "/a b", "1"),
        (TMPFILES, "/a'b", "1"),
        (TMPFILES, "/a", ""),
        (TMPFILES, "/a", "-"),
        (TMPFILES, "/a", " 1"),
        (SYSCTL, "vm.a", "1\nvm.b = 2"),
        (SYSCTL, "vm.a\nvm.b", "1"),
        (SYSCTL, "vm.a=b", "1"),
        (SYSCTL, "#vm.a", "1"),
        (SYSCTL, "-vm.a", "1"),
        (SYSCTL, "vm/a", "1"),
        (SYSCTL, "vm.a", "1 "),
    ],
)
def test_what_would_be_read_back_as_something_else_is_not_written(dropin: Dropin, key: str, value: str) -> None:
    with pytest.raises(BulwarkError, match=r"\(5\) has no way to write "):
        dropin.text({key: value})


# who wins

FIFTY = "/etc/tmpfiles.d/50-ours.conf"
NINETY = "/etc/sysctl.d/90-ours.conf"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # The first name has the word, in whichever folder.
        ({"/etc/tmpfiles.d/10-a.conf": f"{W} a"}, [("10-a", "a", True)]),
        ({"/usr/lib/tmpfiles.d/10-a.conf": f"{W} a"}, [("10-a", "a", True)]),
        ({"/etc/tmpfiles.d/60-a.conf": f"{W} a"}, [("60-a", "a", False)]),
        (
            {"/run/tmpfiles.d/10-a.conf": f"{W} a", "/etc/tmpfiles.d/20-b.conf": f"{W} b"},
            [("10-a", "a", True), ("20-b", "b", False)],
        ),
        ({"/etc/tmpfiles.d/10-a.conf": f"{W} a\n{W} b"}, [("10-a", "a", True), ("10-a", "b", False)]),
        # Another pattern is another line: applied as well, in its turn.
        ({"/etc/tmpfiles.d/10-a.conf": "w /sys/kernel/mm/*/enabled - - - - a"}, [("10-a", "a", False)]),
        ({"/etc/tmpfiles.d/60-a.conf": "w /sys/kernel/mm/*/ena?led - - - - a"}, [("60-a", "a", True)]),
        ({"/etc/tmpfiles.d/60-a.conf": "w /sys/kernel/mm/thp/[de]* - - - - a"}, [("60-a", "a", True)]),
        # A wildcard stays within one name.
        (
            {
                "/etc/tmpfiles.d/60-a.conf": "w /sys/kernel/* - - - - a\nw /*/enabled - - - - a\nw /sys/kernel/mm/thp/ena - - - - a"
            },
            [],
        ),
        ({"/etc/tmpfiles.d/60-a.conf": "w /sys/kernel/mm/thp/[z-a]* - - - - a"}, []),
        # Hidden, not a drop-in, ours.
        (
            {
                "/etc/tmpfiles.d/10-a.conf": "",
                "/run/tmpfiles.d/10-a.conf": f"{W} a",
                "/usr/lib/tmpfiles.d/10-a.conf": f"{W} b",
            },
            [],
        ),
        ({"/run/tmpfiles.d/10-a.conf": f"{W} a", "/usr/lib/tmpfiles.d/10-a.conf": f"{W} b"}, [("10-a", "a", True)]),
        (
            {
                "/etc/tmpfiles.d/10-a": f"{W} a",
                "/etc/tmpfiles.d/README": f"{W} a",
                "/etc/tmpfiles.d/10-a.conf.bak": f"{W} a",
            },
            [],
        ),
        ({FIFTY: f"{W} ours", "/usr/lib/tmpfiles.d/50-ours.conf": f"{W} a"}, []),
        ({"/usr/lib/tmpfiles.d/50-ours.conf": f"{W} a"}, []),
        ({"/lib/tmpfiles.d/10-a.conf": f"{W} a", "/tmp/10-a.conf": f"{W} a"}, []),
    ],
)
def test_tmpfiles_owners_and_who_of_them_wins(
    tree: Path, files: dict[str, str], expected: list[tuple[str, str, bool]]
) -> None:
    found = TMPFILES.owners(_write(tree, files), FIFTY, [ATTRIBUTE])
    assert [(o.path.rpartition("/")[2].removesuffix(".conf"), o.value, o.wins) for o in found] == expected
    assert {owner.key for owner in found} <= {ATTRIBUTE}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # The last name has the word.
        ({"/etc/sysctl.d/10-a.conf": f"{KEY}=1"}, [("10-a.conf", "1", False)]),
        ({"/usr/lib/sysctl.d/99-a.conf": f"{KEY}=1"}, [("99-a.conf", "1", True)]),
        ({"/lib/sysctl.d/99-a.conf": f"{KEY}=1"}, [("99-a.conf", "1", True)]),
        (
            {"/etc/sysctl.d/95-a.conf": f"{KEY}=1", "/run/sysctl.d/96-b.conf": "vm/nr_hugepages=2"},
            [("95-a.conf", "1", False), ("96-b.conf", "2", True)],
        ),
        ({"/etc/sysctl.d/95-a.conf": f"{KEY}=1\n{KEY}=2"}, [("95-a.conf", "1", False), ("95-a.conf", "2", True)]),
        # /etc/sysctl.conf after all of them.
        ({"/etc/sysctl.conf": f"{KEY}=1"}, [("sysctl.conf", "1", True)]),
        (
            {"/etc/sysctl.conf": f"{KEY}=1", "/etc/sysctl.d/99-z.conf": f"{KEY}=2"},
            [("99-z.conf", "2", False), ("sysctl.conf", "1", True)],
        ),
        # A name beats every pattern.
        ({"/etc/sysctl.d/99-a.conf": "vm.nr_*=1"}, [("99-a.conf", "1", False)]),
        ({"/etc/sysctl.d/99-a.conf": "*.nr_hugepages=1"}, [("99-a.conf", "1", False)]),
        ({"/etc/sysctl.d/99-a.conf": "*=1\nvm.nr_hugepages.x=1\nvm.nr=1"}, []),
        # Hidden, not a drop-in, ours.
        (
            {
                "/etc/sysctl.d/99-a.conf": "",
                "/run/sysctl.d/99-a.conf": f"{KEY}=1",
                "/lib/sysctl.d/99-a.conf": f"{KEY}=1",
            },
            [],
        ),
        ({"/etc/sysctl.d/99-a": f"{KEY}=1"}, []),
        ({NINETY: f"{KEY}=1", "/usr/lib/sysctl.d/90-ours.conf": f"{KEY}=2"}, []),
        ({"/etc/sysctl.d/99-a.conf": f"#{KEY}=1\n;{KEY}=1\nvm.other=1"}, []),
    ],
)
def test_sysctl_owners_and_who_of_them_wins(
    tree: Path, files: dict[str, str], expected: list[tuple[str, str, bool]]
) -> None:
    found = SYSCTL.owners(_write(tree, files), NINETY, [KEY])
    assert [(owner.path.rpartition("/")[2], owner.value, owner.wins) for owner in found] == expected


def test_a_pattern_that_this_python_cannot_read_matches_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, pattern: str) -> bool:
        # What Python 3.9 says to "[z-a]".
        raise re.error("bad character range")

    monkeypatch.setattr(dropin_module, "fnmatchcase", refuse)
    assert SYSCTL.owners(_write(tree, {"/etc/sysctl.d/99-a.conf": "vm.[z-a]=1"}), NINETY, [KEY]) == []


def test_where_we_have_no_file_the_winner_among_the_others_is_told(tree: Path) -> None:
    host = _write(
        tree,
        {
            "/etc/sysctl.d/10-a.conf": f"{KEY}=1",
            "/etc/sysctl.d/20-b.conf": f"{KEY}=2\nvm.x=5",
            "/etc/sysctl.d/30-c.conf": "vm.*=3\n",
        },
    )
    assert SYSCTL.owners(host, "", [KEY, "vm.x", "vm.y", KEY]) == [
        Owner("/etc/sysctl.d/10-a.conf", KEY, "1", False),
        Owner("/etc/sysctl.d/20-b.conf", KEY, "2", True),
        Owner("/etc/sysctl.d/20-b.conf", "vm.x", "5", True),
        Owner("/etc/sysctl.d/30-c.conf", KEY, "3", False),
        Owner("/etc/sysctl.d/30-c.conf", "vm.x", "3", False),
        Owner("/etc/sysctl.d/30-c.conf", "vm.y", "3", True),
    ]


def test_a_file_masked_by_a_link_to_the_null_device_hides_the_others(tree: Path) -> None:
    host = _write(tree, {"/usr/lib/tmpfiles.d/10-a.conf": f"{W} a", "/dev/null": ""})
    (tree / "etc/tmpfiles.d").mkdir(parents=True)
    (tree / "etc/tmpfiles.d/10-a.conf").symlink_to("/dev/null")
    assert TMPFILES.owners(host, FIFTY, [ATTRIBUTE]) == []


def test_a_folder_or_a_fifo_is_no_file_and_hides_none(tree: Path) -> None:
    host = _write(tree, {"/usr/lib/tmpfiles.d/10-a.conf": f"{W} a", "/usr/lib/tmpfiles.d/11-b.conf": f"{W} b"})
    (tree / "etc/tmpfiles.d/10-a.conf").mkdir(parents=True)
    os.mkfifo(tree / "etc/tmpfiles.d/11-b.conf")
    (tree / "etc/sysctl.conf").mkdir()
    assert [owner.value for owner in TMPFILES.owners(host, "", [ATTRIBUTE])] == ["a", "b"]
    assert SYSCTL.owners(host, "", [KEY]) == []


def test_a_file_that_cannot_be_read_is_no_guess(tree: Path) -> None:
    host = _write(tree, {})
    (tree / "etc/sysctl.d").mkdir(parents=True)
    (tree / "etc/sysctl.d/10-a.conf").symlink_to("10-a.conf")
    with pytest.raises(HostError, match=r"^/etc/sysctl.d/10-a.conf: "):
        SYSCTL.owners(host, NINETY, [KEY])


def test_bytes_that_are_no_text_do_no_harm(tree: Path) -> None:
    host = _write(tree, {NINETY: ""})
    (tree / NINETY[1:]).write_bytes(b"\xff\xfe = 1\n\0\0\n" + f"{KEY} = 5\n".encode())
    assert SYSCTL.observe(host, NINETY, [KEY]).settings[KEY] == "5"


# what is persisted


def test_an_observed_file_is_its_text_its_settings_and_the_others(tree: Path) -> None:
    text = SYSCTL.text({KEY: "5"}) or ""
    persisted = SYSCTL.observe(_write(tree, {NINETY: text, "/etc/sysctl.conf": f"{KEY}=1"}), NINETY, [KEY])
    assert (persisted.path, persisted.text, persisted.settings) == (NINETY, text, {KEY: "5"})
    assert persisted.owners == (Owner("/etc/sysctl.conf", KEY, "1", True),)
    absent = SYSCTL.observe(_write(tree / "other", {}), NINETY, [KEY])
    assert (absent.text, absent.settings, absent.owners) == (None, {}, ())


@pytest.mark.parametrize(
    ("old", "wanted"),
    [({}, {KEY: "5"}), ({KEY: "5"}, {KEY: "6"}), ({KEY: "5", "vm.x": "1"}, {KEY: "5"}), ({KEY: "5"}, {})],
)
def test_the_plan_makes_the_file_hold_what_is_wanted_and_then_nothing(
    tree: Path, old: dict[str, str], wanted: dict[str, str]
) -> None:
    old_text = SYSCTL.text(old)
    persisted = SYSCTL.observe(_write(tree, {NINETY: old_text} if old_text else {}), NINETY, [KEY])
    (change,) = persisted.plan(wanted)
    assert change == Change("file", NINETY, old_text, SYSCTL.text(wanted))
    after = persisted.predict([Change("pool", "/other", 1, 2), change])
    assert after.settings == wanted
    assert after.plan(wanted) == []
    assert persisted.predict([Change("pool", "/other", 1, 2)]) == persisted


def test_comments_and_spelling_of_our_file_are_no_reason_to_write_it(tree: Path) -> None:
    host = _write(tree, {NINETY: f"# by hand\n\nvm/nr_hugepages   =   5\n-{KEY}=5\n"})
    assert SYSCTL.observe(host, NINETY, [KEY]).plan({KEY: "5"}) == []


def test_a_winner_with_another_value_is_refused_by_name(tree: Path) -> None:
    persisted = SYSCTL.observe(_write(tree, {"/etc/sysctl.conf": f"{KEY}=1"}), NINETY, [KEY])
    with pytest.raises(OwnerError) as caught:
        persisted.refuse_winners({KEY: "5"})
    assert str(caught.value) == (
        f"/etc/sysctl.conf sets {KEY} to 1 and wins over {NINETY} at boot. Change it there, or set persist to false"
    )
    assert persisted.warnings({KEY: "5"}) == ()


@pytest.mark.parametrize(
    "files",
    [
        {"/etc/sysctl.conf": f"{KEY}=5"},
        {"/etc/sysctl.d/95-a.conf": f"{KEY}=1", "/etc/sysctl.conf": f"{KEY}=5"},
        {"/etc/sysctl.conf": f"{KEY}=1\n{KEY}=5"},
        {"/etc/sysctl.d/10-a.conf": f"{KEY}=1"},
        {"/etc/sysctl.d/99-a.conf": "vm.*=1"},
        {},
    ],
)
def test_whoever_agrees_or_loses_is_not_refused(tree: Path, files: dict[str, str]) -> None:
    SYSCTL.observe(_write(tree, files), NINETY, [KEY]).refuse_winners({KEY: "5"})


@pytest.mark.parametrize("path", ["/etc/sysctl.d/10-a.conf", "/etc/sysctl.conf"])
def test_a_key_that_we_do_not_set_is_left_to_the_others(tree: Path, path: str) -> None:
    persisted = SYSCTL.observe(_write(tree, {path: "vm.other=1"}), NINETY, [KEY, "vm.other"])
    persisted.refuse_winners({KEY: "5"})
    assert persisted.warnings({KEY: "5"}) == ()


def test_a_loser_with_another_value_is_a_warning_in_the_order_of_the_files(tree: Path) -> None:
    host = _write(
        tree,
        {
            "/etc/sysctl.d/20-b.conf": f"{KEY}=2",
            "/etc/sysctl.d/10-a.conf": f"{KEY}=1",
            "/etc/sysctl.d/30-c.conf": f"{KEY}=5",
        },
    )
    assert SYSCTL.observe(host, NINETY, [KEY]).warnings({KEY: "5"}) == (
        f"/etc/sysctl.d/10-a.conf sets {KEY} to 1; {NINETY} wins over it at boot",
        f"/etc/sysctl.d/20-b.conf sets {KEY} to 2; {NINETY} wins over it at boot",
    )


OURS = "/etc/tmpfiles.d/10-ours.conf"
OTHERS = "# theirs\nd /run/x 0755\nw /a/c - - - - 5\n"


@pytest.mark.parametrize(("dropin", "others"), [(TMPFILES, OTHERS), (SYSCTL, "# theirs\nvm.other = 1\n")])
def test_lines_that_are_not_ours_stay_where_they_do_not_win(tree: Path, dropin: Dropin, others: str) -> None:
    key = ATTRIBUTE if dropin is TMPFILES else KEY
    text = dropin.text({key: "1"}) or ""
    host = _write(tree, {OURS: text + "\n" + others})
    persisted = dropin.observe(host, OURS, [key], re.escape(key))
    assert (persisted.settings, persisted.plan({key: "1"})) == ({key: "1"}, [])
    (change,) = persisted.plan({key: "2"})
    lines = change.after.split("\n", 1)[1]
    assert (
        lines
        == {True: f"{dropin.render(key, '2')}\n{others}", False: f"{others}{dropin.render(key, '2')}\n"}[
            dropin.first_wins
        ]
    )
    assert persisted.predict([change]).settings == {key: "2"}
    (change,) = persisted.plan({})
    assert change.after == others
    assert persisted.predict([change]).plan({}) == []


def test_a_file_of_ours_with_nothing_but_comments_goes(tree: Path) -> None:
    text = (TMPFILES.text({ATTRIBUTE: "1"}) or "").split("\n")[0]
    persisted = TMPFILES.observe(_write(tree, {OURS: f"{text}\n\n# a note\n"}), OURS, [ATTRIBUTE])
    assert persisted.plan({}) == [Change("file", OURS, f"{text}\n\n# a note\n", None)]


def test_of_another_file_at_our_path_nothing_is_taken(tree: Path) -> None:
    persisted = TMPFILES.observe(_write(tree, {OURS: f"{W} 1\n"}), OURS, [ATTRIBUTE])
    assert (persisted.plan({}), persisted.plan({ATTRIBUTE: "1"}), persisted.mine) == ([], [], {})
    assert persisted.plan({ATTRIBUTE: "2"}) != []
