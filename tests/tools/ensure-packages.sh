#!/bin/sh
# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install the distribution's packages that the tests want (bindep.txt, profile
# "test") where that is asked for (REQUIRE_ALL=1) and possible (root, apt-get).
# Otherwise name them: the tests that want them are skipped and say so as well.
set -eu

missing=$(bindep --brief --file bindep.txt test) || :
# Others' packages of kubectl serve as well, and stand in the way of Debian's.
command -v kubectl >/dev/null || missing="$missing kubernetes-client"
[ -n "$missing" ] || exit 0
# shellcheck disable=SC2086  # one word a package
set -- $missing
if [ "${REQUIRE_ALL:-}" = 1 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
else
    echo "Some tests will be skipped for want of packages. As root: apt-get install $*"
fi
