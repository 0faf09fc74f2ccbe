# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the unit tests says is of the change at hand, not of chance or of the machine's speed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

# Properties are tried on the same examples each time.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
# What hypothesis keeps lies with all else that is made.
set_hypothesis_home_dir(Path(__file__).parents[2] / ".cache/hypothesis")


@pytest.fixture
def bounded() -> Iterator[None]:
    """Ends a test whose work grows faster than its text: with those of a million characters that takes hours, else a second."""

    def give_up(*_given: object) -> None:
        pytest.fail("it took a minute of the processor's time")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, 60)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)
