# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties are tried on the same examples each time: a run says something of the change at hand, not of chance."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
# What hypothesis keeps lies with all else that is made.
set_hypothesis_home_dir(Path(__file__).parents[2] / ".cache/hypothesis")
