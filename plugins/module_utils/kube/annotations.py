# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The annotations that we leave on objects of a cluster. What each holds is in docs/schemas.md."""

from __future__ import annotations

__all__ = ["CORDON", "DRAIN"]

CORDON = "bulwark.node/cordon"
"""On a node that we cordoned: by which run and when. Without it a cordon is somebody else's."""
DRAIN = "bulwark.node/drain"
"""On a node that is being drained: by which run, and since when."""
