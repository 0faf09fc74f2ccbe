# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_lock_info
short_description: Tells who holds the lock under which nodes reboot
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Looks at the lock of M(bulwark.node.reboot_lock), which may be kured's.
  - It does not fail because the lock cannot be read or asked for. RV(holders) is V(null) then, and RV(reason) says why. It fails on options alone.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.actiongroup_kubernetes
  - bulwark.node.reboot_lock
  - bulwark.node.kubernetes
attributes:
  platform:
    support: full
    platforms: posix
options:
  node:
    description: The node that RV(held) is about.
    type: str
  run_id:
    description: The run that RV(held) and RV(holders[].ours) are about.
    type: str
notes:
  - It takes the right to C(get) kured's DaemonSet, and to C(list) DaemonSets without O(kured.name), or to C(get) the Lease.
seealso:
  - module: bulwark.node.reboot_lock
"""

EXAMPLES = r"""
- name: Look who holds the lock
  bulwark.node.reboot_lock_info:
  delegate_to: localhost
  run_once: true
  register: lock

- name: Show the nodes whose holders have ended and were not taken over
  ansible.builtin.debug:
    msg: "{{ lock.holders | default([], true) | selectattr('expired') | map(attribute='node') | list }}"
  run_once: true
"""

RETURN = r"""
held:
  description: Whether O(run_id) holds the lock for O(node). V(null) where one of them was not given, or that is not known.
  returned: success
  type: bool
  sample: null
reason:
  description: Why it is not known who holds the lock. V(null) where it is.
  returned: success
  type: str
  sample: null
holders:
  description: Who holds the lock. V(null) where that is not known.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Under which name. That of a run is C(ansible:), the run and the node, that of kured the node.
      type: str
      sample: worker-1
    node:
      description: The node that it is held for. V(null) where it names none, as with a value of another concurrency, which kured cannot read.
      type: str
      sample: worker-1
    created:
      description: When it was taken, or renewed, in seconds since the epoch.
      type: int
      sample: 1795266000
    ttl:
      description: For how many seconds from then on. V(null) where it never ends.
      type: int
      sample: null
    expires:
      description: When it ends, in seconds since the epoch. V(null) where it never does.
      type: int
      sample: null
    expired:
      description: Whether it has ended, and nobody took it over yet.
      type: bool
      sample: false
    ours:
      description: Whether O(run_id) holds it.
      type: bool
      sample: false
concurrency:
  description: How many kured lets hold it at once. V(null) where there is no kured, and who takes the lock says it.
  returned: success
  type: int
  sample: 1
backend:
  description: Where it is kept, V(kured), V(lease) or V(file). V(null) where that is not known.
  returned: success
  type: str
  sample: kured
place:
  description: Where that is, in words. V(null) where that is not known.
  returned: success
  type: str
  sample: DaemonSet kube-system/kured, annotation weave.works/kured-node-lock
"""

from typing import Any

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.kube.module import KubeModule
from ansible_collections.bulwark.node.plugins.module_utils.module import fail
from ansible_collections.bulwark.node.plugins.module_utils.reboot_lock import STORE_SPEC, look


def main() -> None:
    module = KubeModule(
        argument_spec={"node": {"type": "str"}, "run_id": {"type": "str"}, **STORE_SPEC},
        supports_check_mode=True,
    )
    result: dict[str, Any] = {}
    try:
        result = look(module.params, Host())
    except OptionError as error:
        fail(module, "reboot_lock_info", error)
    except BulwarkError as error:
        result = {**dict.fromkeys(("held", "holders", "concurrency", "backend", "place")), "reason": str(error)}
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
