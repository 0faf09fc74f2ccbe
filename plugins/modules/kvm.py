# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm
short_description: Makes a machine ready to run guests with KVM, and proves it
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Loads KVM's modules now and at boot, sets nested virtualization, and sets who may open C(/dev/kvm).
  - With O(require) it fails with everything at once that a use of KVM lacks, and asks KVM itself for the proof.
  - C(kvm) and the module of the CPU's maker are always asked for. What is built into the kernel needs neither loading nor a file.
  - Everything is checked before the first write. Modules are there and not denied, users and groups exist, no guest is in the way, and
    nothing else sets the same at boot.
  - No module is ever unloaded, unless O(reload=true) asks for it. One that was loaded before a later failure stays, and is named in RV(not_undone).
  - A run that is stopped undoes what it did. After SIGKILL or a loss of power run it again, which goes on from what there is.
  - It is persisted by C(/etc/modules-load.d/90-bulwark-kvm.conf), C(/etc/modprobe.d/zz-bulwark-kvm.conf) and C(/etc/udev/rules.d/99-bulwark-kvm.rules).
    A file of such a name that is not the module's is refused.
  - What was there before is kept in C(/var/lib/bulwark/manifest.json).
  - Lines of others in a file of the module's stay, also where O(state=absent) takes the module's own. A file that does not begin as the
    module's any more is left alone then. Each is named in a warning.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_node
attributes:
  check_mode:
    support: full
    details: What KVM answers once its modules are loaded is not foretold. It is then V(unproven) in RV(after).
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: linux
options:
  vhost_net:
    description:
      - Whether the module vhost_net is to be there, now and at boot. KubeVirt schedules no guest with a virtio network without it.
      - V(false) no longer loads it at boot. It stays loaded until then.
    type: bool
  vhost_vsock:
    description: As O(vhost_net), for the module vhost_vsock.
    type: bool
  tun:
    description: As O(vhost_net), for the module tun.
    type: bool
  nested:
    description:
      - Whether guests may run guests with KVM.
      - A module takes it only when it is loaded. Where it is loaded already, it is set for the next time, and RV(reboot_required) is true.
      - Refused while guests run, which are named. Refused where the module is built in, since such a kernel must be booted with it.
    type: bool
  reload:
    description:
      - Consent to unload the module and load it again, for O(nested) to count at once. Refused while anything uses it.
      - It is listed in RV(disruptive), in check mode as well.
    type: bool
    default: false
  device:
    description: Who may open C(/dev/kvm), now and by a rule of udev. What is left out is left alone.
    type: dict
    suboptions:
      owner:
        description: The user, of C(/etc/passwd).
        type: str
      group:
        description: The group, of C(/etc/group). It must exist, and should be a system's one, since udev 258 and 259 leave out others.
        type: str
      mode:
        description: Four octal digits in quotes, such as V('0660').
        type: str
  users:
    description:
      - Users that are to be members of the group of the device, which is O(device.group) or the one that it has.
      - Refused for root's group, and by name for C(sudo), C(wheel), C(adm), C(disk), C(shadow), C(docker), C(lxd), C(kmem),
        C(systemd-journal) and C(staff), whose members may do more than use KVM.
      - They may be a directory's, the group must be one of C(/etc/group). Membership lasts, also with O(persist=false).
      - A process gets it when it starts or logs in. What runs without it is listed in RV(restart_required).
    type: list
    elements: str
  require:
    description:
      - What the machine must be fit for. It fails with all that is missing, before anything is changed.
      - What this run sets right is not counted as missing. It is judged again afterwards, and what was done is undone where that fails.
      - Each profile is one of M(bulwark.node.node_facts), RV(ignore:ansible_facts.bulwark.kvm.profiles). What only slows guests down is a warning.
    type: str
    choices:
      - qemu
      - kubevirt
      - passthrough
  probe:
    description:
      - When V(active), KVM makes a virtual machine and a virtual CPU, and on x86 runs five bytes of guest, in check mode too.
      - When V(passive), it is only opened and asked for its version. O(require) then warns that nothing was proven.
      - The default is V(active) with O(require), for asking for it is asking for the proof, and otherwise V(passive).
    type: str
    choices:
      - passive
      - active
  persist:
    description:
      - Whether it is set at boot as well.
      - With V(false) none of the three files is written, and a warning names what an earlier run persisted otherwise.
    type: bool
    default: true
  state:
    description:
      - V(present) sets what is named, and leaves the rest alone.
      - V(absent) gives the device the owner, group and mode from before this module, ends the memberships that it began, and removes its
        files. A device that was made anew by a boot, or changed by another since, is left alone, with a warning. Nothing tells a membership
        that another ended and began again from this module's own, so it is ended as well. Modules stay loaded until the next
        boot, and a node that udev made so from the first stays so. Both are named.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: bulwark.node.node_facts
  - name: KVM
    description: The kernel's own documentation.
    link: https://docs.kernel.org/virt/kvm/index.html
"""

EXAMPLES = r"""
- name: Make this machine fit for KubeVirt, or say all that it lacks
  bulwark.node.kvm:
    vhost_net: true
    tun: true
    require: kubevirt

- name: Let QEMU's users and an operator open the device
  bulwark.node.kvm:
    device:
      group: kvm
      mode: '0660'
    users:
      - libvirt-qemu
      - alice

- name: Turn nested virtualization on, at once
  bulwark.node.kvm:
    nested: true
    reload: true

- name: Put back what was there before
  bulwark.node.kvm:
    state: absent
"""

RETURN = r"""
before:
  description: The subset C(kvm) of M(bulwark.node.node_facts) as it was, without C(checks), C(cpu) and C(used_by), with what this module sets beside it.
  returned: success
  type: dict
  contains:
    verdict:
      description: V(ready), V(degraded), V(unavailable), or V(unproven) where it was not tried out.
      type: str
      sample: ready
    proven:
      description: What was proven.
      type: list
      elements: str
      sample: [open, api, vm, vcpu, real_mode_guest]
    reasons:
      description: Why it is not ready, and why a value is V(null).
      type: list
      elements: dict
      sample: []
    api_version:
      description: The version of KVM's interface.
      type: int
      sample: 12
    module:
      description: The module that serves KVM.
      type: str
      sample: kvm_intel
    nested:
      description: Whether the loaded module has nested virtualization.
      type: bool
      sample: false
    device:
      description: The device's node.
      type: dict
      sample: {path: /dev/kvm, exists: true, mode: '0660', owner: root, group: kvm}
    users:
      description: QEMU's users, and whether they may read and write the device.
      type: dict
      sample: {libvirt-qemu: true}
    profiles:
      description: The verdict for each use, and its reasons.
      type: dict
      sample: {qemu: {verdict: ready, reasons: []}}
    modules:
      description: The modules, each V(loaded), V(built_in), V(available) or V(missing).
      type: dict
      sample: {kvm: loaded, kvm_intel: loaded, vhost_net: available, vhost_vsock: available, tun: built_in}
    group:
      description: The group whose members users are to be, V(null) where there is none but root's.
      type: dict
      sample: {name: kvm, members: [libvirt-qemu]}
    persisted:
      description: What the module's files say. C(nested) is V(null) and C(device) empty where they say nothing.
      type: dict
      sample: {modules: [kvm, kvm_intel], nested: true, device: {group: kvm, mode: '0660'}}
after:
  description: The same afterwards, read back, or in check mode as predicted.
  returned: success
  type: dict
  sample: {}
changes:
  description: What was done, or in check mode would be done, in this order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: The kind of change, V(file), V(module), V(nested), V(device) or V(member).
      type: str
      sample: device
    target:
      description: What it acts on. Of a member, group and user.
      type: str
      sample: /dev/kvm
    before:
      description: The value before. V(null) where there was nothing.
      type: raw
      sample: {group: root, mode: '0600'}
    after:
      description: The value asked for. V(null) where nothing is to be left.
      type: raw
      sample: {group: kvm, mode: '0660'}
unmet:
  description: What O(require) found missing, what the machine did not take, and C(nested) while it waits for the module to be loaded again.
  returned: success, or failure for that reason
  type: list
  elements: dict
  contains:
    target:
      description: The check, the step of the proof, the module, or the object.
      type: str
      sample: kubevirt_vhost_net
    wanted:
      description: What was asked for.
      type: raw
      sample: pass
    got:
      description: What there is.
      type: raw
      sample: fail
    reason:
      description: Why.
      type: str
      sample: >-
        /dev/vhost-net is not there: load the module vhost_net: a guest with a virtio network is not scheduled to this node without it
    remedy:
      description: What helps.
      type: str
      sample: Set vhost_net to true.
    evidence:
      description: What stands behind the reason.
      type: dict
      sample: {profile: kubevirt}
reboot_required:
  description: Whether O(nested) counts only after a reboot, or after the module is loaded again.
  returned: success
  type: bool
  sample: false
restart_required:
  description: What runs for one of O(users) without the membership. Nothing is restarted by this module.
  returned: success
  type: list
  elements: dict
  contains:
    unit:
      description: The unit, or where there is none the process.
      type: str
      sample: session-3.scope
    reason:
      description: Why.
      type: str
      sample: "it began before alice was in kvm: bash (4242)"
  sample: []
disruptive:
  description: The changes that disturb what runs, in check mode as well.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: The module.
      type: str
      sample: kvm_intel
    reason:
      description: What it disturbs.
      type: str
      sample: "it is unloaded and loaded again: no guest can start meanwhile"
  sample: []
undone:
  description: What had been changed and was put back, when the module failed.
  returned: failure
  type: list
  elements: str
  sample: ["/dev/kvm"]
not_undone:
  description: What had been changed and could not be put back, loaded modules among it. The message names it too.
  returned: failure
  type: list
  elements: dict
  contains:
    what:
      description: The object.
      type: str
      sample: vhost_net
    reason:
      description: Why it could not be put back.
      type: str
      sample: "it was loaded and stays so: no module is unloaded unasked"
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.module import run
from ansible_collections.bulwark.node.plugins.module_utils.node import kvm


def main() -> None:
    module = AnsibleModule(argument_spec=kvm.ARGUMENT_SPEC, supports_check_mode=True)
    run(module, kvm.Kvm)


if __name__ == "__main__":
    main()
