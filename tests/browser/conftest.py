# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of made-up fleets, opened in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils.report_html import render
from ansible_collections.bulwark.node.tests.fakes.fleet import changed, compared, fleet, gateways

from .chromium import Browser, missing

Open = Callable[..., Browser]

REPORTS: dict[str, Callable[[], dict[str, Any]]] = {
    "one": lambda: fleet(1),
    "some": lambda: {**compared(fleet(20)), "cloud_nat": gateways()},
    "run": lambda: changed(fleet(10)),
    "fleet": lambda: fleet(300),
    "many": lambda: fleet(1000),
}


@cache
def report(name: str) -> dict[str, Any]:
    """A report by its name; each is made once."""
    return REPORTS[name]()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each opens its page anew."""
    if lacking := missing():
        pytest.skip(f"the page is looked at by {' and '.join(lacking)}, which are not installed: see bindep.txt")
    with Browser() as made:
        yield made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages lie."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture
def opened(browser: Browser, folder: Path) -> Open:
    """Open the page of a report: ``opened("some", "q=web")``, or of one that is given: ``opened(report)``."""

    def open_page(made: str | dict[str, Any], fragment: str = "", **how: Any) -> Browser:
        page = folder / (f"{made}.html" if isinstance(made, str) else "given.html")
        if not isinstance(made, str) or not page.exists():
            page.write_text(render(report(made) if isinstance(made, str) else made), encoding="utf-8")
        browser.open(page, fragment, **how)
        return browser

    return open_page
