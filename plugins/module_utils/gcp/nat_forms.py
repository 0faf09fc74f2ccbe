# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms that fields of a NAT have: as the API writes them, as an option says them, and one in which both compare.

Each form has ``read`` (the API's value to the comparable one; raises MalformedError), ``option`` (a module's option to it)
and ``write`` (back, over what the API had: what it says besides, and how it wrote a link, is kept).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Form", "Links", "MalformedError", "Names", "Scalar", "Struct", "Sub", "Table", "link"]

_HOST = "https://www.googleapis.com/compute/v1/"
# Links come back under another host, and another version, than was asked.
_LINK = re.compile(r"https?://[^/]+/(?:compute/)?[a-z0-9]+/(?=projects/)")


class MalformedError(Exception):
    """The API's value is of no form that its documentation has."""


def link(text: str, base: str = "", collection: str = "") -> str:
    """The path of a link, without host and version; a name alone is one of ``collection`` below ``base``.

    ``base`` is ``projects/p/regions/r``. Other texts stay as they are: the server judges them.
    """
    path = _LINK.sub("", text, count=1)
    if path.startswith("regions/") and base:
        return f"{base.partition('/regions/')[0]}/{path}"
    return f"{base}/{collection}/{path}" if base and collection and path and "/" not in path else path


def _url(path: str) -> str:
    """A link as gcloud and Terraform send it, whatever the endpoint is."""
    return _HOST + path if path.startswith("projects/") else path


class Form(Protocol):
    """How one field is written."""

    def read(self, raw: Any) -> Any:
        """The comparable value of what the API says. Raises MalformedError."""

    def option(self, value: Any, base: str) -> Any:
        """The comparable value of an option; ``base`` is the region's path."""

    def write(self, value: Any, raw: Any) -> Any:
        """What to send for the value, where the API had ``raw`` (None: nothing)."""


@dataclass(frozen=True)
class Scalar:
    """A text, a number or a bool."""

    kind: type

    def read(self, raw: Any) -> Any:
        # A bool is an int, and no number of ports.
        if raw.__class__ is not self.kind:
            raise MalformedError
        return raw

    def option(self, value: Any, base: str) -> Any:
        return value

    def write(self, value: Any, raw: Any) -> Any:
        return value


@dataclass(frozen=True)
class Names:
    """A list of names without an order."""

    def read(self, raw: Any) -> list[str]:
        if not isinstance(raw, list) or not all(isinstance(each, str) for each in raw):
            raise MalformedError
        return sorted(set(raw))

    def option(self, value: Sequence[str], base: str) -> list[str]:
        return sorted(set(value))

    def write(self, value: Any, raw: Any) -> Any:
        return list(value)


@dataclass(frozen=True)
class Links:
    """Links to resources of one ``collection``, without an order; or one of them."""

    collection: str
    single: bool = False

    def read(self, raw: Any) -> Any:
        if self.single:
            return link(Scalar(str).read(raw))
        return sorted({link(each) for each in Names().read(raw)})

    def option(self, value: Any, base: str) -> Any:
        if self.single:
            return link(value, base, self.collection)
        return sorted({link(each, base, self.collection) for each in value})

    def write(self, value: Any, raw: Any) -> Any:
        if self.single:
            return raw if raw is not None and self.read(raw) == value else _url(value)
        as_it_was = {link(each): each for each in raw or ()}
        return [as_it_was.get(each) or _url(each) for each in value]


@dataclass(frozen=True)
class Sub:
    """One field: the name of its option, its key in the API, its form, and its value where the API says none."""

    option: str
    key: str
    form: Form
    default: Any = None

    def left_out(self) -> Any:
        """Its value where the API says none, which the caller may change."""
        return copy.deepcopy(self.default)


@dataclass(frozen=True)
class Struct:
    """An object of known fields. Its comparable value has all of them."""

    subs: tuple[Sub, ...]

    def read(self, raw: Any) -> dict[str, Any]:
        if not isinstance(raw, Mapping):
            raise MalformedError
        found = {}
        for sub in self.subs:
            value = raw.get(sub.key)
            try:
                found[sub.option] = sub.left_out() if value is None else sub.form.read(value)
            except MalformedError as error:
                raise MalformedError(".".join((sub.key, *error.args))) from None
        return found

    def option(self, value: Mapping[str, Any], base: str) -> dict[str, Any]:
        return {
            sub.option: sub.left_out() if value.get(sub.option) is None else sub.form.option(value[sub.option], base)
            for sub in self.subs
        }

    def write(self, value: Mapping[str, Any], raw: Any) -> dict[str, Any]:
        """Only the fields that ``value`` has are written, and of what was there only what is another value than before."""
        sent = dict(raw or {})
        before = {} if raw is None else self.read(raw)
        for sub in self.subs:
            if sub.option not in value or (sub.option in before and value[sub.option] == before[sub.option]):
                continue
            written = value[sub.option]
            if written in (None, []):
                sent.pop(sub.key, None)
            else:
                sent[sub.key] = sub.form.write(written, sent.get(sub.key))
        return sent


@dataclass(frozen=True)
class Table:
    """A list of structs, each known by one of its fields, in the order of that."""

    struct: Struct
    identity: Sub

    def read(self, raw: Any) -> list[dict[str, Any]]:
        if not isinstance(raw, list):
            raise MalformedError
        if any(not isinstance(each, Mapping) or each.get(self.identity.key) is None for each in raw):
            raise MalformedError(self.identity.key)
        return self._sorted(self.struct.read(each) for each in raw)

    def option(self, value: Sequence[Mapping[str, Any]], base: str) -> list[dict[str, Any]]:
        return self._sorted(self.struct.option(each, base) for each in value)

    def write(self, value: Sequence[Mapping[str, Any]], raw: Any) -> list[dict[str, Any]]:
        name = self.identity.option
        before = {self.struct.read(each)[name]: each for each in raw or ()}
        return [self.struct.write(each, before.get(each[name])) for each in value]

    def _sorted(self, items: Any) -> list[dict[str, Any]]:
        return sorted(items, key=lambda each: each[self.identity.option])
