# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report: what is drawn of facts that are there, null, or no facts at all; and hostile text, which stays text."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.bulwark.node.plugins.plugin_utils import report_nat
from ansible_collections.bulwark.node.plugins.plugin_utils.report_drawings import DRAWINGS, draw, glance, size
from ansible_collections.bulwark.node.plugins.plugin_utils.report_html import render
from ansible_collections.bulwark.node.tests.fakes.fleet import changed, compared, fleet, gateways, summed
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.conftest import BROKEN, DOWN, built, node
from ansible_collections.bulwark.node.tests.unit.test_schemas import example

FACTS: dict[str, Any] = example("facts")
MARKUP = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\" onfocus='alert(3)' ]]> {{ 7 * 7 }}"


class Page(HTMLParser):
    """The elements and the text of a page, as a parser that knows no browser's mercy sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, attrs in self.elements)

    def values(self, key: str) -> list[str | None]:
        return [attrs[key] for tag, attrs in self.elements if key in attrs]


def audit(facts: Any = None, **finding: Any) -> dict[str, Any]:
    """A report on one host with these facts and one finding."""
    found = {**fleet(1)["hosts"]["web-01.dc1.example"]["findings"][0], "status": "fail", **finding}
    row = {
        "status": "ok",
        "reason": None,
        "groups": ["web"],
        "pool": "web",
        "facts": facts or FACTS,
        "findings": [found],
    }
    return {"generated": "2026-11-21T02:05:00Z", "compared": None, "hosts": {"a": row}, "summary": summed({"a": row})}


def drawn(facts: dict[str, Any], key: str) -> Any:
    (found,) = [drawing for drawing in draw(facts) if drawing.key == key]
    return found


def put(given: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy that has ``value`` at a path."""
    made = copy.deepcopy(given)
    at: Any = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return made


def replaced(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    return dict(put(FACTS, path, value))


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(item, (*path, key))


def test_all_of_the_documented_facts_are_drawn() -> None:
    assert [(drawing.key, drawing.reason) for drawing in draw(FACTS)] == [(key, None) for key, title, made in DRAWINGS]
    found = {what: text for what, text, tone in glance(FACTS)}
    assert found["System"] == "debian 12 x86_64"
    assert found["Conntrack"] == "18211 of 262144 (6 %)"
    assert found["Reboot"] == "6.1.0-31-amd64 is installed, 6.1.0-28-amd64 is running"


def test_a_pool_is_used_reserved_and_free_parts_of_its_total() -> None:
    pool = {"size": "2M", "size_bytes": 2 << 20, "total": 10, "free": 6, "reserved": 2, "surplus": 1, "overcommit": 4}
    nodes = [{"node": 0, "total": 8, "free": 5, "surplus": 1}, {"node": 1, "total": 2, "free": 1, "surplus": 0}]
    (made,) = drawn(replaced(("hugepages", "pools"), [{**pool, "nodes": nodes}]), "hugepages").data["pools"]
    rows = {row["name"]: row for row in made["rows"]}
    assert {
        name: [row[key] for key in ("used", "reserved", "free", "surplus", "total")] for name, row in rows.items()
    } == {
        "node 0": [3, None, 5, 1, 8],
        "node 1": [1, None, 1, 0, 2],
        "all nodes": [4, 2, 4, 1, 10],
    }
    assert [(part.name, part.x, part.width) for part in rows["all nodes"]["bar"]] == [
        ("used", 0, 40),
        ("reserved", 40, 20),
        ("free", 60, 40),
    ]
    assert rows["all nodes"]["over"] == 10
    assert len(made["squares"]) == 9


def test_what_is_reserved_is_of_the_one_node_where_there_is_one() -> None:
    (row,) = drawn(FACTS, "hugepages").data["pools"][0]["rows"]
    assert (row["name"], row["reserved"]) == ("node 0", 0)


def test_memory_is_what_free_says_and_what_the_kubelet_sees() -> None:
    made = drawn(FACTS, "memory").data
    assert (made["free"]["used"], made["kubelet"]["working_set_bytes"], made["pool"]) == (
        514142208,
        594374656,
        8589934592,
    )
    assert [part.name for part in made["free_bar"]] == ["used", "reclaimable", "unused"]
    assert [part.value for part in made["kubelet_bar"]] == [594374656, 8589934592, 16092205056]
    assert sum(part.width for part in made["kubelet_bar"]) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize(
    ("soft", "hard", "over"),
    [
        (1024, 524288, False),
        (1048576, 1048576, False),
        (1048576, 1048577, True),
        (1024, "unlimited", True),
        (None, None, False),
    ],
)
def test_a_limit_above_the_ceiling_is_marked(soft: Any, hard: Any, over: bool) -> None:
    facts = replaced(("rlimits", "processes", 0, "limits", "nofile"), {"soft": soft, "hard": hard, "source": None})
    row = drawn(facts, "rlimits").data["rows"][0]
    assert (row["soft"], row["hard"], row["over"]) == (soft, hard, over)
    assert all(row[key] is None or 0 <= row[key] <= 100 for key in ("soft_x", "hard_x"))


def test_a_limit_of_no_number_but_unlimited_is_odd() -> None:
    facts = replaced(("rlimits", "processes", 0, "limits", "nofile", "soft"), "infinity")
    found = drawn(facts, "rlimits")
    assert (found.data, found.odd) == (None, True)
    assert found.reason == (
        "the fact rlimits.processes[0].limits.nofile.soft is of type str; expected a whole number from 0 to 2^64 - 1"
    )


@pytest.mark.parametrize(
    ("verdict", "proven", "against", "states"),
    [
        ("ready", ["open", "api", "vm", "vcpu", "real_mode_guest"], "nested", ["proven"] * 5),
        ("unavailable", ["open", "api"], "vm", ["proven", "proven", "stopped", "open", "open"]),
        ("unproven", ["open", "api"], "vm", ["proven", "proven", "open", "open", "open"]),
        ("unavailable", [], "open", ["stopped", "open", "open", "open", "open"]),
        (None, None, "x", ["open"] * 5),
    ],
)
def test_the_ladder_of_kvm_ends_where_something_stopped_it(
    verdict: str | None, proven: Any, against: str, states: list[str]
) -> None:
    facts = replaced(("kvm", "proven"), proven)
    facts["kvm"]["verdict"] = verdict
    facts["kvm"]["reasons"] = [{"source": against, "detail": "why"}]
    assert [step["state"] for step in drawn(facts, "kvm").data["steps"]] == states


def test_of_many_ports_those_that_differ_are_shown() -> None:
    facts = replaced(("bridges", 0, "ports"), [{"name": f"vnet{i}", "mtu": 1500, "kind": "tun"} for i in range(90)])
    facts["bridges"][0]["mismatched"] = ["vnet77"]
    (bridge,) = drawn(facts, "bridges").data
    assert (bridge["ports"][0]["name"], bridge["ports"][0]["wrong"], len(bridge["ports"]), bridge["more"]) == (
        "vnet77",
        True,
        24,
        66,
    )


@pytest.mark.parametrize(
    ("lists", "differs"),
    [
        ([], None),
        (["new_at_boot"], "comes with the next boot"),
        (["lost_at_boot"], "gone after the next boot"),
        (["lost_at_boot", "not_made"], "configured, not in the boot entry"),
    ],
)
def test_an_argument_is_marked_as_the_facts_have_it(lists: list[str], differs: str | None) -> None:
    facts = copy.deepcopy(FACTS)
    for name in ("lost_at_boot", "new_at_boot", "not_made"):
        facts["kernel_args"][name] = ["quiet"] if name in lists else []
    rows = {row["text"]: row["differs"] for row in drawn(facts, "boot").data["rows"]}
    assert rows.pop("quiet") == differs
    assert set(rows.values()) == {None}


def test_states_that_are_not_known_say_why_once() -> None:
    facts = replaced(("kernel_args", "configured"), None)
    facts["kernel_args"].update(
        reason="no loader", configured_reason="not read", next_boot=None, next_boot_reason="not read"
    )
    made = drawn(facts, "boot").data
    assert made["reasons"] == ["no loader", "not read"]
    assert {row["configured"] for row in made["rows"]} == {row["next_boot"] for row in made["rows"]} == {None}


def test_an_argument_that_is_given_twice_has_two_rows() -> None:
    twice = ["hugepagesz=1G", "hugepages=8", "hugepagesz=2M", "hugepages=8"]
    facts = replaced(("kernel_args", "next_boot"), twice)
    facts["kernel_args"]["running"] = twice
    rows = drawn(facts, "boot").data["rows"]
    assert [row["text"] for row in rows].count("hugepages=8") == 2


@pytest.mark.parametrize(
    ("now", "next_boot", "differs"), [(8, 8, False), (6, 8, True), (8, 4, True), (8, 0, True), (8, None, False)]
)
def test_pools_are_compared_with_what_this_boot_asked_and_the_next_one_makes(
    now: int, next_boot: int | None, differs: bool
) -> None:
    facts = replaced(("hugepages", "pools", 0, "total"), now)
    facts["hugepages"]["next_boot"][0]["total"] = next_boot
    (row,) = drawn(facts, "boot").data["pools"]
    assert (row["configured"], row["asked"], row["now"], row["next_boot"], row["differs"]) == (
        "8",
        "8",
        now,
        next_boot,
        differs,
    )


def test_a_device_without_a_numa_node_is_drawn_apart() -> None:
    facts = replaced(("pci", "devices", 0, "numa_node"), -1)
    assert [node["node"] for node in drawn(facts, "pci").data["nodes"]] == [None]


@pytest.mark.parametrize(
    "subset", ["memory", "hugepages", "kernel_args", "kvm", "bridges", "rlimits", "image_fs", "pci"]
)
def test_a_subset_that_is_null_or_missing_costs_its_drawing_and_says_why(subset: str) -> None:
    null = replaced((subset,), None)
    null["errors"] = [{"subset": subset, "reason": "EACCES"}]
    absent = {key: value for key, value in FACTS.items() if key != subset}
    for facts, reason in (
        (null, "not known: EACCES"),
        (absent, "not gathered"),
        ({**null, "errors": None}, "not known"),
    ):
        assert [drawing.reason for drawing in draw(facts) if drawing.data is None] == [reason]


ODD: tuple[Any, ...] = (None, True, "text", -1, 1 << 70, 1.5, [], [None], ["x"], {}, {"a": 1})


@pytest.mark.parametrize("value", ODD)
def test_whatever_one_fact_is_the_other_facts_are_drawn(value: Any) -> None:
    for path in paths(FACTS):
        facts = replaced(path, value)
        made = draw(facts)
        assert len([drawing for drawing in made if drawing.data is not None]) >= len(DRAWINGS) - 3, path
        assert all((drawing.data is None) == (drawing.reason is not None) for drawing in made)
        glance(facts)


def test_whatever_one_fact_is_the_page_is_made_and_the_other_hosts_are_whole() -> None:
    row = audit()["hosts"]["a"]
    rows = {
        ".".join(map(str, path)): {**row, "facts": replaced(path, ODD[number % len(ODD)]), "findings": []}
        for number, path in enumerate(paths(FACTS))
        if path[0] not in ("sysctls", "schema", "gathered_at")
    }
    hosts = {**rows, **audit()["hosts"]}
    page = Page(render({"generated": "now", "hosts": hosts, "summary": summed(hosts)}))
    assert len(rows) > 500
    assert sum("host" in (each or "").split() for each in page.values("class")) == len(hosts)
    left_out = [sum(each.data is None for each in draw(row["facts"])) for row in hosts.values()]
    assert left_out.count(0) > 300
    assert len(page.values("data-left-out")) == sum(left_out)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (("pci", "devices"), "the fact pci.devices has 5000 rows; expected at most 4096"),
        (("kernel_args", "running"), "the fact kernel_args.running has 5000 entries; expected at most 4096"),
    ],
)
def test_more_than_any_machine_has_is_not_drawn(path: tuple[str, str], reason: str) -> None:
    facts = replaced(path, [FACTS[path[0]][path[1]][0]] * 5000)
    assert [drawing.reason for drawing in draw(facts) if drawing.odd] == [reason]


def test_a_drawing_of_odd_facts_is_left_out_with_the_reason() -> None:
    page = render(audit(replaced(("hugepages", "pools", 0, "total"), "many")))
    assert (
        "Hugepage pools is not drawn: the fact hugepages.pools[0].total is of type str; expected a whole number" in page
    )
    assert 'data-drawing="memory"' in page


@pytest.mark.parametrize("number", [0, 1, 3, 40])
def test_a_page_is_made_of_any_number_of_hosts(number: int) -> None:
    made = fleet(number)
    for report in (made, compared(made), changed(made)):
        assert sum("host" in (each or "").split() for each in Page(render(report)).values("class")) == number


def test_hosts_that_could_not_be_audited_are_there_with_the_reason() -> None:
    page = render(built(a=DOWN, b=BROKEN, c=node(thp="always")))
    assert "Connection refused" in page
    assert "python: not found" in page
    assert "<h1>1 of 3 hosts" in page or "can be better, 2 could not be audited" in page


@pytest.mark.parametrize(
    ("severity", "status", "headline"),
    [
        ("critical", "fail", "a needs attention"),
        ("low", "fail", "Nothing urgent; a can be better"),
        ("high", "pass", "Nothing fails on a"),
        ("high", "unknown", "Nothing is known to fail, 1 control unknown, on a"),
    ],
)
def test_the_headline_says_what_matters(severity: str, status: str, headline: str) -> None:
    assert f"<h1>{headline}</h1>" in render(audit(severity=severity, status=status))


def test_a_gateway_that_is_too_small_stands_before_all_that_is_well() -> None:
    def heading(given: list[dict[str, Any]]) -> str:
        page = render({**audit(status="pass"), "cloud_nat": given})
        return page.partition("<h1>")[2].partition("</h1>")[0]

    short, *others = gateways()
    well = heading(others)
    assert well.startswith("Nothing")
    assert heading([*others, short]) == f"Cloud NAT a-nat is too small; {well}"
    assert heading([short, short]) == f"2 Cloud NAT gateways are too small; {well}"
    assert heading([{**short, "applied": True}]) == well


def test_what_a_finding_needs_is_there_and_what_passes_says_nothing() -> None:
    failed = Page(render(audit(status="fail", why="the cause", remedy="the cure", playbook="- one:\n    two: 3\n")))
    text = "".join(failed.texts)
    assert "the cause" in text
    assert "the cure" in text
    assert "- one:\n    two: 3\n" in text
    passed = Page(render(audit(status="pass", why="the cause", remedy="the cure")))
    assert failed.values("data-t") == ["fail"]
    assert passed.values("data-t") == []
    assert "the cure" not in "".join(passed.texts)


@pytest.mark.parametrize(
    ("reference", "link"),
    [
        ("https://docs.kernel.org/x", True),
        ("http://docs.kernel.org/x", False),
        ("javascript:alert(1)", False),
        ("https:javascript", False),
        ("https://a b", False),
        ("https://a\u202e.example", False),
        ("https://[::1", False),
        ('https://a/"><script>', False),
        (7, False),
    ],
)
def test_only_https_becomes_a_link(reference: Any, link: bool) -> None:
    page = Page(render(audit(references=[reference])))
    links = [attrs for tag, attrs in page.elements if tag == "a" and not (attrs["href"] or "").startswith("#")]
    assert [attrs["rel"] for attrs in links] == ["noreferrer"] * link


def everywhere(value: Any, made: Callable[[str], str]) -> Any:
    """A copy in which each text, but for the words that the report's own code writes, is another."""
    if isinstance(value, dict):
        kept = ("status", "severity", "before", "after")
        return {key: item if key in kept else everywhere(item, made) for key, item in value.items()}
    if isinstance(value, list):
        return [everywhere(item, made) for item in value]
    return made(value) if isinstance(value, str) else value


@pytest.mark.parametrize("value", [None, True, "x", [None], {}, [{}]])
def test_a_gateway_of_another_shape_costs_what_is_of_it_alone(value: Any) -> None:
    whole = gateways()[:1]
    for path in paths(whole):
        assert len(report_nat.lines(put(whole, path, value))) == (0 if path == (0,) and value not in ({},) else 1)
    assert render({**audit(), "cloud_nat": put(whole, (0, "plan", "now"), value)}).count('class="gateway"') == len(
        whole
    )


def test_markup_stays_text_wherever_it_is() -> None:
    report = changed(compared(fleet(4)))
    hosts = {f"{name}{MARKUP}": everywhere(row, lambda text: text + MARKUP) for name, row in report["hosts"].items()}
    report["cloud_nat"] = gateways()
    others = {key: everywhere(report[key], lambda text: text + MARKUP) for key in ("compared", "cloud_nat")}
    hostile = {**report, "hosts": hosts, **others}
    page = Page(render(hostile))
    assert (page.count("script"), page.count("style"), page.count("img")) == (1, 1, 0)
    assert {key for tag, attrs in page.elements for key in attrs if key.startswith("on") or key == "style"} == set()
    assert {tag for tag, attrs in page.elements} == {tag for tag, attrs in Page(render(report)).elements}
    assert "49" not in "".join(re.findall(r"\]\]> (\S+)", render(hostile)))
    assert page.texts.count(MARKUP) == 0
    assert any(MARKUP in text for text in page.texts)


@pytest.mark.parametrize("text", ["\u202egnp.exe", "a\x00b", "a\x1b[31m", "\ud800", "a\u200bb", "a\nb"])
def test_what_nobody_would_see_is_shown(text: str) -> None:
    page = render(audit(reason=text))
    page.encode()
    shown = text.encode("unicode_escape").decode()
    assert shown in page
    assert text not in page.replace("\n", "")


def test_what_is_huge_is_cut() -> None:
    report = audit(evidence={"a": "x" * 10**6, "b": 10**5000, "c": [["y" * 10**6]], "d": [{"k": "z" * 10**6}] * 99})
    report["hosts"]["n" * 10**6] = {**report["hosts"].pop("a"), "groups": ["g" * 10**6]}
    page = render(report)
    assert len(page) < 200_000
    assert "(998000 more characters)" in page
    assert "a number of 16610 bits" in page
    assert "and 87 more" in page


@pytest.mark.parametrize(
    "evidence",
    [
        None,
        {},
        [],
        "text",
        {"a": None},
        {"a": []},
        {"a": {}},
        {"a": [{}]},
        {"a": [None, {"b": [1]}]},
        {"a": {"b": {"c": [1, None]}}},
    ],
)
def test_evidence_may_be_anything(evidence: Any) -> None:
    assert render(audit(evidence=evidence))


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("swap_bytes", 2147479552, "2.0 GiB (2147479552)"),
        ("pages", 2147479552, "2147479552"),
        ("restart_needed", True, "true"),
        ("size", None, "unknown"),
        ("paths", ["/a", "/b"], "/a, /b"),
        ("nested", {"a": [1]}, '{"a": [1]}'),
    ],
)
def test_evidence_is_a_row_per_name(key: str, value: Any, shown: str) -> None:
    page = Page(render(audit(evidence={key: value})))
    at = page.texts.index(key)
    assert next(text for text in page.texts[at + 1 :] if text.strip()) == shown


def test_the_policy_names_the_one_style_and_the_one_script_and_nothing_else() -> None:
    page = render(fleet(2))
    (policy,) = [attrs["content"] or "" for tag, attrs in Page(page).elements if "http-equiv" in attrs]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    hashes = {}
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes[tag] = f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert rules == {
        "default-src": "'none'",
        "style-src": hashes["style"],
        "script-src": hashes["script"],
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }


def test_the_page_asks_the_network_for_nothing() -> None:
    page = Page(render(fleet(5)))
    assert page.values("src") == []
    assert {tag for tag, attrs in page.elements} & {"link", "img", "iframe", "object", "embed", "base", "form"} == set()
    assert "url(" not in render(fleet(1))
    assert "@import" not in render(fleet(1))


def test_hosts_of_a_run_show_what_came_of_it() -> None:
    text = " ".join("".join(Page(render(changed(fleet(8)))).texts).split())
    assert "4608 of 2M" in text
    assert "asked for 1024, got 612" in text
    assert "the hugepages module changed a pool after the kubelet started" in text
    assert "reboot needed" in text


def test_anchors_are_unique_and_each_link_has_its_end() -> None:
    names = ["a", "odd-1", "a b", "a\u00e9", "A", "host-a", "a--kubelet-swap-off"]
    rows = list(fleet(20)["hosts"].values())
    hosts = {name: rows[number] for number, name in enumerate(names)}
    page = Page(render({"generated": "now", "hosts": hosts, "summary": summed(hosts)}))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {(href or "")[1:] for href in page.values("href") if (href or "").startswith("#")} <= set(ids)


def test_the_same_report_gives_the_same_page() -> None:
    assert render(fleet(9)) == render(json.loads(json.dumps(fleet(9))))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "unknown"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 << 40, "3.0 TiB"),
        ((1 << 64) - 1, "16.0 EiB"),
    ],
)
def test_sizes_for_people(number: int | None, text: str) -> None:
    assert size(number) == text
