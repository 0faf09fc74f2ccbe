# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as JUnit's XML, which CI systems show: a suite per host, a case per control. Pure; the hosts are not trusted.

The form is that of https://github.com/testmoapp/junitxml. ``fail`` is a failure and ``error`` an error; what was not judged
(``unknown``, ``waived``, ``not_applicable``) is skipped, with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from ansible_collections.bulwark.node.plugins.plugin_utils.report_table import escape

__all__ = ["dumps"]

_ELEMENTS = {
    "fail": "failure",
    "error": "error",
    "unknown": "skipped",
    "waived": "skipped",
    "not_applicable": "skipped",
}
_COUNTS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def dumps(report: Mapping[str, Any]) -> str:
    """The text of junit.xml: ASCII alone, what XML has no form for shown as its escape."""
    suites = ElementTree.Element("testsuites", name="bulwark.node")
    for name, host in sorted(report["hosts"].items()):
        suite = ElementTree.SubElement(suites, "testsuite", name=escape(name), timestamp=report["generated"])
        if host["status"] != "ok":
            case = ElementTree.SubElement(suite, "testcase", classname=escape(name), name="facts")
            ElementTree.SubElement(case, "error", type=host["status"], message=escape(str(host["reason"])))
        for finding in host["findings"]:
            case = ElementTree.SubElement(suite, "testcase", classname=escape(name), name=finding["control"])
            if finding["status"] in _ELEMENTS:
                about = {
                    "type": f"{finding['severity']} {finding['status']}",
                    "message": escape(finding["reason"] or ""),
                }
                element = ElementTree.SubElement(case, _ELEMENTS[finding["status"]], about)
                element.text = "\n".join(escape(text) for text in (finding["why"], finding["remedy"]) if text)
        _count(suite)
    _count(suites)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="US-ASCII"?>\n' + ElementTree.tostring(suites).decode("ascii") + "\n"


def _count(element: ElementTree.Element) -> None:
    element.set("tests", str(len(list(element.iter("testcase")))))
    for attribute, tag in _COUNTS.items():
        element.set(attribute, str(len(list(element.iter(tag)))))
