# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors: what a user reads, and the data beside it."""

from __future__ import annotations

import errno

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.errors import (
    BulwarkError,
    HostError,
    Interrupted,
    OptionError,
    OwnerError,
    UnmetError,
)


@pytest.mark.parametrize("kind", [BulwarkError, Interrupted, OwnerError, UnmetError])
def test_an_error_has_its_text_and_its_own_copy_of_the_details(kind: type[BulwarkError]) -> None:
    details = {"unmet": [1]}
    error = kind("text", details)
    error.details["undone"] = []
    assert str(error) == "text"
    assert error.details == {"unmet": [1], "undone": []}
    assert details == {"unmet": [1]}
    assert isinstance(error, BulwarkError)
    assert kind("text").details == {}


def test_a_refused_option_names_the_option_the_value_and_what_is_expected() -> None:
    error = OptionError("pools[1].size", "3X", "a size such as 2M")
    assert str(error) == "pools[1].size: got '3X', expected a size such as 2M"
    assert error.details == {"option": "pools[1].size", "value": "3X", "expected": "a size such as 2M"}


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (errno.ENOSPC, "ENOSPC", "/x: cannot write: ENOSPC (No space left on device)"),
        (errno.EACCES, "EACCES", "/x: cannot write: EACCES (Permission denied)"),
        (errno.EAGAIN, "EAGAIN", "/x: cannot write: EAGAIN (Resource temporarily unavailable)"),
        (9999, None, "/x: cannot write: error (Unknown error 9999)"),
    ],
)
def test_what_the_kernel_said_is_named(number: int, code: str | None, text: str) -> None:
    error = HostError.from_os("/x", "write", OSError(number, "ignored"))
    assert str(error) == text
    assert (error.path, error.code, error.details) == ("/x", code, {"object": "/x", "errno": code})


def test_an_option_that_is_not_given_is_missing() -> None:
    assert str(OptionError("pools", None, "at least one pool")) == "pools: is missing, expected at least one pool"


def test_no_detail_has_a_name_that_fail_json_takes_for_a_file() -> None:
    # add_path_info() of AnsibleModule adds mode, owner and state beside these.
    command = HostError.from_command(["umount", "/x"], "said no")
    assert str(command) == "umount /x: said no"
    assert command.details == {"command": "umount /x"}
    assert not {"path", "dest"} & {*command.details, *HostError("/x", "y").details}


def test_an_os_error_without_a_number_keeps_its_own_words() -> None:
    error = HostError.from_os("/x", "read", OSError("something odd"))
    assert str(error) == "/x: cannot read: error (something odd)"
    assert error.code is None
