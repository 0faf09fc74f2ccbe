# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_info
short_description: Tells whether a machine needs a reboot, and why
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Looks at what asks for a reboot of the machine, by default at the sentinel file, as kured does.
  - It tells an error from a no. Where nothing asks for a reboot, yet one of O(triggers) failed, RV(required) is V(null) and RV(errors) says why.
  - It says too whether dpkg, rpm or zypper are changing packages right now, in RV(blocked). No reboot may come in between.
  - It does not fail because a trigger failed. It fails on options alone.
  - Locks of other users' files and some sentinels take root to be asked for.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.actiongroup_node
attributes:
  platform:
    support: full
    platforms: linux
options:
  triggers:
    description:
      - What may ask for a reboot.
      - V(sentinel) is one of the files of O(sentinel).
      - V(kernel) is a newer installed kernel of the running one's flavour, or a running one that is no longer installed.
      - V(needs_restarting) is what C(needs-restarting -r) or C(dnf needs-restarting -r) say, on a machine that has one of them. Without any it is an error.
      - V(command) is the command of O(command).
      - Choose with care what goes beyond V(sentinel). A reason that survives the reboot, such as an old kernel that the boot loader
        is pinned to, asks for a reboot for ever.
    type: list
    elements: str
    choices:
      - sentinel
      - kernel
      - needs_restarting
      - command
    default:
      - sentinel
  sentinel:
    description:
      - The files whose being there asks for a reboot, by absolute paths. A symlink that leads nowhere does not count.
      - The packages in the file of the same name with C(.pkgs) are named in the reason.
    type: list
    elements: path
    default:
      - /var/run/reboot-required
  command:
    description:
      - A program and its arguments, for V(command) of O(triggers). It is run without a shell and with the locale C.
      - It is run in check mode too, and must change nothing.
      - It asks for a reboot by returning 0, and for none by returning 1, as kured's C(--reboot-sentinel-command) does. All else is an error.
      - It has no time limit of its own. The keyword C(timeout) of a task gives it one.
    type: list
    elements: str
seealso:
  - module: bulwark.node.reboot_gate_info
  - module: bulwark.node.node_facts
  - module: ansible.builtin.reboot
"""

EXAMPLES = r"""
- name: Ask as kured does
  bulwark.node.reboot_info:
  become: true
  register: asked

- name: Stop where it could not be told
  ansible.builtin.assert:
    that: asked.required is not none
    fail_msg: "{{ asked.errors }}"

- name: Ask for a newer kernel too
  bulwark.node.reboot_info:
    triggers:
      - sentinel
      - kernel
  become: true

- name: Ask a command of the machine's own
  bulwark.node.reboot_info:
    triggers:
      - command
    command:
      - /usr/local/bin/wants-reboot
      - --quiet
  become: true
"""

RETURN = r"""
required:
  description: Whether a trigger asks for a reboot. V(null) where none does, yet one failed.
  returned: success
  type: bool
  sample: true
reasons:
  description: What asks for a reboot, in the order of O(triggers).
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description: One of O(triggers).
      type: str
      sample: sentinel
    detail:
      description: What was found.
      type: str
      sample: /var/run/reboot-required exists, asked for by linux-image-6.1.0-31-amd64
    since:
      description: Since when, in seconds since the epoch. V(null) where that is not known.
      type: int
      sample: 1795100000
errors:
  description: The triggers that could not be asked, and why.
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description: One of O(triggers).
      type: str
      sample: command
    detail:
      description: What went wrong.
      type: str
      sample: '/usr/local/bin/wants-reboot --quiet: returned 2 and said: no such option; expected 0 (reboot) or 1 (no reboot)'
blocked:
  description:
    - Why the machine must not be rebooted right now, whether it needs it or not.
    - Packages are being changed, dpkg was interrupted, or it could not be told.
    - It is a moment's answer, for a package manager that still downloads holds no lock. Ask again right before the reboot.
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description: Always V(transaction).
      type: str
      sample: transaction
    detail:
      description: What is in the way.
      type: str
      sample: 'packages are being changed: the lock of dpkg, rpm or zypper is held'
transaction_running:
  description: Whether dpkg or rpm are changing packages. V(null) where the machine has neither, or it could not be told.
  returned: success
  type: bool
  sample: false
since:
  description: Since when the first of RV(reasons) has been there, in seconds since the epoch. V(null) where there is none, or none with a time.
  returned: success
  type: int
  sample: 1795100000
boot_id:
  description: The identity of this boot. Another value means that the machine was rebooted. V(null) where the kernel does not tell.
  returned: success
  type: str
  sample: decc24db-dfde-4798-bf1f-b30139e40ef1
booted_at:
  description: When the machine was booted, in seconds since the epoch. V(null) where the kernel does not tell.
  returned: success
  type: int
  sample: 1795000000
machine_id:
  description: The identity of the machine, which a Node of Kubernetes has too. V(null) where it has none.
  returned: success
  type: str
  sample: 8f2f0d2c6f0b4f3c9c0c5a3d6e1b7a42
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.module import command_runner, fail
from ansible_collections.bulwark.node.plugins.module_utils.node import reboot_needed


def main() -> None:
    module = AnsibleModule(argument_spec=reboot_needed.ARGUMENT_SPEC, supports_check_mode=True)
    try:
        found = reboot_needed.needed(Host(run=command_runner(module)), reboot_needed.asked(module.params))
    except BulwarkError as error:
        fail(module, "reboot_info", error)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
