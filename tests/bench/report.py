# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page of a fleet costs: to make, and to open in Chromium of the distribution.

usage: report.py [HOSTS] [ROUNDS]      run by the environment's Python; prints medians, asserts nothing
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ansible_collections.bulwark.node.plugins.plugin_utils.report_html import render
from ansible_collections.bulwark.node.tests.browser.chromium import Browser, missing
from ansible_collections.bulwark.node.tests.fakes.fleet import fleet

# From the start of the navigation, in milliseconds. The load event ends after the script that asks for it.
OPENED = (
    "const done = arguments[0]; requestAnimationFrame(() => setTimeout(() => done(["
    "performance.getEntriesByType('paint').find((each) => each.name === 'first-paint')?.startTime ?? NaN,"
    "performance.getEntriesByType('navigation')[0].loadEventEnd]), 50))"
)
ELEMENTS = "return document.querySelectorAll('*').length"
AIMS = {"made": 5.0, "first paint": 1.0, "loaded": 1.0}


def show(what: str, taken: list[float]) -> None:
    """Print the median of one measure beside its aim."""
    spread = f"({min(taken):.2f} to {max(taken):.2f})"
    print(f"  {what:12} {statistics.median(taken):6.2f} s   {spread:18} aim: {AIMS[what]:.0f} s or less")


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor that some work takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Measure the page of so many hosts."""
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    report = fleet(hosts)
    page = render(report)
    findings = sum(len(host["findings"]) for host in report["hosts"].values())
    print(f"report.html of {hosts} hosts, {findings} findings: {len(page.encode()) / 1e6:.1f} MB, {rounds} rounds")
    show("made", [timed(lambda: render(report)) for each in range(rounds)])
    if lacking := missing():
        print(f"  opened: not measured, it takes {' and '.join(lacking)}")
        return
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        path = Path(folder, "report.html")
        path.write_text(page, encoding="utf-8")
        times = []
        for _round in range(rounds):
            browser.open(path)
            times.append([number / 1000 for number in browser.driver.execute_async_script(OPENED)])
        print(f"  {browser.js(ELEMENTS)} elements")
    show("first paint", [first for first, loaded in times])
    show("loaded", [loaded for first, loaded in times])


if __name__ == "__main__":
    main()
