# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes as the kernel, Kubernetes and people write them, in bytes inside of the collection; cores; and values in brackets."""

from __future__ import annotations

import re

from ansible_collections.bulwark.node.plugins.module_utils.errors import OptionError

__all__ = ["bracketed", "format_size", "parse_cores", "parse_quantity", "parse_size", "size_option"]

_BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_FRACTIONS = {"m": 10**3, "u": 10**6, "n": 10**9}
_SIZE = re.compile(r"([0-9]{1,20})\s*(?:([KMGTPE])(?:I?B)?|B)?", re.ASCII | re.IGNORECASE)
# Digits and exponents are bounded: a longer number costs time to convert, and no machine has so much.
_QUANTITY = re.compile(
    r"\+?(?=\.?[0-9])([0-9]{0,20})\.?([0-9]{0,20})(?:([KMGTPE])i|([kMGTPE])|([mun])|[eE]([+-]?[0-9]{1,2}))?", re.ASCII
)
_MAX_SIZE = (1 << 64) - 1


def parse_size(text: str | int) -> int:
    """Bytes of a size as the kernel writes it: ``2M``, ``1G``, ``2048kB``, ``1GiB``, ``4096``; K, M, G are powers of 1024.

    Raises ValueError saying what is expected. Source: memparse() in lib/cmdline.c, hugetlbpage.rst.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return _bounded(text)
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("expected a size such as 2M, 1G or 2048kB")
    return _bounded(int(match.group(1)) * _BINARY[(match.group(2) or "").upper()])


def size_option(option: str, text: str) -> int:
    """Bytes of the size that an option holds. Raises OptionError."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise OptionError(option, text, str(error).removeprefix("expected ")) from None


def format_size(size: int) -> str:
    """The shortest exact spelling of a size in bytes: ``2M``, ``1G``, ``64K``, ``1000``."""
    for unit in ("E", "P", "T", "G", "M", "K"):
        if size and size % _BINARY[unit] == 0:
            return f"{size // _BINARY[unit]}{unit}"
    return str(size)


def bracketed(text: str) -> tuple[str, tuple[str, ...]] | None:
    """(value, all that can be written) of an attribute such as ``always [madvise] never``; None where it is of no such form."""
    chosen = re.search(r"\[([^\]\s]+)\]", text)
    return (chosen.group(1), tuple(text.replace("[", "").replace("]", "").split())) if chosen else None


def parse_quantity(text: str | int) -> int:
    """Bytes of a Kubernetes quantity: ``100Mi``, ``1.5Gi``, ``1G`` (10^9), ``128974848``, ``129e6``, ``128974848000m``.

    A fraction of a byte is rounded up, as Kubernetes does; no quantity of bytes is negative. Raises ValueError.
    Source: k8s.io/apimachinery/pkg/api/resource/quantity.go.
    """
    numerator, denominator = _ratio(text)
    return _bounded(-(-numerator // denominator))


def parse_cores(text: str | int) -> float:
    """Cores of a Kubernetes quantity of CPU: ``4``, ``3920m`` is 3.92. Raises ValueError."""
    numerator, denominator = _ratio(text)
    _bounded(numerator // denominator)
    return numerator / denominator


def _ratio(text: str | int) -> tuple[int, int]:
    """A quantity as numerator and denominator."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text, 1
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("expected a Kubernetes quantity such as 100Mi, 1.5Gi or 500M")
    whole, digits, binary, decimal, fraction, exponent = match.groups()
    numerator, denominator = int(whole + digits), 10 ** len(digits)
    if binary:
        numerator *= _BINARY[binary]
    elif decimal:
        numerator *= _DECIMAL[decimal]
    elif fraction:
        denominator *= _FRACTIONS[fraction]
    elif exponent:
        numerator *= 10 ** max(int(exponent), 0)
        denominator *= 10 ** max(-int(exponent), 0)
    return numerator, denominator


def _bounded(size: int) -> int:
    if not 0 <= size <= _MAX_SIZE:
        raise ValueError("expected a size of 0 bytes or more that fits into 64 bits")
    return size
