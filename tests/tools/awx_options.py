# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules of awx.awx that extensions/awx uses, as JSON, for tests/unit/extensions/awx_modules.json.

.venv-peers/bin/python tests/tools/awx_options.py job_template schedule … >tests/unit/extensions/awx_modules.json
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


class _Asked(Exception):
    """What a module gave its AnsibleModule."""


def _options(module: str) -> dict[str, Any]:
    utils = importlib.import_module("ansible_collections.awx.awx.plugins.module_utils.controller_api")

    def asked(_self: object, argument_spec: dict[str, Any], **rules: Any) -> None:
        raise _Asked({"argument_spec": argument_spec, **{name: rule for name, rule in rules.items() if rule}})

    utils.ControllerAPIModule.__init__ = asked
    try:
        importlib.import_module(f"ansible_collections.awx.awx.plugins.modules.{module}").main()
    except _Asked as found:
        return dict(found.args[0])
    raise RuntimeError(f"{module} makes no ControllerAPIModule")


def main(modules: list[str]) -> None:
    folder = Path(next(iter(importlib.import_module("ansible_collections.awx.awx").__path__)))
    version = json.loads((folder / "MANIFEST.json").read_text())["collection_info"]["version"]
    # A line for each module.
    rows = [f' "{module}": {json.dumps(_options(module), sort_keys=True)}' for module in sorted(modules)]
    print(f'{{"version": "{version}", "modules": {{', ",\n".join(rows), "}}", sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
