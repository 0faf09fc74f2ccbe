# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes: what is read, what is refused, and what comes back as it was."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.units import (
    bracketed,
    format_size,
    parse_cores,
    parse_quantity,
    parse_size,
)

MAX = (1 << 64) - 1


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        (4096, 4096),
        (0, 0),
        (MAX, MAX),
        (str(MAX), MAX),
        ("15E", 15 << 60),
        ("64k", 64 << 10),
        ("64K", 64 << 10),
        ("2M", 2 << 20),
        ("2m", 2 << 20),
        ("2MB", 2 << 20),
        ("2MiB", 2 << 20),
        ("2 MiB", 2 << 20),
        ("2048kB", 2 << 20),
        ("2048 kB", 2 << 20),
        ("16gib", 16 << 30),
        ("1T", 1 << 40),
        ("1P", 1 << 50),
        ("512B", 512),
        (" 1G\n", 1 << 30),
        ("007", 7),
    ],
)
def test_sizes_are_read_as_the_kernel_writes_them(text: str | int, size: int) -> None:
    assert parse_size(text) == size


NO_SIZES: list[Any] = [
    "",
    " ",
    "M",
    "-1",
    "-2M",
    -1,
    "+1",
    "1.5G",
    "1e3",
    "0x10",
    "1K1",
    "1KK",
    "2iB",
    "2i",
    "5Z",
    "1 2",
    "1_000",
    "1,000",
    "\u0663M",
    "\uff13M",
    "1G\u0131B",
    "1\u212a",  # the Kelvin sign
    "\u00b2",
    True,
    False,
    None,
    1.0,
    "None",
    "1\0",
    MAX + 1,
    str(MAX + 1),
    "16E",
    "9" * 21,
    "9" * 1_000_000,
    "1" + " " * 1_000_000 + "x",
]


@pytest.mark.parametrize("text", NO_SIZES, ids=lambda value: repr(value)[:20])
def test_what_is_no_size_is_refused_with_what_is_expected(text: Any) -> None:
    with pytest.raises(ValueError, match=r"^expected a size "):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1, "1"),
        (1000, "1000"),
        (1023, "1023"),
        (1024, "1K"),
        (1536, "1536"),
        (64 << 10, "64K"),
        (2 << 20, "2M"),
        ((2 << 20) + 1024, "2049K"),
        (1 << 30, "1G"),
        (16 << 30, "16G"),
        (1 << 40, "1T"),
        (3 << 50, "3P"),
        (1 << 60, "1E"),
        (MAX, str(MAX)),
    ],
)
def test_a_size_is_written_in_its_shortest_exact_spelling(size: int, text: str) -> None:
    assert format_size(size) == text


def test_what_format_size_writes_parse_size_reads() -> None:
    numbers = random.Random(2)
    for _dummy in range(2000):
        size = numbers.getrandbits(numbers.randrange(1, 33)) << numbers.randrange(0, 32)
        assert parse_size(format_size(size)) == size
        assert parse_quantity(str(size)) == parse_size(str(size)) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("128974848", 128974848),
        (128974848, 128974848),
        ("129e6", 129_000_000),
        ("129E6", 129_000_000),
        ("129M", 129_000_000),
        ("128974848000m", 128974848),
        ("123Mi", 123 << 20),
        ("1.5Gi", 3 << 29),
        (".5Gi", 1 << 29),
        ("5.", 5),
        ("+1Ki", 1024),
        ("1k", 1000),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1e18", 10**18),
        ("1E3", 1000),
        ("1e+3", 1000),
        ("1500e-3", 2),
        ("1Ti", 1 << 40),
        ("1Pi", 1 << 50),
        ("1Ei", 1 << 60),
        ("1.5", 2),
        ("0.1", 1),
        ("100m", 1),
        ("1001m", 2),
        ("1u", 1),
        ("1n", 1),
        ("0n", 0),
        ("0.00000000000000000001", 1),
        (1.5, 2),
        (" 1Gi ", 1 << 30),
    ],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: Any, size: int) -> None:
    assert parse_quantity(text) == size


NO_QUANTITIES: list[Any] = [
    "",
    ".",
    "+",
    "Mi",
    "-1",
    -1,
    "-1Gi",
    "1K",
    "1ki",
    "1KB",
    "1GiB",
    "1 Gi",
    "1.2.3",
    "1e",
    "1e100",
    "1e1.5",
    "1mi",
    "0x10",
    "1_0",
    "\u0663Mi",
    True,
    None,
    {},
    "20Ei",
    MAX + 1,
    "9" * 21,
    "1." + "0" * 21,
    "9" * 1_000_000,
]


@pytest.mark.parametrize("text", NO_QUANTITIES, ids=lambda value: repr(value)[:20])
def test_what_is_no_quantity_of_bytes_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"^expected a "):
        parse_quantity(text)


@pytest.mark.parametrize("unit", ["K", "M", "G", "T", "P"])
def test_binary_and_decimal_units_are_kept_apart(unit: str) -> None:
    decimal = parse_quantity(f"7{unit.replace('K', 'k')}")
    assert decimal < parse_quantity(f"7{unit}i") == parse_size(f"7{unit}")
    assert str(decimal).strip("0") == "7"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("always [madvise] never\n", ("madvise", ("always", "madvise", "never"))),
        ("[a]", ("a", ("a",))),
        ("512\n", None),
        ("", None),
        ("[] [", None),
        ("[a b]", None),
    ],
)
def test_a_value_in_brackets_is_the_chosen_one(text: str, found: tuple[str, tuple[str, ...]] | None) -> None:
    assert bracketed(text) == found


@pytest.mark.parametrize(
    ("text", "cores"), [("4", 4.0), (4, 4.0), ("3920m", 3.92), ("0.5", 0.5), ("1k", 1000.0), ("0", 0.0)]
)
def test_cores_are_read_with_their_fractions(text: str | int, cores: float) -> None:
    assert parse_cores(text) == cores


@pytest.mark.parametrize("text", ["", "four", "-1", "1e99", -1, True])
def test_what_are_no_cores_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="expected a "):
        parse_cores(text)
