# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what stands in two places from the one where it is written by hand.

usage: make generate        or .venv/bin/python tests/tools/generate.py

- The options and results of the module ``settings`` come from the documentation of the modules that it stands for, those
  of a role for one module from that module's, under the role's prefix.
- The part of the playbook ``undo`` that is that of ``harden`` under another prefix.
- The table of variables in a role's README, and its defaults, come from its meta/argument_specs.yml.
- The controls and parameters in docs/controls.md come from the baselines.

A generated part stands between a line ``generated: NAME`` and a line ``generated: end``, as comments of the file's own kind.
All else is written by hand, and stays. tests/test_collection.py fails where a file is not as it would be generated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.bulwark.node.plugins.module_utils import settings

ROOT = Path(__file__).parents[2]

PARTS = {
    "hugepages": "hugepages",
    "transparent_hugepages": "transparent_hugepages",
    "kernel_args": "kernel_args",
    "kvm": "kvm",
    "bridges": "bridge_mtu",
    "rlimits": "rlimit",
}
"""The options of the module ``settings``, and the module whose options each of them takes."""

ROLES: Mapping[str, Mapping[str, str]] = {
    "hugepages": {
        "": "hugepages",
        "transparent": "transparent_hugepages",
        "kernel_args": "kernel_args",
    },
    "kvm": {"": "kvm"},
    "bridge_mtu": {"": "bridge_mtu"},
    "rlimits": {"entries[]": "rlimit"},
}
"""The roles that stand for modules. Under the role's own prefix are one module's options, a dictionary or a list of another's."""
LEFT_OUT = ("confirm", "ssh_connection", "fresh_connection")
"""Options that no playbook gives."""

_WITHOUT_NEEDS = ("bridge_mtu",)
"""Roles whose module leaves nothing to be restarted."""
BASELINES = ROOT / "roles/audit/files/baselines"
COPIES = ("handlers/main.yml", "tasks/needs.yml")
"""Files of the role ``harden`` that others have too, with their own prefix."""

_MARK = re.compile(
    r"(?P<open>(?P<indent>[ ]*)(?:#|<!--) generated: (?P<name>\w+)(?: -->)?\n)(?P<text>.*?)(?P<close>[ ]*(?:#|<!--) generated: end)",
    re.S,
)
_SHARED = re.compile(r"[ ]*# shared: (?P<name>\w+)\n(?P<text>.*?)[ ]*# shared: end\n", re.S)
# Not one that names its plugin, as O(bulwark.node.kvm#module:nested) does.
_REFERENCE = re.compile(r"\b(O|RV)\(([^():#=]+)((?:=[^()]*)?)\)")

_COPIED = "# Written by `make generate` from the file of that name of the role harden. Edit it there.\n"

Documentation = dict[str, Any]
Place = Callable[[str, str], str]


class _Flow(list[Any]):
    """A sample, which stands on one line."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Items of a list are indented, as the linters want it."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """What is said twice is written twice."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Templates have double quotes, as everywhere here."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "{{" in text else None)


_Dumper.add_representer(_Flow, lambda dumper, value: _flowing(dumper.represent_data(value[0])))
_Dumper.add_representer(str, _text)


def _flowing(node: yaml.Node) -> yaml.Node:
    if isinstance(node, yaml.CollectionNode):
        node.flow_style = True
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                _flowing(part)
    return node


def documentation(module: str, name: str = "DOCUMENTATION") -> Documentation:
    """DOCUMENTATION or RETURN of a module."""
    for node in ast.parse((ROOT / f"plugins/modules/{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return dict(yaml.safe_load(ast.literal_eval(node.value)))
    raise LookupError(f"{module} has no {name}")


def moved(value: Any, place: Place, key: str = "") -> Any:
    """A part of a documentation, where each reference in a description is ``place(O or RV, name)`` instead of its name."""
    if isinstance(value, dict):
        return {name: _Flow([each]) if name == "sample" else moved(each, place, name) for name, each in value.items()}
    if isinstance(value, list):
        return [moved(each, place, key) for each in value]
    if isinstance(value, str) and key in ("description", "returned"):
        return _REFERENCE.sub(lambda found: f"{found[1]}({place(found[1], found[2])}{found[3]})", value)
    return value


def settings_options() -> Documentation:
    """The options of ``settings``."""
    found: Documentation = {}
    for name, module in PARTS.items():
        spec = settings.ARGUMENT_SPEC[name]
        source = documentation(module)
        written = source["options"]
        entry = f"{name}[]" if spec["type"] == "list" else name

        def place(kind: str, option: str, module: str = module, entry: str = entry, spec: Any = spec) -> str:
            if kind == "RV":
                return f"domains.{entry}.{option}"
            known = re.split(r"[.\[]", option)[0] in spec["options"]
            return f"{entry}.{option}" if known else f"bulwark.node.{module}#module:{option}"

        own = [option for option in written if option not in spec["options"]]
        description = [f"{source['short_description']}, with the options of M(bulwark.node.{module})."]
        if own:
            names = ", ".join(f"O(bulwark.node.{module}#module:{option})" for option in own)
            description.append(f"{names} are options of that module alone.")
        kind = {key: spec[key] for key in ("type", "elements") if key in spec}
        suboptions = {option: written[option] for option in written if option not in own}
        found[name] = {"description": description, **kind, "suboptions": moved(suboptions, place)}
    return found


def settings_domains() -> Documentation:
    """What ``domains`` of ``settings`` holds."""
    found: Documentation = {}
    for name, module in PARTS.items():
        spec = settings.ARGUMENT_SPEC[name]
        entry = f"{name}[]" if spec["type"] == "list" else name
        kind = {key: spec[key] for key in ("type", "elements") if key in spec}

        def place(kind: str, key: str, entry: str = entry) -> str:
            return f"domains.{entry}.{key}" if kind == "RV" else f"{entry}.{key}"

        each = " for each entry, in their order" if spec["type"] == "list" else ""
        found[name] = {
            "description": f"What M(bulwark.node.{module}) returns{each}.",
            "returned": f"when O({name}) is given",
            **kind,
            "contains": {**_OUTCOME, **moved(documentation(module, "RETURN"), place)},
        }
    return found


_OUTCOME: Documentation = {
    "changed": {
        "description": "Whether it was changed, or in check mode would be.",
        "returned": "always",
        "type": "bool",
        "sample": True,
    },
    "failed": {"description": "V(true) where it failed.", "returned": "failure", "type": "bool", "sample": True},
    "msg": {"description": "Why it failed.", "returned": "failure", "type": "str", "sample": "size: '3M' is no size"},
}


def role_options(role: str) -> Documentation:
    """The variables of a role that are options of modules."""
    found: Documentation = {}
    for variable, module in ROLES[role].items():
        name = f"{role}_{variable.removesuffix('[]')}"
        prefix = f"{role}_{variable}." if variable else name

        def place(kind: str, option: str, module: str = module, prefix: str = prefix) -> str:
            return f"{prefix}{option}" if kind == "O" else f"bulwark.node.{module}#module:{option}"

        source = documentation(module)
        options = moved(_role_options(source["options"]), place)
        if not variable:
            found.update({f"{prefix}{option}": each for option, each in options.items()})
            continue
        kind = {"type": "list", "elements": "dict", "required": True} if variable.endswith("[]") else {"type": "dict"}
        found[name] = {
            "description": [f"{source['short_description']}, with the options of M(bulwark.node.{module})."],
            **kind,
            "options": options,
        }
    return found


def _role_options(given: Documentation) -> Documentation:
    """The specification of a role calls suboptions options."""
    return {
        name: {
            **{key: each for key, each in option.items() if key != "suboptions"},
            **({"options": _role_options(option["suboptions"])} if "suboptions" in option else {}),
        }
        for name, option in given.items()
        if name not in LEFT_OUT
    }


def role_arguments(role: str) -> Documentation:
    """How a task gives a role's variables to the module whose options they are."""
    options = _role_options(documentation(ROLES[role][""])["options"])
    return {name: _given(f"{role}_{name}", option) for name, option in options.items()}


def _given(variable: str, option: Documentation) -> str:
    """Null is not given: as the value of a dictionary, ansible-core 2.16 makes an empty text of it."""
    if _undefined(option):
        return f"{{{{ {variable} | default(omit) }}}}"
    if option.get("default") is None:
        return f"{{{{ {variable} if {variable} is not none else omit }}}}"
    return f"{{{{ {variable} }}}}"


def _undefined(option: Documentation) -> bool:
    """Whether a variable has no default at all: it must be given, or Ansible would refuse null, which is none of its choices."""
    return bool(option.get("required") or ("choices" in option and option.get("default") is None))


def specification(role: str) -> Documentation:
    """The variables of a role, as its meta/argument_specs.yml has them."""
    loaded = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())
    return dict(loaded["argument_specs"]["main"]["options"])


def table(options: Documentation) -> str:
    """The variables of a role as a table of Markdown, those of dictionaries in rows of their own."""
    rows = [
        f"| `{name}` | {_type(option)} | {_default(option)} | {_markdown(option['description'])} |"
        for name, option in _rows(options)
    ]
    return "\n".join(["", "| variable | type | default | |", "|---|---|---|---|", *rows, "", ""])


def _rows(options: Documentation, prefix: str = "") -> Iterator[tuple[str, Documentation]]:
    for name, option in options.items():
        yield f"{prefix}{name}", option
        inner = f"{prefix}{name}[]." if option["type"] == "list" else f"{prefix}{name}."
        yield from _rows(option.get("options") or {}, inner)


def _type(option: Documentation) -> str:
    kind = f"list of {option['elements']}" if option["type"] == "list" else str(option["type"])
    return f"{kind}, one of {', '.join(f'`{each}`' for each in option['choices'])}" if "choices" in option else kind


def _default(option: Documentation) -> str:
    if option.get("required"):
        return "required"
    if option.get("default") is None:
        return ""
    text = yaml.safe_dump(option["default"], default_flow_style=True, width=1000).partition("\n")[0]
    return f"`{text}`"


def _markdown(description: str | list[str]) -> str:
    """Semantic markup as code, and M() as the name alone; a table has one line a row."""
    text = " ".join([description] if isinstance(description, str) else description)
    text = re.sub(r"\b(?:O|RV)\(([\w.]+)#module:([^)]*)\)", r"`\2` of `\1`", text)
    text = re.sub(r"\b(?:[OVCM]|RV)\((?:ignore:)?([^)]*)\)", r"`\1`", text)
    return text.replace("|", r"\|")


def defaults(options: Documentation) -> Documentation:
    """The defaults of a role; null is what is not touched."""
    return {name: option.get("default") for name, option in options.items() if not _undefined(option)}


def _yaml(value: Any, indent: int = 0) -> str:
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116 - indent)
    return "".join(f"{' ' * indent}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


def controls() -> str:
    """What the baselines judge, for docs/controls.md."""
    return "\n" + "\n".join(_baseline(path) for path in sorted(BASELINES.glob("*.yml"), key=_common_first))


def _common_first(path: Path) -> tuple[bool, str]:
    return path.stem != "common", path.stem


def _baseline(path: Path) -> str:
    text = yaml.safe_load(path.read_text())
    includes = text.get("includes") or []
    made = f"## {path.stem}\n\n{text['title']}.{' It includes ' + ', '.join(f'`{name}`' for name in includes) + '.' if includes else ''}\n\n"
    if text.get("detect"):
        made += f"`auto` takes it where {_code(text['detect'])}.\n\n"
    if text.get("params"):
        rows = [
            f"| `{name}` | `{_flat(about['default'])}` | {_flat(about['description'])} |"
            for name, about in text["params"].items()
        ]
        made += "| parameter | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
    return made + "\n".join(_control(row) for row in [*(text.get("controls") or []), *(text.get("fleet") or [])])


def _control(row: Mapping[str, Any]) -> str:
    rule = row["expect"] if "expect" in row else row["value"]
    asked = _code(rule) + ("" if "expect" in row else ", alike on all hosts of a pool")
    grade = row["severity"] + "".join(f", {key}" for key in ("pending", "gauge") if row.get(key))
    lines = [f"### {row['id']}", "", f"**{grade}**: {_flat(row['title'])}. {_flat(row['why'])}", ""]
    lines += [f"- expects {asked}"]
    if row.get("when"):
        lines += [f"- where {_code(row['when'])}"]
    lines += [f"- what to do: {_flat(row['remedy'])}"]
    lines += ["- " + ", ".join(f"<{url}>" for url in row["references"]), ""]
    return "\n".join(lines)


def _code(expression: str) -> str:
    """JMESPath's literals stand in backticks of their own."""
    flat = _flat(expression)
    return f"`` {flat} ``" if "`" in flat else f"`{flat}`"


def _flat(text: Any) -> str:
    return " ".join(str(text).split())


def filled(text: str, parts: Mapping[str, Any]) -> str:
    """``text`` with its generated parts as given by name, data as YAML. Raises LookupError where the names are other ones."""
    names = [found["name"] for found in _MARK.finditer(text)]
    if sorted(names) != sorted(parts):
        raise LookupError(f"the generated parts are {names}, and should be {sorted(parts)}")

    def part(found: re.Match[str]) -> str:
        made = parts[found["name"]]
        return found["open"] + (made if isinstance(made, str) else _yaml(made, len(found["indent"]))) + found["close"]

    return _MARK.sub(part, text)


def generated() -> Iterator[tuple[Path, str]]:
    """Each file that has generated parts, and its text as it should be. A later one may be made of an earlier one."""
    file = ROOT / "plugins/modules/settings.py"
    yield file, filled(file.read_text(), {"options": settings_options(), "domains": settings_domains()})
    for role, modules in ROLES.items():
        file = ROOT / f"roles/{role}/meta/argument_specs.yml"
        yield file, filled(file.read_text(), {"options": role_options(role)})
        if "" in modules:
            file = ROOT / f"roles/{role}/tasks/main.yml"
            yield file, filled(file.read_text(), {"options": role_arguments(role)})
        for name in COPIES if role not in _WITHOUT_NEEDS else ():
            text = (ROOT / "roles/harden" / name).read_text()
            yield ROOT / f"roles/{role}/{name}", text.replace("harden", role).replace("---\n", f"---\n{_COPIED}", 1)
    source, file = (ROOT / f"playbooks/{name}.yml" for name in ("harden", "undo"))
    shared = {each["name"]: each["text"].replace("harden", "undo") for each in _SHARED.finditer(source.read_text())}
    yield file, filled(file.read_text(), shared)
    file = ROOT / "docs/controls.md"
    yield file, filled(file.read_text(), {"controls": controls()})
    for folder in sorted(file.parents[1] for file in ROOT.glob("roles/*/meta/argument_specs.yml")):
        options = specification(folder.name)
        for name, part in (
            ("README.md", {"variables": table(options)}),
            ("defaults/main.yml", {"defaults": defaults(options)}),
        ):
            file = folder / name
            yield file, filled(file.read_text(), part)


def main() -> None:
    for path, text in generated():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
