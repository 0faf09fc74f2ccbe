# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes docs/report.png, the picture in the README: report.html of a fleet that nobody has, in Chromium and fonts-inter of the distribution."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ansible_collections.bulwark.node.plugins.plugin_utils.report_html import render
from ansible_collections.bulwark.node.tests.browser.chromium import WIDE, Browser, missing
from ansible_collections.bulwark.node.tests.fakes.fleet import fleet

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "report.png"
_HOSTS = 12
_HEIGHT = 1160


def main() -> None:
    """Take the picture."""
    if lacking := missing():
        sys.exit(f"picture: it takes {' and '.join(lacking)}; as root: apt-get install {' '.join(lacking)}")
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        page = Path(folder, "report.html")
        page.write_text(render(fleet(_HOSTS)), encoding="utf-8")
        browser.open(page, width=WIDE, height=_HEIGHT)
        browser.screenshot(PICTURE)


if __name__ == "__main__":
    main()
