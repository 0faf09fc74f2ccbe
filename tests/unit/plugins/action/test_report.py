# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin on a stand-in for Ansible's task: what it returns, prints and writes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError

from ansible_collections.bulwark.node.plugins.action import report
from ansible_collections.bulwark.node.plugins.modules import report as documented
from ansible_collections.bulwark.node.tests.fakes.fleet import gateways
from ansible_collections.bulwark.node.tests.unit.plugins.plugin_utils.conftest import FIVE

OK = {"ansible_facts": {"bulwark": {"schema": 1, "errors": [], "hugepages": None, "transparent_hugepages": None}}}
OTHER = Path(FIVE).with_name("other.yml")
DOWN = {"unreachable": True, "msg": "Connection refused"}
BROKEN = {"failed": True, "msg": "no python"}


class Screen:
    """What the action shows, with its colours."""

    columns = 79

    def __init__(self) -> None:
        self.lines: list[tuple[str, str | None]] = []
        self.warnings: list[str] = []

    def warning(self, msg: str) -> None:
        self.warnings.append(msg)

    def display(self, msg: str, color: str | None = None) -> None:
        self.lines.append((msg, color))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    made = Screen()
    monkeypatch.setattr(report, "display", made)
    monkeypatch.setattr(report, "AUTO", FIVE)
    monkeypatch.delenv("COLUMNS", raising=False)
    return made


def run(
    check: bool = False, batch: list[str] | None = None, play: dict[str, Any] | None = None, **args: Any
) -> dict[str, Any]:
    task: Any = SimpleNamespace(args=args, async_val=0, check_mode=check, action="bulwark.node.report")
    connection: Any = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    unused: Any = None
    action: Any = report.ActionModule(task, connection, unused, unused, unused, unused)
    # As the plugin loader does.
    action._load_name = "bulwark.node.report"
    given = play or {}
    result: dict[str, Any] = action.run(None, given if batch is None else {**given, "ansible_play_batch": batch})
    return result


def test_a_report_is_written_and_summed_up(tmp_path: Path, screen: Screen) -> None:
    result = run(results={"a": OK}, dir=str(tmp_path / "out"))
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert result == {
        "changed": True,
        "path": str(tmp_path / "out" / "report.json"),
        "summary": written["summary"],
        "hosts_unreachable": [],
        "hosts_failed": [],
        "hosts_failing": [],
        "compared": None,
    }
    assert set(written) == {"schema", "generated", "hosts", "summary", "compared", "cloud_nat"}
    assert "<testsuites" in (tmp_path / "out" / "junit.xml").read_text()
    assert screen.lines[0][0].startswith("HOST")
    assert screen.lines[-1] == (f"Report: {tmp_path}/out/report.html", None)


def test_gateways_are_written_and_shown(tmp_path: Path, screen: Screen) -> None:
    given = gateways()
    assert run(results={"a": OK}, dir=str(tmp_path), cloud_nat=given)["changed"] is True
    assert json.loads((tmp_path / "report.json").read_text())["cloud_nat"] == given
    assert ("CLOUD NAT", None) in screen.lines
    text = " ".join(line.strip() for line, _colour in screen.lines)
    assert "a-nat (a-router, europe-west3, a-project): short. Ports per VM: 1024, needed 3875" in text
    assert "Cloud NAT: 1 short, 1 tight, 1 enough, 1 unknown" in text


@pytest.mark.parametrize("given", [{}, {"gateway": {}}, {"gateway": {}, "load": 3}])
def test_what_is_no_gateway_is_refused(given: Any, tmp_path: Path, screen: Screen) -> None:
    result = run(results={"a": OK}, dir=str(tmp_path), cloud_nat=[given])
    assert result["failed"] is True
    assert result["msg"].startswith("report: cloud_nat[0]: has no gateway and no load; expected cloud_nat_result")


def test_unreachable_and_failed_hosts_fail_the_task_after_the_report_is_written(tmp_path: Path, screen: Screen) -> None:
    result = run(results={"a": OK, "b": DOWN, "c": BROKEN, "d": {}}, dir=str(tmp_path))
    assert result["failed"] is True
    assert result["msg"] == "3 of 4 hosts could not be audited; unreachable: b; no facts from: c, d"
    assert (result["hosts_unreachable"], result["hosts_failed"]) == (["b"], ["c", "d"])
    assert list(json.loads((tmp_path / "report.json").read_text())["hosts"]) == ["a", "b", "c", "d"]
    assert "unreachable" not in result


@pytest.mark.parametrize(("result", "what"), [(DOWN, "unreachable: b"), (BROKEN, "no facts from: b")])
def test_one_such_host_is_enough(result: dict[str, Any], what: str, tmp_path: Path, screen: Screen) -> None:
    assert run(results={"a": OK, "b": result}, dir=str(tmp_path))["msg"] == f"1 of 2 hosts could not be audited; {what}"


def test_the_message_names_some_of_many_hosts(tmp_path: Path, screen: Screen) -> None:
    result = run(results={f"n{i:02}": DOWN for i in range(12)}, dir=str(tmp_path))
    assert result["msg"].endswith("unreachable: n00, n01, n02, n03, n04, n05, n06, n07, n08, n09 and 2 more")
    assert len(result["hosts_unreachable"]) == 12


def test_check_mode_judges_and_writes_nothing(tmp_path: Path, screen: Screen) -> None:
    result = run(check=True, results={"a": OK, "b": DOWN}, dir=str(tmp_path / "out"))
    assert result["changed"] is True
    assert result["failed"] is True
    assert not (tmp_path / "out").exists()
    assert any("unreachable" in line[0] for line in screen.lines)
    assert not any("Report:" in line[0] for line in screen.lines)


def test_a_relative_folder_starts_at_the_current_one(
    tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(results={"a": OK}, dir="bulwark-report")["path"] == str(tmp_path / "bulwark-report" / "report.json")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"results": {}}, "report: results: is empty; expected a dictionary of at least one host's name"),
        ({"results": {"a": 1}}, "report: results: 'a' is no dictionary; expected the registered result of node_facts"),
        ({"results": {1: OK}}, "report: results: has the key 1; expected the name of a host"),
        ({"results": {"": OK}}, "report: results: has the key ''; expected the name of a host"),
        ({"dir": ""}, "report: dir: is empty; expected a folder on the controller"),
        (
            {"dir": "/dev/null"},
            "report: dir: /dev/null is no folder; expected a folder, or a path where one can be made",
        ),
        (
            {"dir": "/dev/null/x"},
            "report: dir: cannot write /dev/null/x/junit.xml: Not a directory; expected a folder",
        ),
    ],
)
def test_bad_options_are_named_with_what_is_expected(
    args: dict[str, Any], message: str, tmp_path: Path, screen: Screen
) -> None:
    result = run(**{"results": {"a": OK}, "dir": str(tmp_path), **args})
    assert result["failed"] is True
    assert message in result["msg"]
    assert "path" not in result


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"results": {"a": OK}}, "missing required arguments: dir"),
        ({"dir": "x"}, "one of the following is required: results, registered"),
        ({"results": "x", "dir": "x"}, "'results' is of type"),
        ({"results": {"a": OK}, "dir": "x", "other": 1}, "other"),
    ],
)
def test_what_the_options_do_not_allow_is_refused(args: dict[str, Any], message: str, screen: Screen) -> None:
    with pytest.raises(AnsibleError, match=message):
        run(**args)


def _tag_text() -> Any:
    """What makes the string type by which the installed ansible-core remembers where a text came from."""
    template = importlib.import_module("ansible.template")
    if hasattr(template, "trust_as_template"):
        return template.trust_as_template
    return importlib.import_module("ansible.utils.unsafe_proxy").AnsibleUnsafeText


def _tag(value: Any) -> Any:
    if isinstance(value, dict):
        return {_tag(key): _tag(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tag(item) for item in value]
    return _tag_text()(value) if isinstance(value, str) else value


def _types(value: Any) -> set[type]:
    children = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return {type(value)}.union(*map(_types, children))


def test_tags_of_ansible_do_not_reach_the_report(
    tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []

    def dumps(made: Any) -> str:
        written.append(made)
        return "{}"

    monkeypatch.setitem(report._FILES, "report.json", dumps)
    result = run(results=_tag({"a": OK, "b": DOWN}), dir=_tag(str(tmp_path)))
    plain = {dict, list, str, int, float, bool, type(None)}
    assert not _types(_tag({"a": OK})) <= plain
    assert _types(written[0]) <= plain
    assert _types(result) <= plain


@pytest.mark.parametrize(
    ("columns", "beside"), [("132", True), ("60", False), ("many", False), ("\u0663\u0663\u0663", False), ("", False)]
)
def test_the_table_is_as_wide_as_columns_says(
    columns: str, beside: bool, tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    run(results={"a": OK}, dir=str(tmp_path))
    assert screen.lines[0][0].endswith("WHY") == beside


def test_rows_have_colours_that_the_display_knows(tmp_path: Path, screen: Screen) -> None:
    run(results={"a": DOWN, "b": BROKEN, "c": OK}, dir=str(tmp_path))
    colours = {text.split()[0]: colour for text, colour in screen.lines if text[:3] in ("a  ", "b  ", "c  ")}
    assert colours == {"a": constants.COLOR_UNREACHABLE, "b": constants.COLOR_ERROR, "c": constants.COLOR_WARN}


def test_options_and_returned_keys_are_those_of_the_documentation(tmp_path: Path, screen: Screen) -> None:
    def spec(options: dict[str, Any]) -> dict[str, Any]:
        keys = ("type", "elements", "required", "default", "choices")
        return {
            name: {
                **{key: option[key] for key in keys if key in option},
                **({"options": spec(option["suboptions"])} if "suboptions" in option else {}),
            }
            for name, option in options.items()
        }

    assert spec(yaml.safe_load(documented.DOCUMENTATION)["options"]) == report.ARGUMENT_SPEC
    returned = yaml.safe_load(documented.RETURN)
    result = run(results={"a": OK, "b": DOWN}, before={"a": OK, "b": OK}, outcomes={"a": SAME}, dir=str(tmp_path))
    assert set(returned["summary"]["contains"]) == set(result["summary"])
    audit = run(results={"a": OK, "b": DOWN}, dir=str(tmp_path))
    only_with_before = {name for name, about in returned.items() if about["returned"] == "when O(before) is given"}
    without_it = {name for name, about in returned.items() if about["returned"] == "when O(before) is not given"}
    assert set(returned) - without_it == set(result) - {"changed", "failed", "msg"}
    assert set(returned) - only_with_before == set(audit) - {"changed", "failed", "msg"}
    assert set(returned["summary"]["contains"]["findings"]["contains"]) == set(result["summary"]["findings"])


def test_each_host_is_judged_by_what_it_is_given(tmp_path: Path, screen: Screen) -> None:
    thp = {"enabled": "always", "defrag": "always"}
    bad = {"ansible_facts": {"bulwark": {"schema": 1, "transparent_hugepages": thp}}}
    waiver = {"control": "thp-direct-compaction", "reason": "until the new kernel", "expires": "9999-12-31"}
    args: dict[str, Any] = {
        "results": {"a": bad, "b": bad, "c": bad},
        "dir": str(tmp_path),
        "hosts": {"a": {"groups": ["web"]}, "b": {"waivers": [waiver]}, "c": {"baselines": [str(OTHER)]}},
    }
    result = run(**args)
    assert "failed" not in result
    result = run(**args, fail_on="medium")
    assert result["failed"] is True
    assert result["msg"] == "1 of 3 hosts have findings of severity medium or worse: a (thp-direct-compaction)"
    assert result["hosts_failing"] == ["a"]
    assert "failed" not in run(**args, fail_on="high")
    written = json.loads((tmp_path / "report.json").read_text())["hosts"]
    assert (written["a"]["groups"], written["a"]["pool"]) == (["web"], "web")
    assert [finding["control"] for finding in written["c"]["findings"]] == ["other"]
    (borne,) = [each for each in written["b"]["findings"] if each["status"] == "waived"]
    assert borne["waiver"] == {"reason": "until the new kernel", "expires": "9999-12-31"}


def test_a_typo_of_one_host_costs_no_other_its_report(tmp_path: Path, screen: Screen) -> None:
    nobody = {"control": "thp-direct-compaction", "reason": "x", "expires": "9999-12-31", "hosts": ["nobody"]}
    args: dict[str, Any] = {"a": {"params": {"x": 1}}, "b": {"waivers": [nobody]}}
    result = run(results={"a": OK, "b": OK}, dir=str(tmp_path), hosts=args)
    assert result["msg"] == "1 of 2 hosts could not be audited; no facts from: a"
    written = json.loads((tmp_path / "report.json").read_text())["hosts"]
    assert (written["a"]["reason"], written["b"]["status"]) == ("params: has 'x', which no baseline has", "ok")
    assert screen.warnings == [
        "waivers: nobody of this run is, or is in, what a waiver names: thp-direct-compaction: nobody"
    ]


def test_what_cannot_be_judged_for_an_error_fails_the_run_too(tmp_path: Path, screen: Screen) -> None:
    facts = {"schema": 1, "hugepages": {"pools": [{"unclaimed": "x"}]}}
    result = run(results={"a": {"ansible_facts": {"bulwark": facts}}}, dir=str(tmp_path), fail_on="low")
    assert result["hosts_failing"] == ["a"]


def test_an_older_report_is_compared(tmp_path: Path, screen: Screen) -> None:
    def node(thp: str) -> dict[str, Any]:
        return {"ansible_facts": {"bulwark": {"schema": 1, "transparent_hugepages": {"enabled": thp, "defrag": thp}}}}

    run(results={"a": node("always"), "b": node("madvise"), "old": DOWN}, dir=str(tmp_path / "old"))
    older = str(tmp_path / "old" / "report.json")
    results = {"a": node("madvise"), "b": node("always"), "new": node("madvise")}
    result = run(results=results, dir=str(tmp_path), compare=older)
    found = result["compared"]
    told = {
        key: [(entry["host"], entry["control"], entry["before"]) for entry in found[key]] for key in ("worse", "fixed")
    }
    control = "thp-direct-compaction"
    assert told == {"worse": [("b", control, "pass")], "fixed": [("a", control, "fail")]}
    assert (found["new"], found["gone"], found["path"]) == (["new"], ["old"], older)
    assert json.loads((tmp_path / "report.json").read_text())["compared"] == found
    assert any("worse" in line and control in line for line, _colour in screen.lines)
    assert screen.lines[-2][0].endswith("1 worse, 1 fixed")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"hosts": {"a": {"baselines": ["common", "nothing"]}}},
            "a: baselines: has 'nothing'; expected auto, one of common",
        ),
        ({"hosts": {"a": {"baselines": "common"}}}, "a: baselines: is 'common'; expected a list"),
        (
            {"hosts": {"a": {"baselines": ["/nowhere.yml"]}}},
            "a: /nowhere.yml: cannot be read: No such file or directory",
        ),
        ({"hosts": {"a": {"params": {"x": 1}}}}, "a: params: has 'x', which no baseline has"),
        ({"hosts": {"a": {"waivers": [{"control": "x"}]}}}, "a: waivers[0]: is {'control': 'x'}; expected control"),
        ({"hosts": {"a": {"wavers": []}}}, "a: hosts: has {'wavers': []}; expected some of baselines, groups, params"),
        (
            {"compare": "/nowhere.json"},
            "compare: cannot read /nowhere.json: No such file or directory; expected an older",
        ),
        ({"compare": __file__}, "is no JSON; expected an older report.json"),
        ({"compare": str(Path(__file__).parents[3] / "trees" / "none.json")}, "compare: cannot read"),
    ],
)
def test_what_hosts_are_judged_by_is_checked_before_anything_is_written(
    args: dict[str, Any], message: str, tmp_path: Path, screen: Screen
) -> None:
    result = run(results={"a": OK}, dir=str(tmp_path / "out"), **args)
    assert result["failed"] is True
    assert message in result["msg"]
    assert not (tmp_path / "out").exists()


# A run that changes hosts

SAME = {"changed": False, "domains": {}}
CHANGED = {"changed": True, "domains": {"kvm": {"changed": True, "changes": [{"kind": "file", "target": "/etc/x"}]}}}
REFUSED = {"failed": True, "msg": "settings: kvm: no\x1b[31m"}


def test_hosts_that_are_being_changed_are_written_down_and_not_shown(tmp_path: Path, screen: Screen) -> None:
    result = run(
        results={"a": {}, "b": {}, "c": {}, "d": OK},
        before={"a": OK, "b": DOWN, "d": OK},
        outcomes={"d": SAME},
        ended=False,
        dir=str(tmp_path),
        batch=["a", "b"],
    )
    assert "failed" not in result
    assert (result["hosts_begun"], result["hosts_unreachable"], result["hosts_not_begun"]) == (["a"], ["b"], ["c"])
    hosts = json.loads((tmp_path / "report.json").read_text())["hosts"]
    assert {name: host["outcome"]["status"] for name, host in hosts.items()} == {
        "a": "begun",
        "b": "unreachable",
        "c": "not_begun",
        "d": "unchanged",
    }
    assert [line[0] for line in screen.lines] == [f"Report: {tmp_path}/report.json"]


@pytest.mark.parametrize(
    ("done", "after", "message"),
    [
        (
            {"a": REFUSED},
            {"a": OK},
            r"1 of 2 hosts are not as they should be; failed: a (settings: kvm: no\x1b[31m); not begun: b",
        ),
        (
            {"a": SAME},
            {"a": DOWN},
            "1 of 2 hosts are not as they should be; worse: a (its facts can no longer be read: Connection refused); not begun: b",
        ),
        ({"a": SAME}, {"a": OK}, None),
    ],
    ids=["failed", "worse", "well"],
)
def test_a_host_that_is_not_as_it_should_be_fails_the_run_and_those_after_it_are_named(
    done: dict[str, Any], after: dict[str, Any], message: str | None, tmp_path: Path, screen: Screen
) -> None:
    result = run(results={**after, "b": {}}, before={"a": OK}, outcomes=done, dir=str(tmp_path), batch=["a"])
    assert result.get("failed", False) is (message is not None)
    assert result.get("msg") == message
    assert result["hosts_not_begun"] == ["b"]


def test_each_batch_is_shown_once_and_all_at_the_end(tmp_path: Path, screen: Screen) -> None:
    def shown() -> set[str]:
        found = {line[0].split()[0] for line in screen.lines if " changed " in line[0] and not line[0].startswith("2 ")}
        screen.lines.clear()
        return found

    given: dict[str, Any] = {"dir": str(tmp_path)}
    run(results={"a": OK, "b": {}}, before={"a": OK}, outcomes={"a": CHANGED}, batch=["a"], **given)
    assert shown() == {"a"}
    run(
        results={"a": OK, "b": OK, "c": {}},
        before={"a": OK, "b": OK},
        outcomes={"a": CHANGED, "b": CHANGED},
        batch=["b"],
        **given,
    )
    assert shown() == {"b"}
    run(
        results={"a": OK, "b": OK},
        before={"a": OK, "b": OK},
        outcomes={"a": CHANGED, "b": CHANGED},
        batch=["b"],
        **given,
    )
    assert shown() == {"a", "b"}


class Play:
    """Hosts that have variables, and who was asked for them."""

    def __init__(self, *hosts: str) -> None:
        self.hosts: dict[str, dict[str, Any]] = {host: {} for host in hosts}
        self.asked: list[str] = []

    def raw_get(self, host: str) -> dict[str, Any]:
        self.asked.append(host)
        return self.hosts[host]

    def give(self, **variables: dict[str, Any]) -> None:
        for name, values in variables.items():
            for host, value in values.items():
                self.hosts[host][name] = value

    def run(self, batch: list[str], **args: Any) -> dict[str, Any]:
        self.asked.clear()
        play = {"hostvars": self, "ansible_play_hosts_all": list(self.hosts)}
        names = {option: option[0] for option in ("before", "outcomes", "results", "hosts", "accept_worse")}
        return run(batch=batch, play=play, registered=names, **args)

    def harden(self, batch: list[str], folder: Path, done: Any = None, after: Any = None) -> dict[str, Any]:
        """A batch from its beginning to its end."""
        self.give(b=dict.fromkeys(batch, OK))
        begun = self.run(batch, ended=False, dir=str(folder))
        assert (begun["hosts_begun"], "failed" in begun) == (batch, False)
        self.give(o=dict.fromkeys(batch, done or SAME), r=dict.fromkeys(batch, after or OK))
        return self.run(batch, dir=str(folder))


def statuses(folder: Path) -> dict[str, str]:
    hosts = json.loads((folder / "report.json").read_text())["hosts"]
    return {name: host["outcome"]["status"] for name, host in hosts.items()}


def test_what_hosts_registered_is_what_else_is_given_by_value(tmp_path: Path, screen: Screen) -> None:
    play = Play("a", "b", "c")
    # Since core 2.19 a result that was registered has errors and warnings in types of its own.
    of_core = {"exception": object(), "warnings": [object()], "deprecations": [object()]}
    play.give(r={"a": OK, "b": {**DOWN, **of_core}}, h={"a": {"pool": "p", "groups": ["g"]}})
    task_vars = {"hostvars": play, "ansible_play_hosts_all": ["a", "b", "c"]}
    by_name = run(
        play=task_vars,
        batch=["a", "b", "c"],
        registered={"results": "r", "hosts": "h"},
        dir=str(tmp_path / "name"),
    )
    by_value = run(
        results={"a": OK, "b": DOWN, "c": {}},
        hosts={"a": {"pool": "p", "groups": ["g"]}},
        dir=str(tmp_path / "value"),
    )
    assert {**by_name, "path": ""} == {**by_value, "path": ""}
    made, other = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("name", "value"))
    assert {**made, "generated": ""} == {**other, "generated": ""}


def test_a_batch_asks_its_own_hosts_alone_and_the_report_has_all(tmp_path: Path, screen: Screen) -> None:
    play = Play("a", "b", "c", "d")
    assert play.harden(["a"], tmp_path, CHANGED)["hosts_not_begun"] == ["b", "c", "d"]
    assert statuses(tmp_path) == {"a": "changed", "b": "not_begun", "c": "not_begun", "d": "not_begun"}
    # It would not be the same again.
    play.give(o={"a": REFUSED})
    play.harden(["b", "c"], tmp_path)
    assert set(play.asked) == {"b", "c"}
    assert statuses(tmp_path) == {"a": "changed", "b": "unchanged", "c": "unchanged", "d": "not_begun"}
    assert not (tmp_path / "report.html").exists()
    last = play.harden(["d"], tmp_path)
    assert (last["hosts_changed"], last["hosts_unchanged"]) == (["a"], ["b", "c", "d"])
    assert all(f'id="host-{name}"' in (tmp_path / "report.html").read_text() for name in "abcd")
    assert all(f'name="{name}"' in (tmp_path / "junit.xml").read_text() for name in "abcd")


def test_the_report_of_batches_is_that_of_all_hosts_at_once(tmp_path: Path, screen: Screen) -> None:
    def facts(kernel: str) -> dict[str, Any]:
        return {"ansible_facts": {"bulwark": {**OK["ansible_facts"]["bulwark"], "host": {"kernel_release": kernel}}}}

    kernels = {"a": facts("6.1"), "b": facts("6.1"), "c": facts("5.4")}
    named = {name: {"baselines": ["common"], "pool": "p"} for name in kernels}
    for folder, batches in (("batches", [["a"], ["b"], ["c"]]), ("once", [["a", "b", "c"]])):
        play = Play(*kernels)
        for batch in batches:
            play.give(h={name: named[name] for name in batch}, b={name: kernels[name] for name in batch})
            play.run(batch, ended=False, dir=str(tmp_path / folder))
            play.give(o=dict.fromkeys(batch, SAME), r={name: kernels[name] for name in batch})
            play.run(batch, dir=str(tmp_path / folder))
    made, other = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("batches", "once"))
    assert {**made, "generated": ""} == {**other, "generated": ""}
    assert {
        name: finding["status"]
        for name, row in made["hosts"].items()
        for finding in row["findings"]
        if finding["control"] == "fleet-kernel"
    } == {"a": "pass", "b": "pass", "c": "fail"}


@pytest.mark.parametrize("text", [None, "no JSON", "[]", '{"schema": 1, "hosts": {"a": {"outcome": {"status": "?"}}}}'])
def test_what_the_file_no_longer_tells_is_judged_again(text: str | None, tmp_path: Path, screen: Screen) -> None:
    play = Play("a", "b")
    play.harden(["a"], tmp_path, CHANGED)
    (tmp_path / "report.json").unlink()
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    play.harden(["b"], tmp_path)
    assert statuses(tmp_path) == {"a": "changed", "b": "unchanged"}


def test_a_host_that_the_file_has_as_begun_is_judged_again(tmp_path: Path, screen: Screen) -> None:
    play = Play("a", "b")
    play.give(b={"a": OK})
    play.run(["a"], ended=False, dir=str(tmp_path))
    play.give(o={"a": CHANGED}, r={"a": OK})
    play.harden(["b"], tmp_path)
    assert statuses(tmp_path) == {"a": "changed", "b": "unchanged"}


def test_a_run_begins_without_the_files_of_the_last_one(tmp_path: Path, screen: Screen) -> None:
    Play("a").harden(["a"], tmp_path)
    play = Play("a", "b")
    play.give(b={"a": OK})
    play.run(["a"], ended=False, dir=str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json"]
    assert statuses(tmp_path) == {"a": "begun", "b": "not_begun"}


def test_a_run_that_stops_early_has_all_files_and_names_the_hosts_that_are_left(tmp_path: Path, screen: Screen) -> None:
    play = Play("a", "b", "c")
    play.harden(["a"], tmp_path)
    result = play.harden(["b"], tmp_path, REFUSED)
    assert (result["failed"], result["hosts_failed"], result["hosts_not_begun"]) == (True, ["b"], ["c"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.html", "report.json"]


def test_waivers_for_hosts_of_other_batches_are_for_somebody(tmp_path: Path, screen: Screen) -> None:
    play = Play("a", "b")
    waiver = {"control": "hugepages-cgroup-ready", "reason": "r", "expires": "2099-01-01"}
    for name in play.hosts:
        play.give(h={name: {"waivers": [{**waiver, "hosts": ["b"]}, {**waiver, "hosts": ["nobody"]}]}})
        play.harden([name], tmp_path)
    assert [warning for warning in screen.warnings if "cgroup-ready: b" in warning] == []
    assert len(screen.warnings) == 1


def test_a_check_shows_what_would_change_and_writes_nothing(tmp_path: Path, screen: Screen) -> None:
    result = run(
        check=True,
        results={"a": {"skipped": True}},
        before={"a": OK},
        outcomes={"a": CHANGED},
        dir=str(tmp_path / "out"),
    )
    assert "failed" not in result
    assert any(" to change " in line[0] for line in screen.lines)
    assert not (tmp_path / "out").exists()


WORSE = {
    "ansible_facts": {
        "bulwark": {
            **OK["ansible_facts"]["bulwark"],
            "transparent_hugepages": {"enabled": "always", "defrag": "always", "sizes": []},
        }
    }
}


@pytest.mark.parametrize("names", [["x", "thp-direct-compaction"], "x, thp-direct-compaction"])
def test_each_host_bears_what_is_accepted_for_it(names: Any, tmp_path: Path, screen: Screen) -> None:
    result = run(
        results={"a": WORSE, "b": WORSE},
        before={"a": OK, "b": OK},
        outcomes={"a": SAME, "b": SAME},
        accept_worse={"a": names, "b": []},
        dir=str(tmp_path),
    )
    assert (result["hosts_worse"], result["hosts_unchanged"]) == (["b"], ["a"])


def test_what_remains_after_an_undo_fails_it(tmp_path: Path, screen: Screen) -> None:
    facts = {
        **OK["ansible_facts"]["bulwark"],
        "managed": {"objects": [{"kind": "files", "object": "/x", "by": "kvm"}], "reason": None},
    }
    after = {"ansible_facts": {"bulwark": facts}}
    result = run(results={"a": after}, before={"a": after}, outcomes={"a": SAME}, undo=True, dir=str(tmp_path))
    assert result["msg"] == "1 of 1 hosts are not as they were; remains: a (not given back: /x (kvm))"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"outcomes": {"a": SAME}}, "outcomes: needs before; expected also what node_facts returned before the change"),
        (
            {"before": {"a": OK}, "accept_worse": {"a": {"x": 1}}},
            "accept_worse: 'a' has {'x': 1}; expected a list of controls",
        ),
        ({"before": {"a": "x"}}, "before: 'a' is no dictionary; expected the registered result of node_facts"),
        (
            {"before": {"a": OK}, "outcomes": {"a": 5}},
            "outcomes: 'a' is no dictionary; expected the registered result of settings",
        ),
    ],
)
def test_options_of_a_run_that_do_not_fit_are_refused(
    args: dict[str, Any], message: str, tmp_path: Path, screen: Screen
) -> None:
    result = run(results={"a": OK}, dir=str(tmp_path / "out"), **args)
    assert (result["failed"], result["msg"]) == (True, f"report: {message}")
    assert not (tmp_path / "out").exists()
