# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each attribute means, said once. A module adds C(support), and C(details) where the support has an edge."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments C(bulwark.node.attributes) and C(bulwark.node.attributes.<name>)."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Says in check mode whether it would change something, and changes nothing.
  diff_mode:
    description: Shows with C(--diff) what it changed, or in check mode what it would change.
  idempotent:
    description: Reports no change when it runs again with the same options on a machine that nobody else changed in between.
  platform:
    description: The systems that it works on.
"""

    # What only looks. Comes after the standard fragment.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - It changes nothing in any mode.
  diff_mode:
    support: N/A
    details:
      - It changes nothing in any mode.
  idempotent:
    support: full
    details:
      - It changes nothing in any mode.
"""

    # Comes after INFO_MODULE for a module whose result is facts.
    FACTS = r"""
options: {}
attributes:
  facts:
    description: Returns C(ansible_facts), which become facts of the host.
    support: full
"""

    ACTIONGROUP_NODE = r"""
options: {}
attributes:
  action_group:
    description: The groups that set defaults for it by C(module_defaults).
    support: full
    membership:
      - bulwark.node.all
      - bulwark.node.node
"""

    ACTIONGROUP_ALL = r"""
options: {}
attributes:
  action_group:
    description: The groups that set defaults for it by C(module_defaults).
    support: full
    membership:
      - bulwark.node.all
"""

    ACTIONGROUP_GCP = r"""
options: {}
attributes:
  action_group:
    description: The groups that set defaults for it by C(module_defaults).
    support: full
    membership:
      - bulwark.node.all
      - bulwark.node.gcp
"""

    ACTIONGROUP_KUBERNETES = r"""
options: {}
attributes:
  action_group:
    description: The groups that set defaults for it by C(module_defaults).
    support: full
    membership:
      - bulwark.node.all
      - bulwark.node.kubernetes
"""
