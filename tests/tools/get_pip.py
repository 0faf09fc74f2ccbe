# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for get-pip.py, which ansible-test would download from a host of its own.

ansible-test runs it with the Python of a new, empty virtual environment, and arguments like
`--disable-pip-version-check pip==24.2 --no-setuptools --no-wheel`. The pip that comes first in PATH
fetches the wheel of the wanted pip from the package index it is set up for, and that pip, which can
run from its wheel, installs itself.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

wanted = [arg for arg in sys.argv[1:] if arg not in ("--no-setuptools", "--no-wheel")]
with tempfile.TemporaryDirectory() as folder:
    itself = [arg for arg in wanted if arg.startswith("pip==")]
    subprocess.check_call(["pip", "download", "--quiet", "--no-deps", "--dest", folder, *itself])
    (wheel,) = Path(folder).iterdir()
    subprocess.check_call([sys.executable, f"{wheel}/pip", "install", "--quiet", *wanted])
