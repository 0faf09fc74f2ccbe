# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of groups in a command line, as tables: in place, put in place, taken away, split and joined."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node import kernel_cmdline
from ansible_collections.bulwark.node.plugins.module_utils.node.kernel_cmdline import split

PAIR = "hugepagesz=1G hugepages=8"


@pytest.mark.parametrize(
    ("line", "groups", "missing", "present"),
    [
        ("a b", ["b"], [], "a b"),
        ("a b", ["c"], ["c"], "a b c"),
        # In order and together.
        ("a b c", ["a b"], [], "a b c"),
        ("a c b", ["a b"], ["a b"], "a c b a b"),
        ("b a", ["a b"], ["a b"], "b a a b"),
        # Known to have one value: the last one counts, and another is replaced.
        ("panic=1", ["panic=2"], ["panic=2"], "panic=2"),
        ("panic=1 panic=2", ["panic=2"], [], "panic=1 panic=2"),
        ("panic=2 panic=1", ["panic=2"], ["panic=2"], "panic=2"),
        ("panic=2 q panic", ["panic=2"], ["panic=2"], "q panic=2"),
        ("nohz-full=1", ["nohz_full=1"], [], "nohz-full=1"),
        ("nohz-full=1", ["nohz_full=2"], ["nohz_full=2"], "nohz_full=2"),
        ("kvm-intel.nested=0 q", ["kvm_intel.nested=1"], ["kvm_intel.nested=1"], "q kvm_intel.nested=1"),
        # All others stay beside ours, wherever.
        ("x=1", ["x=2"], ["x=2"], "x=1 x=2"),
        ("x=2 x=1", ["x=2"], [], "x=2 x=1"),
        (
            "cgroup_enable=cpuset",
            ["cgroup_enable=memory"],
            ["cgroup_enable=memory"],
            "cgroup_enable=cpuset cgroup_enable=memory",
        ),
        ("luks.uuid=A", ["luks.uuid=B"], ["luks.uuid=B"], "luks.uuid=A luks.uuid=B"),
        ("kvm.dyndbg=a", ["kvm.dyndbg=b"], ["kvm.dyndbg=b"], "kvm.dyndbg=a kvm.dyndbg=b"),
        # What is for init is left where it is, and counts for nothing.
        ("a -- b", ["b"], ["b"], "a b -- b"),
        ("panic=1 -- panic=2", ["panic=2"], ["panic=2"], "panic=2 -- panic=2"),
        (f"{PAIR} -- q hugepages=9", [PAIR], [], f"{PAIR} -- q hugepages=9"),
        # Given more than once: nothing is replaced, and the order of one call counts.
        ("console=tty0", ["console=ttyS0"], ["console=ttyS0"], "console=tty0 console=ttyS0"),
        ("console=a q console=b", ["console=a", "console=b"], [], "console=a q console=b"),
        ("console=b q console=a", ["console=a", "console=b"], ["console=b"], "q console=a console=b"),
        ("console=b q console=a", ["console=a"], [], "console=b q console=a"),
        # Sizes of hugepages: the first one counts, with the numbers after it.
        (f"q {PAIR}", [PAIR], [], f"q {PAIR}"),
        ("hugepagesz=1G q hugepages=8", [PAIR], [PAIR], f"q {PAIR}"),
        (f"hugepagesz=1G hugepages=4 {PAIR}", [PAIR], [PAIR], PAIR),
        (f"hugepagesz=1024M hugepages=4 q {PAIR}", [PAIR], [PAIR], f"q {PAIR}"),
        (f"hugepagesz=2M hugepages=4 {PAIR}", [PAIR], [], f"hugepagesz=2M hugepages=4 {PAIR}"),
        ("hugepagesz=2M hugepages=4 q", [PAIR], [PAIR], f"hugepagesz=2M hugepages=4 q {PAIR}"),
        (
            "default_hugepagesz=2M hugepages=4",
            ["default_hugepagesz=1G"],
            ["default_hugepagesz=1G"],
            "default_hugepagesz=1G",
        ),
        ("default_hugepagesz=1G hugepages=4", [PAIR], [PAIR], f"default_hugepagesz=1G hugepages=4 {PAIR}"),
    ],
)
def test_groups_are_in_place_or_put_there(line: str, groups: list[str], missing: list[str], present: str) -> None:
    wanted = [split(group) for group in groups]
    assert kernel_cmdline.missing(split(line), wanted) == [split(group) for group in missing]
    made = kernel_cmdline.present(split(line), wanted)
    assert made == split(present)
    assert kernel_cmdline.missing(made, wanted) == []
    assert kernel_cmdline.present(made, wanted) == made


@pytest.mark.parametrize(
    ("line", "group", "absent"),
    [
        ("a b=1 c", "b", "a c"),
        ("a b=1 c", "b=1", "a c"),
        ("a b=1 c", "b=2", "a b=1 c"),
        ("a b b=1 b=2", "b", "a"),
        ("x-y=1 a", "x_y", "a"),
        ("a b c a b", "a b", "c"),
        ("a c b", "a b", "a c b"),
        (f"q {PAIR} hugepagesz=2M hugepages=4", "hugepagesz=1G", "q hugepagesz=2M hugepages=4"),
        (f"{PAIR} hugepagesz=2M hugepages=4 q", "hugepagesz", "q"),
        (f"hugepagesz=1G q hugepages=8 {PAIR}", "hugepagesz=1024M", "q"),
        (f"{PAIR} q", PAIR, "q"),
        ("hugepagesz=1G hugepages=4 q", PAIR, "hugepagesz=1G hugepages=4 q"),
        ("default_hugepagesz=1G q", "hugepagesz=1G", "default_hugepagesz=1G q"),
        ("a b=1 -- b=2 q", "b", "a -- b=2 q"),
    ],
)
def test_a_group_is_taken_away(line: str, group: str, absent: str) -> None:
    made = kernel_cmdline.absent(split(line), [split(group)])
    assert made == split(absent)
    assert kernel_cmdline.found(made, split(group)) == []


@pytest.mark.parametrize(
    ("text", "kernel", "line"),
    [
        ("a  b\tc\n", True, ("a", "b", "c")),
        ('x="a b" "y=c d" z', True, ("x=a b", "y=c d", "z")),
        ('x="a b', True, ("x=a b",)),
        ("a\\ b 'c", True, ("a\\", "b", "'c")),
        ("a\\ b 'c d'\"e f\" \\$g", False, ("a b", "c de f", "$g")),
    ],
)
def test_a_text_is_split_as_the_kernel_or_as_grub_does(text: str, kernel: bool, line: tuple[str, ...]) -> None:
    assert split(text, kernel) == line


def test_joined_a_line_is_split_again_into_the_same() -> None:
    line = ("quiet", "x=a b", "y z", "u=a;b", "ip=[::1]:a")
    assert kernel_cmdline.join(line) == 'quiet x="a b" "y z" u="a;b" ip=[::1]:a'
    assert split(kernel_cmdline.join(line)) == line


def test_what_is_given_back_is_the_last_one_of_each() -> None:
    assert kernel_cmdline.returned(split("a x b x c"), split("x c"), split("a d")) == split("a x b d")
    assert kernel_cmdline.returned(split("a x -- x"), split("x"), split("d")) == split("a d -- x")


def test_what_is_for_init_is_no_argument_of_the_kernel() -> None:
    assert kernel_cmdline.running(split("a b -- c")) == ("a", "b")
