# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page of a fleet costs: to make, and to open in Chromium of the distribution.

usage: report.py [HOSTS] [ROUNDS]      run by the environment's Python; prints medians, asserts nothing

300 hosts, for which the aims are, and 1,000, where none are given. Filtered is from a click to the next frame.
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
FILTERED = (
    "const done = arguments[0], started = performance.now();"
    "document.querySelector('#severities [value=critical]').click();"
    "requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)))"
)
AIMS = {"made": 5.0, "first paint": 1.0, "loaded": 1.0, "filtered": 0.5}
SIZES = (300, 1000)


def show(what: str, taken: list[float], hosts: int) -> None:
    """Print the median of one measure, beside its aim where it has one."""
    spread = f"({min(taken):.2f} to {max(taken):.2f})"
    aim = f"aim: {AIMS[what]} s or less" if hosts <= SIZES[0] else ""
    print(f"  {what:12} {statistics.median(taken):6.2f} s   {spread:18} {aim}".rstrip())


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor that some work takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(hosts: int, rounds: int) -> None:
    """Print what the page of so many hosts costs."""
    report = fleet(hosts)
    page = render(report)
    findings = sum(len(host["findings"]) for host in report["hosts"].values())
    print(f"report.html of {hosts} hosts, {findings} findings: {len(page.encode()) / 1e6:.1f} MB, {rounds} rounds")
    show("made", [timed(lambda: render(report)) for each in range(rounds)], hosts)
    if lacking := missing():
        print(f"  opened: not measured, it takes {' and '.join(lacking)}")
        return
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        path = Path(folder, "report.html")
        path.write_text(page, encoding="utf-8")
        times = []
        for _round in range(rounds):
            browser.open(path)
            opened = browser.driver.execute_async_script(OPENED)
            filtered = browser.driver.execute_async_script(FILTERED)
            times.append([number / 1000 for number in (*opened, filtered)])
        print(f"  {browser.js(ELEMENTS)} elements")
    for index, what in enumerate(("first paint", "loaded", "filtered")):
        show(what, [each[index] for each in times], hosts)


def main() -> None:
    """Measure the pages of two fleets, or of one of so many hosts."""
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    for hosts in [int(sys.argv[1])] if len(sys.argv) > 1 else SIZES:
        measure(hosts, rounds)


if __name__ == "__main__":
    main()
