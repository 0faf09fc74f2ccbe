# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` and count a test that did not run as a failure.

usage: sanity.py HOME [ARGUMENT...]      in a copy of the collection; the arguments are ansible-test's

HOME is a folder of ours: ansible-test keeps its virtual environments under ~/.ansible, and looks
there for get-pip.py, in whose place we put our stand-in. It hands no environment variable on to pip
but HOME, so what pip is told by PIP_… variables or the user's pip.conf goes into a pip.conf there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import ansible_test
from ansible_test._util.target.common.constants import CONTROLLER_PYTHON_VERSIONS, REMOTE_ONLY_PYTHON_VERSIONS

# The Pythons a node may have, oldest first: tests/config.yml.
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

# What ansible-test prints for a test that it leaves out, in all supported versions. It exits 0 all the same.
NOT_RUN = re.compile(r"Skipping |skipped|Required program|Unable to determine context")


def prepare(home: Path) -> None:
    """Put the get-pip stand-in and pip's settings into the folder that ansible-test takes for the user's home."""
    cache = home / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    source = Path(ansible_test.__path__[0], "_internal/python_requirements.py").read_text()
    for version in re.findall(r"\bpip='([\d.]+)'", source):
        shutil.copy(Path(__file__).with_name("get_pip.py"), cache / f"get_pip_{version.replace('.', '_')}.py")

    listed = subprocess.run(["pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    settings = {"quiet": "1"}
    for section in ("global", "install", ":env:"):  # what comes later wins
        for key, value in re.findall(rf"^{section}\.([\w-]+)='(.*)'$", listed, re.MULTILINE):
            settings[key] = value.replace("\\n", " ")  # a list has one value a line
    # What is compiled at its first import says there what is wrong with it, and ansible-test takes that for the test's.
    settings.pop("compile", None)
    config = home / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.touch(mode=0o600)  # an index URL may carry a password
    config.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))


def pythons() -> list[str]:
    """Return those of PYTHONS that are here and known to this ansible-test: it would stop at a broken one."""
    known = REMOTE_ONLY_PYTHON_VERSIONS + CONTROLLER_PYTHON_VERSIONS
    return [version for version in PYTHONS if version in known and _works(f"python{version}")]


def _works(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def run(home: Path, targets: list[str], arguments: list[str]) -> tuple[int, list[str]]:
    """Run ansible-test, showing what it prints; return its exit code and its warnings, each once."""
    env = {**os.environ, "HOME": str(home)}
    command = ["ansible-test", "sanity", "--junit", "--color", "no"]
    for version in targets:
        command += ["--target-python", version]
    warnings: dict[str, None] = {}
    with subprocess.Popen(
        [*command, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("WARNING: "):
                warnings[line.removeprefix("WARNING: ").rstrip()] = None
    return process.returncode, list(warnings)


def main() -> int:
    """Return 0 if every test ran and passed."""
    home, started = Path(sys.argv[1]).resolve(), time.monotonic()
    targets = pythons()
    prepare(home)
    code, warnings = run(home, targets, sys.argv[2:])

    missed = [text for text in warnings if NOT_RUN.search(text)]
    for text in missed:
        print(f"not run: {text}")
    reports = Path("tests/output/junit").glob("*.xml")
    cases = [case for file in reports for case in ElementTree.parse(file).iter("testcase")]
    failed, idle = (sum(case.find(mark) is not None for case in cases) for mark in ("failure", "skipped"))
    if not cases or (missed and os.environ.get("REQUIRE_ALL") == "1"):
        code = code or 1
    # A Debian release has one Python: ruff and vermin hold the modules to the oldest, whatever is here.
    print(
        f"sanity: {f'{failed} failed, ' if failed else ''}{len(cases) - failed - idle} passed, {idle} with nothing to look at,"
        f" on Python {', '.join(targets)} in {time.monotonic() - started:.0f}s"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
