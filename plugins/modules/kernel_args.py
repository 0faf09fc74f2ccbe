# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_args
short_description: Stages arguments of the kernel for the next boot
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Puts arguments on the kernel's command line from the next boot on, or takes them away. It never reboots, and RV(reboot_required) says
    whether what was asked for is what runs, by C(/proc/cmdline).
  - They are written to where the boot loader's entries are made from, so that they outlive an upgrade of the kernel, and into the entries,
    which are read back. An entry that is not as asked for fails the run, and all is undone.
  - Everything is checked before the first write. The boot loader is one of those below, no other file has the last word, C(/boot) is
    mounted and has room, and the line fits into what the kernel takes.
  - A run that is stopped undoes what it did. After SIGKILL or a loss of power run it again, which goes on from what there is.
  - What was there before is kept in C(/var/lib/bulwark/manifest.json).
  - GRUB of Debian and Ubuntu gets C(/etc/default/grub.d/99-bulwark-kernel-args.cfg), which appends to C(GRUB_CMDLINE_LINUX_DEFAULT), and then
    C(update-grub). Entries for recovery stay as they are, for they must boot without what may have broken the others.
  - Of the entries of C(kernel-install) (systemd-boot) the C(options) are edited, and C(/etc/kernel/cmdline) for kernels to come; where there
    is none it is written from the entries, and entries that differ are refused. C(kernel-install) is not run, for it would write kernel and
    initrd anew, on a partition that may be full. What was added and taken away is noted in C(/etc/kernel/bulwark-kernel-args).
  - What follows an argument C(--) is for init. Arguments are put before it, or the line is refused.
  - Where there is C(grubby) (EL, Fedora) it edits the entries, and C(/etc/kernel/cmdline) is for kernels to come. This one is built by the
    manual and not tested on such a machine. The entries are read back, since C(grubby) takes arguments for a set.
  - Refused by name, with what to run instead, are rpm-ostree, bootc, a unified kernel image, sealed by Secure Boot or not, Talos,
    Bottlerocket, Flatcar, NixOS, a container, and a machine on which no boot loader is found.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_node
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: linux
options:
  arguments:
    description:
      - The arguments, each item a group of one or more that stay together and in order, such as V(hugepagesz=1G hugepages=8).
      - A value with spaces takes double quotes, as the kernel's parser has it, such as V(dyndbg="file drivers/usb/* +p"). C($), C(`),
        backslashes and single quotes are refused, for shells and boot loaders on the way would read them. So is C(--).
      - A group is present where its arguments stand in the line one after the other, and no other argument takes that away. Of
        V(default_hugepagesz), and of each size in V(hugepagesz), the first one counts.
      - A group with V(hugepagesz) replaces that of the same size, with its V(hugepages). V(hugepages) takes a V(hugepagesz) or
        V(default_hugepagesz) before it in the same group.
      - Another value is replaced only where the name is known to have one, of which the last counts. These are V(amd_pstate), V(apparmor),
        V(audit), V(audit_backlog_limit), V(biosdevname), V(clocksource), V(consoleblank), V(debug), V(elevator), V(enforcing),
        V(gather_data_sampling), V(hpet), V(hugetlb_cma), V(hugetlb_free_vmemmap), V(idle), V(init_on_alloc), V(init_on_free),
        V(irqaffinity), V(isolcpus), V(kpti), V(kthread_cpus), V(l1tf), V(lockdown), V(log_buf_len), V(loglevel), V(lsm), V(maxcpus),
        V(mds), V(mitigations), V(mmio_stale_data), V(net.ifnames), V(nmi_watchdog), V(nohz), V(nohz_full), V(nokaslr), V(nopti),
        V(nosmt), V(nosoftlockup), V(nowatchdog), V(nr_cpus), V(numa_balancing), V(oops), V(page_poison), V(panic), V(panic_on_warn),
        V(pcie_aspm), V(preempt), V(psi), V(pti), V(quiet), V(rcu_nocb_poll), V(rcu_nocbs), V(resume), V(resume_offset), V(retbleed),
        V(rootdelay), V(security), V(selinux), V(skew_tick), V(slab_nomerge), V(softlockup_panic), V(spec_rstack_overflow),
        V(spec_store_bypass_disable), V(spectre_v2), V(split_lock_detect), V(srbds), V(swapaccount), V(systemd.show_status),
        V(systemd.unified_cgroup_hierarchy), V(systemd.unit), V(transparent_hugepage), V(tsx), V(tsx_async_abort), V(vga), V(vsyscall),
        V(watchdog), and the parameters of the modules V(cpufreq), V(cpuidle), V(intel_idle), V(iommu), V(ipv6), V(kvm), V(kvm_amd),
        V(kvm_intel), V(nf_conntrack), V(nvme), V(nvme_core), V(printk), V(processor), V(random), V(rcupdate), V(rcutree), V(usbcore),
        V(vfio_iommu_type1), V(vfio_pci), V(workqueue) and V(zswap), such as V(kvm_intel.nested=1).
      - All other names add up, such as V(console), V(cgroup_enable) or V(intel_iommu). The argument is added where it is not there, and another
        value stays beside it. To replace one, take it away first. Groups that share such a name keep their order. Where a file of GRUB
        gives another value of a name that is not known to add up, a warning names the file and its line.
      - C(-) and C(_) in names are the same, as for the kernel.
      - Refused is what finds the root file system or is run from it, such as V(root), V(rootflags), V(init), V(ostree), V(cryptdevice), V(nfsroot),
        V(luks.uuid), V(rd.luks.uuid), V(rd.lvm.lv), V(rd.md.uuid), and V(ip) where the root is on the network. These are changed by hand.
      - What follows V(--) in a line is for init. Arguments go before it, and one that a file of GRUB gives before ours is refused.
      - Hugepages that would not leave enough memory on each NUMA node are refused, with the sum of all on the line.
      - With O(state=absent) a name alone means it with any value, such as V(isolcpus), and V(isolcpus=2-7) that value alone. A size alone, such
        as V(hugepagesz=1G), takes the V(hugepages) with it that follow. Of several arguments those that stand one after the other are meant.
      - What another file sets and this module may not edit is refused with O(state=absent), with that file and its line. For GRUB these are all
        files but its own.
    type: list
    elements: str
  memory_reserve:
    description:
      - How much memory the hugepages of the next line must leave beside what runs, such as V(8G). Each NUMA node keeps its share of it.
        Hugepages that are configured already, or run, are not refused.
      - The default is what the kubelet reserves, including its eviction threshold. Without a kubelet, or where its configuration cannot
        be read, it is 4 GiB or 10 % of the memory, whichever is more.
    type: str
  state:
    description:
      - V(present) puts what is named in place, and leaves the rest alone.
      - V(absent) takes away what is named. Without O(arguments) everything that this module ever did goes back.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: bulwark.node.node_facts
  - module: bulwark.node.hugepages
  - name: The kernel's command-line parameters
    description: The kernel's own documentation.
    link: https://docs.kernel.org/admin-guide/kernel-parameters.html
"""

EXAMPLES = r"""
- name: Reserve eight hugepages of 1 GiB and keep CPUs for guests, from the next boot on
  bulwark.node.kernel_args:
    arguments:
      - hugepagesz=1G hugepages=8
      - isolcpus=managed_irq,domain,2-7
      - nohz_full=2-7
  register: staged

- name: Say whether that takes a reboot
  ansible.builtin.debug:
    var: staged.reboot_required

- name: Give messages to both consoles, the serial one being /dev/console
  bulwark.node.kernel_args:
    arguments:
      - console=tty0
      - console=ttyS0,115200n8

- name: Isolate no CPU any more, whichever were
  bulwark.node.kernel_args:
    arguments:
      - isolcpus
      - nohz_full
    state: absent

- name: Put back what was there before
  bulwark.node.kernel_args:
    state: absent
"""

RETURN = r"""
before:
  description: The subset C(kernel_args) of M(bulwark.node.node_facts) as it was, without C(entry_days).
  returned: success
  type: dict
  sample:
    boot_loader: grub
    reason: /boot/grub/grub.cfg is there, update-grub makes it, and grub-mkconfig reads /etc/default/grub.d
    running: [BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64, root=/dev/vda1, ro, quiet]
    configured: [quiet]
    configured_reason: null
    next_boot: [root=/dev/vda1, ro, quiet]
    next_boot_reason: null
after:
  description: The same afterwards, read back, or in check mode as predicted.
  returned: success
  type: dict
  sample:
    boot_loader: grub
    reason: /boot/grub/grub.cfg is there, update-grub makes it, and grub-mkconfig reads /etc/default/grub.d
    running: [BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64, root=/dev/vda1, ro, quiet]
    configured: [quiet, hugepagesz=1G, hugepages=8]
    configured_reason: null
    next_boot: [root=/dev/vda1, ro, quiet, hugepagesz=1G, hugepages=8]
    next_boot_reason: null
changes:
  description: What was done, or in check mode would be done, in this order. Secrets are left out.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(file) is a file of this module, V(edit) another's of which it changes a part, V(boot_entries) what the boot loader reads.
      type: str
      sample: boot_entries
    target:
      description: What it acts on.
      type: str
      sample: /boot/grub/grub.cfg
    before:
      description: The text, or the arguments of the newest kernel's entry, before. V(null) where there was nothing.
      type: raw
      sample: [root=/dev/vda1, ro, quiet]
    after:
      description: The same as asked for. V(null) where nothing is to be left.
      type: raw
      sample: [root=/dev/vda1, ro, quiet, hugepagesz=1G, hugepages=8]
unmet:
  description: What the boot loader's tool did not take.
  returned: success, or failure for that reason
  type: list
  elements: dict
  contains:
    target:
      description: The file or folder that the boot loader reads.
      type: str
      sample: /boot/grub/grub.cfg
    wanted:
      description: The arguments asked for.
      type: raw
      sample: [root=/dev/vda1, ro, quiet, hugepagesz=1G, hugepages=8]
    got:
      description: The arguments read back.
      type: raw
      sample: [root=/dev/vda1, ro, quiet]
    reason:
      description: Why.
      type: str
      sample: update-grub made 3 of 3 entries otherwise, the first is /boot/grub/grub.cfg:128
    remedy:
      description: What helps.
      type: str
      sample: Look which file sets the arguments after ours, and whether the tool keeps their order.
    evidence:
      description: The entries that are not as asked for.
      type: dict
      sample: {"entries": ["Debian GNU/Linux"]}
reboot_required:
  description: Whether what was asked for is not what runs, whoever changed what and when.
  returned: success
  type: bool
  sample: true
restart_required:
  description: The units that must be restarted to see the new state. None sees it before a reboot.
  returned: success
  type: list
  elements: dict
  sample: []
disruptive:
  description: The changes that disturb what runs. No change of this module does.
  returned: success
  type: list
  elements: dict
  sample: []
undone:
  description: What had been changed and was put back, when the module failed.
  returned: failure
  type: list
  elements: str
  sample: ["/boot/grub/grub.cfg", "/etc/default/grub.d/99-bulwark-kernel-args.cfg"]
not_undone:
  description: What had been changed and could not be put back. The message names it too.
  returned: failure
  type: list
  elements: dict
  contains:
    what:
      description: The object.
      type: str
      sample: /boot/grub/grub.cfg
    reason:
      description: Why it could not be put back.
      type: str
      sample: "cannot write: ENOSPC (No space left on device)"
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.module import run
from ansible_collections.bulwark.node.plugins.module_utils.node import kernel_args


def main() -> None:
    module = AnsibleModule(argument_spec=kernel_args.ARGUMENT_SPEC, supports_check_mode=True)
    run(module, kernel_args.KernelArgs)


if __name__ == "__main__":
    main()
