# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_facts
short_description: Gathers facts about a Linux machine under Kubernetes or KVM
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Gathers what decides whether a machine serves its pods and guests, under the one key C(ansible_facts.bulwark).
  - It reads files of C(/proc), C(/sys), C(/etc), C(/run) and C(/var), asks C(/dev/kvm) for its version, and the kernel by netlink(7) and
    adjtimex(2). Nothing is changed, loaded, mounted or executed
    on the machine, unless O(probe=active).
  - A fact is never guessed. What the machine does not tell is V(null), and a C(reason) beside it says why.
  - A subset that cannot be gathered is V(null) and is listed in C(ansible_facts.bulwark.errors). The others are gathered all the same.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.facts
  - bulwark.node.attributes.actiongroup_node
attributes:
  platform:
    support: full
    platforms: linux
options:
  gather_subset:
    description:
      - The subsets to gather. Their names are V(host), V(hugepages), V(transparent_hugepages), V(kernel_args), V(kvm), V(pci), V(intercept), V(links),
        V(bridges), V(routes), V(conntrack), V(neighbours), V(sysctls), V(inotify), V(time_sync), V(kubelet),
        V(runtime), V(image_fs), V(rlimits), V(memory),
        V(reboot), V(oom), V(cgroups) and V(managed).
      - V(all) means all of them, and a leading V(!) leaves one out. Exclusions alone mean all the others.
      - When this module is run by C(gather_facts), set it by C(module_defaults). The play's own C(gather_subset) does not reach it.
    type: list
    elements: str
    default:
      - all
  probe:
    description:
      - Whether the machine is only looked at, V(passive), or also tried out, V(active).
      - When V(active), C(kvm) makes a virtual machine and a virtual CPU, and on x86 runs five bytes of guest. It ends after 5 seconds at most.
      - When V(active), C(intercept) inserts rules in network namespaces that end at once. Modules of netfilter that the kernel loads for
        them stay loaded.
      - When V(active), C(reboot) asks dnf's C(needs-restarting) on a machine that has it.
      - When V(active), C(conntrack) may make the kernel load C(nf_conntrack_netlink), and C(time_sync) asks chronyd by C(chronyc).
      - When V(active), C(runtime) and C(image_fs) ask the container runtime by C(crictl) for its version and for the bytes of its images.
    type: str
    choices:
      - passive
      - active
    default: passive
  rlimits_of:
    description:
      - The names of further processes whose limits C(rlimits) shows, whoever's they are. The kernel keeps 15 bytes of a name.
    type: list
    elements: str
    default: []
seealso:
  - module: bulwark.node.hugepages
  - module: bulwark.node.kernel_args
  - module: bulwark.node.transparent_hugepages
  - module: ansible.builtin.setup
"""

EXAMPLES = r"""
- name: Gather everything
  bulwark.node.node_facts:

- name: Gather the hugepage pools alone
  bulwark.node.node_facts:
    gather_subset:
      - hugepages

- name: Gather all but transparent hugepages
  bulwark.node.node_facts:
    gather_subset:
      - '!transparent_hugepages'

- name: Refuse a machine whose hugepages the kubelet cannot hand out
  ansible.builtin.assert:
    that: ansible_facts['bulwark']['hugepages']['cgroup']['ready']
    fail_msg: "{{ ansible_facts['bulwark']['hugepages']['cgroup']['reason'] }}"

- name: Ask KVM by making a virtual machine
  bulwark.node.node_facts:
    gather_subset:
      - kvm
    probe: active

- name: Refuse a machine that does not serve guests of QEMU, and say why
  ansible.builtin.assert:
    that: ansible_facts['bulwark']['kvm']['profiles']['qemu']['verdict'] in ['ready', 'degraded']
    fail_msg: "{{ ansible_facts['bulwark']['kvm']['profiles']['qemu']['reasons'] }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts, under the one key C(bulwark).
  returned: always
  type: dict
  contains:
    bulwark:
      description: Everything that was gathered.
      returned: always
      type: dict
      contains:
        schema:
          description: The version of this shape. It grows when a fact changes its meaning or goes away.
          returned: always
          type: int
          sample: 1
        gathered_at:
          description: When it was gathered, in seconds since the epoch, by the machine's own clock.
          returned: always
          type: int
          sample: 1795222981
        errors:
          description: The subsets that could not be gathered.
          returned: always
          type: list
          elements: dict
          contains:
            subset:
              description: The name of the subset, which is V(null) in the facts.
              type: str
              sample: hugepages
            reason:
              description: What went wrong.
              type: str
              sample: "/proc/meminfo: cannot read: EACCES (Permission denied)"
          sample: []
        host:
          description: The machine itself.
          returned: when asked for
          type: dict
          contains:
            kernel_release:
              description: The running kernel, as C(uname -r) prints it.
              type: str
              sample: 6.1.0-28-amd64
            kernel_major:
              description: The first number of the running kernel's version. V(null) where its release does not begin with two numbers.
              type: int
              sample: 6
            kernel_minor:
              description: The second one.
              type: int
              sample: 1
            architecture:
              description: The machine's architecture, as C(uname -m) prints it.
              type: str
              sample: x86_64
            os_id:
              description: The distribution, C(ID) of os-release(5).
              type: str
              sample: debian
            os_version:
              description: The distribution's version, C(VERSION_ID) of os-release(5).
              type: str
              sample: "12"
            microcode:
              description: The version of the first CPU's microcode. V(null) in a guest, and where the architecture has none.
              type: str
              sample: "0xd000404"
            boot_id:
              description: The identity of this boot. Another value means that the machine was rebooted.
              type: str
              sample: decc24db-dfde-4798-bf1f-b30139e40ef1
            boot_time:
              description: When the machine was booted, in seconds since the epoch.
              type: int
              sample: 1795222981
            uptime_s:
              description: For how long it has been up, in seconds, the time in suspend included.
              type: int
              sample: 86400
            cmdline:
              description: The kernel's command line, split into its arguments. Secrets are replaced by C(<redacted>).
              type: list
              elements: str
              sample: ["root=/dev/vda1", "ro", "hugepagesz=1G", "hugepages=8"]
            cgroup:
              description: The version of control groups, V(v1), V(v2), or V(hybrid) where both are mounted.
              type: str
              sample: v2
            container:
              description: The kind of container that the module ran in, or V(none).
              type: str
              sample: none
            init:
              description: The service manager, V(systemd), or the name of the process with the number 1.
              type: str
              sample: systemd
            reason:
              description: Which of these could not be told, and why.
              type: str
              sample: null
        hugepages:
          description: The pools of hugepages and everything that decides whether they are of use.
          returned: when asked for
          type: dict
          contains:
            default_size_bytes:
              description: The size of a default hugepage in bytes.
              type: int
              sample: 2097152
            pools:
              description: A pool for each page size that the kernel offers. All counts are pages.
              type: list
              elements: dict
              contains:
                size:
                  description: The page size as people write it.
                  type: str
                  sample: 2M
                size_bytes:
                  description: The page size in bytes.
                  type: int
                  sample: 2097152
                total:
                  description: All pages of the pool, surplus ones included.
                  type: int
                  sample: 1024
                free:
                  description: Pages that are not mapped.
                  type: int
                  sample: 512
                reserved:
                  description: Free pages that are promised to a process.
                  type: int
                  sample: 128
                surplus:
                  description: Pages beyond the configured number, which go once they are free.
                  type: int
                  sample: 0
                overcommit:
                  description: How many surplus pages the kernel may add on demand.
                  type: int
                  sample: 0
                unclaimed:
                  description: Free pages that nobody was promised.
                  type: int
                  sample: 384
                nodes:
                  description: The pool's part on each NUMA node. Empty on a kernel without NUMA.
                  type: list
                  elements: dict
                  sample: [{"node": 0, "total": 1024, "free": 512, "surplus": 0}]
            pool_bytes:
              description: The memory in all pools, in bytes.
              type: int
              sample: 2147483648
            memory_total_bytes:
              description: The memory of the machine, in bytes.
              type: int
              sample: 25276514304
            idle_bytes:
              description: The memory in pages of the pools that are neither in use nor reserved, in bytes.
              type: int
              sample: 1073741824
            idle_percent:
              description: The same in percent of the memory of the machine.
              type: float
              sample: 4.2
            mounts:
              description: Each mounted hugetlbfs with its page size, which is V(null) where the mount does not tell.
              type: list
              elements: dict
              sample: [{"path": "/dev/hugepages", "size": "2M", "size_bytes": 2097152}]
            boot_args:
              description:
                - What the kernel's command line asks for. RV(ansible_facts.bulwark.hugepages.boot_args[].nodes) is set instead of C(count)
                  where it asks per NUMA node.
              type: list
              elements: dict
              contains:
                size:
                  description: The page size that the argument binds to.
                  type: str
                  sample: 1G
                size_bytes:
                  description: The same in bytes.
                  type: int
                  sample: 1073741824
                count:
                  description: The pages asked for on the whole machine.
                  type: int
                  sample: 8
                nodes:
                  description: The pages asked for on each node, by the node's number.
                  type: dict
                  sample: null
            boot_unmet:
              description: The numbers of pages that the kernel's command line asks for and the pools do not have, surplus pages not counted.
              type: list
              elements: dict
              contains:
                pool:
                  description: The page size, and the NUMA node where it asks for pages on one.
                  type: str
                  sample: 1G on node 1
                size:
                  description: The page size.
                  type: str
                  sample: 1G
                size_bytes:
                  description: The same in bytes.
                  type: int
                  sample: 1073741824
                node:
                  description: The NUMA node. V(null) where it asks for pages on the whole machine.
                  type: int
                  sample: 1
                asked:
                  description: The pages asked for.
                  type: int
                  sample: 8
                found:
                  description: The pages that there are.
                  type: int
                  sample: 6
            next_boot:
              description:
                - The pages of each size now and after the next boot, surplus pages not counted, by the arguments that run and the files of
                  sysctl.d, tmpfiles.d and tuned. What the next boot makes of the arguments is in C(kernel_args).
                - V(null) where that cannot be told.
              type: list
              elements: dict
              contains:
                size:
                  description: The page size.
                  type: str
                  sample: 2M
                size_bytes:
                  description: The same in bytes.
                  type: int
                  sample: 2097152
                now:
                  description: The pages that there are.
                  type: int
                  sample: 1024
                total:
                  description: The pages after the next boot, as far as memory goes.
                  type: int
                  sample: 0
            next_boot_reason:
              description: Why it cannot be told.
              type: str
              sample: null
            cgroup:
              description: Whether the kubelet can hand hugepages to pods through control groups.
              type: dict
              contains:
                ready:
                  description: V(true) where each file is there that the kubelet writes at its start. V(null) where that cannot be told.
                  type: bool
                  sample: false
                version:
                  description: V(v1), V(v2) or V(hybrid).
                  type: str
                  sample: v1
                reason:
                  description: Why it is not ready.
                  type: str
                  sample: "the kubelet's cgroups lack hugetlb files: an interrupted start left them incomplete"
                missing:
                  description: The files and folders that the next start of the kubelet fails on.
                  type: list
                  elements: str
                  sample: ["/sys/fs/cgroup/hugetlb/kubepods.slice/hugetlb.1GB.limit_in_bytes"]
            kubelet:
              description: Whether the kubelet knows of the pools as they are. It reads them at its start alone.
              type: dict
              contains:
                running:
                  description: Whether a kubelet runs.
                  type: bool
                  sample: true
                unit:
                  description: The unit that runs it.
                  type: str
                  sample: kubelet.service
                restart_needed:
                  description: Whether a pool is not as the kubelet found it at its start. V(null) where that cannot be told.
                  type: bool
                  sample: true
                reason:
                  description: Why it is needed, or cannot be told.
                  type: str
                  sample: the hugepages module changed a pool after the kubelet started
            reason:
              description: Why there are no pools.
              type: str
              sample: null
        transparent_hugepages:
          description: Transparent hugepages. A value is V(null) where the kernel does not have it.
          returned: when asked for
          type: dict
          contains:
            enabled:
              description: Where memory is given as transparent hugepages.
              type: str
              sample: madvise
            defrag:
              description: Whether a process waits until memory has been compacted.
              type: str
              sample: madvise
            shmem_enabled:
              description: The same as C(enabled), for shared memory.
              type: str
              sample: never
            khugepaged:
              description: The numbers that steer khugepaged.
              type: dict
              sample: {"defrag": 1, "max_ptes_none": 511, "pages_to_scan": 4096}
            always_for:
              description:
                - The sizes that all memory is given in, asked for or not. V(all sizes) stands for the one where the kernel has no policy for each.
              type: list
              elements: str
              sample: ["2M"]
            sizes:
              description: The policy for each size of multi-size transparent hugepages.
              type: list
              elements: dict
              sample: [{"size": "64K", "size_bytes": 65536, "enabled": "never", "shmem_enabled": "never"}]
            reason:
              description: Why there are none.
              type: str
              sample: null
        kernel_args:
          description: The arguments of the kernel, without secrets. Configured, running and after the next boot are three things.
          returned: when asked for
          type: dict
          contains:
            boot_loader:
              description: Where they come from, V(grub), V(kernel_install) or V(grubby). V(null) where M(bulwark.node.kernel_args) serves none.
              type: str
              sample: grub
            reason:
              description: Why it is judged so, and where there is none what sets arguments instead.
              type: str
              sample: /boot/grub/grub.cfg is there, update-grub makes it, and grub-mkconfig reads /etc/default/grub.d
            running:
              description: Those that the kernel was booted with. What follows C(--) is for init, and left out.
              type: list
              elements: str
              sample: [BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64, root=/dev/vda1, ro, quiet]
            shared:
              description: Those that run and name no disk, address or machine, to compare machines by.
              type: list
              elements: str
              sample: [ro, quiet]
            configured:
              description: Those that the files of the boot loader's configuration come to. What it adds itself is not among them.
              type: list
              elements: str
              sample: [quiet, hugepagesz=1G, hugepages=8]
            configured_reason:
              description: Why that is not known.
              type: str
              sample: null
            next_boot:
              description: Those of the entry that is booted next.
              type: list
              elements: str
              sample: [root=/dev/vda1, ro, quiet, hugepagesz=1G, hugepages=8]
            next_boot_reason:
              description: Why that is not known.
              type: str
              sample: null
            lost_at_boot:
              description:
                - Arguments that run and that the next boot does not have, those left out that find the root file system.
                - V(null) where its arguments are not known.
              type: list
              elements: str
              sample: ["isolcpus=2-7"]
            new_at_boot:
              description: Arguments that the next boot has and that do not run. V(null) where its arguments are not known.
              type: list
              elements: str
              sample: ["hugepagesz=1G", "hugepages=8"]
            entry_days:
              description: For how many whole days the entry that is booted next has been as it is. V(null) where it is not known.
              type: int
              sample: 3
            not_made:
              description:
                - Arguments that are configured and that the entry that is booted next does not have, as where it was not made anew.
                - V(null) where one of the two is not known.
              type: list
              elements: str
              sample: []
        kvm:
          description: Whether the machine runs guests with KVM.
          returned: when asked for
          type: dict
          contains:
            verdict:
              description:
                - V(ready) where a virtual machine and a virtual CPU were made and, on x86, a guest ran. V(degraded) where the guest did not run.
                - V(unavailable) where KVM is not there or refuses. V(unproven) where nothing speaks against it, and O(probe) is V(passive).
              type: str
              sample: ready
            proven:
              description: What was proven, of C(open), C(api), C(vm), C(vcpu) and C(real_mode_guest). A larger guest may still fail.
              type: list
              elements: str
              sample: ["open", "api", "vm", "vcpu", "real_mode_guest"]
            reasons:
              description: Why it is not ready, and why a value is V(null).
              type: list
              elements: dict
              contains:
                source:
                  description: The step, check or key that it is about.
                  type: str
                  sample: vm
                detail:
                  description: What is the matter.
                  type: str
                  sample: "EBUSY (Device or resource busy): another hypervisor holds the CPU's virtualization"
            api_version:
              description: The version that KVM speaks. There is only 12.
              type: int
              sample: 12
            module:
              description: The module that serves KVM. V(null) where none does.
              type: str
              sample: kvm_intel
            nested:
              description: Whether guests may run guests. V(null) where the module has no such parameter.
              type: bool
              sample: true
            device:
              description: The device node.
              type: dict
              contains:
                path:
                  description: Its path.
                  type: str
                  sample: /dev/kvm
                exists:
                  description: Whether it is there.
                  type: bool
                  sample: true
                mode:
                  description: Its permission bits, in octal digits.
                  type: str
                  sample: "0660"
                owner:
                  description: Its owner, or the owner's number where that has no name.
                  type: str
                  sample: root
                group:
                  description: Its group, or the group's number where that has no name.
                  type: str
                  sample: kvm
            users:
              description:
                - Each account that QEMU runs as, with whether it may read and write the device by permission bits, ACL and groups. AppArmor and
                  SELinux are not asked.
                - It is the one that libvirt's C(qemu.conf) names, or else those of C(libvirt-qemu) and C(qemu) that exist.
              type: dict
              sample: {"libvirt-qemu": true}
            checks:
              description: Everything that virt-host-validate, kvm-ok and KubeVirt look at, one by one.
              type: list
              elements: dict
              contains:
                name:
                  description: The name of the check, which is permanent.
                  type: str
                  sample: vhost_net
                status:
                  description: One of V(pass), V(warn), V(fail), V(unknown) and V(not_applicable).
                  type: str
                  sample: warn
                detail:
                  description: What was found, and what to do.
                  type: str
                  sample: "/dev/vhost-net is not there: load the module vhost_net: networks of guests are slow without it"
                profiles:
                  description: The profiles that stand on it. One that fails makes these unavailable, a warning makes them degraded.
                  type: list
                  elements: str
                  sample: ["qemu"]
            profiles:
              description: A verdict for each use of the machine. It is that on KVM, made worse by what the profile needs beside it.
              type: dict
              contains:
                qemu:
                  description: Guests by QEMU or libvirt, with the keys C(verdict) and C(reasons) as above.
                  type: dict
                  sample: {"verdict": "ready", "reasons": []}
                kubevirt:
                  description: Guests by KubeVirt, in the same shape.
                  type: dict
                  sample: {"verdict": "ready", "reasons": []}
                passthrough:
                  description: Guests that are given PCI devices, in the same shape.
                  type: dict
                  sample: {"verdict": "unavailable", "reasons": [{"source": "iommu_groups", "detail": "the kernel has no IOMMU group"}]}
            used_by:
              description: Who runs guests here. All is V(null) where the processes of others are hidden.
              type: dict
              contains:
                guests:
                  description: The processes of QEMU that are in no container.
                  type: int
                  sample: 4
                libvirt:
                  description: Whether libvirt serves guests of QEMU, or would be started to.
                  type: bool
                  sample: true
                virt_handler:
                  description: Whether KubeVirt's agent runs, be it in a container.
                  type: bool
                  sample: false
                reason:
                  description: Why that is not known.
                  type: str
                  sample: null
            cpu:
              description: What has to be alike on two machines between which a guest is migrated.
              type: dict
              contains:
                vendor:
                  description: The maker of the CPU, as C(/proc/cpuinfo) names it.
                  type: str
                  sample: GenuineIntel
                model:
                  description: The model of the CPU, as C(/proc/cpuinfo) names it.
                  type: str
                  sample: Intel(R) Xeon(R) Gold 6348 CPU @ 2.60GHz
                flags:
                  description: Its features, without those words of C(/proc/cpuinfo) that no guest sees.
                  type: list
                  elements: str
                  sample: ["aes", "avx", "avx2", "sse4_2", "vmx"]
        pci:
          description: PCI devices and SR-IOV.
          returned: when asked for
          type: dict
          contains:
            devices:
              description: Each device, in the order of the addresses.
              type: list
              elements: dict
              contains:
                address:
                  description: Its domain, bus, device and function.
                  type: str
                  sample: "0000:3b:00.0"
                class:
                  description: Its class, subclass and programming interface.
                  type: str
                  sample: "0x020000"
                vendor:
                  description: Its vendor.
                  type: str
                  sample: "0x8086"
                device:
                  description: The vendor's number of the device.
                  type: str
                  sample: "0x1572"
                driver:
                  description: The driver that is bound to it. V(null) where none is.
                  type: str
                  sample: i40e
                for_guests:
                  description: Whether that driver hands it to guests, as C(vfio-pci) does.
                  type: bool
                  sample: false
                numa_node:
                  description: The NUMA node that it is attached to. V(null) where the firmware does not say.
                  type: int
                  sample: 0
                iommu_group:
                  description: Its IOMMU group. V(null) where the kernel uses no IOMMU.
                  type: int
                  sample: 30
                physical_function:
                  description: The device that it is a virtual function of. V(null) where it is none.
                  type: str
                  sample: null
            sriov:
              description: Each device with SR-IOV.
              type: list
              elements: dict
              contains:
                address:
                  description: The physical function.
                  type: str
                  sample: "0000:3b:00.0"
                totalvfs:
                  description: The most virtual functions that it can have.
                  type: int
                  sample: 64
                numvfs:
                  description: The virtual functions that it has.
                  type: int
                  sample: 2
                vfs:
                  description: Their addresses, in the order of their numbers.
                  type: list
                  elements: str
                  sample: ["0000:3b:02.0", "0000:3b:02.1"]
            without_hugepages:
              description: The devices for guests on a NUMA node that has no hugepage, while another one has.
              type: list
              elements: dict
              contains:
                address:
                  description: The device.
                  type: str
                  sample: "0000:3b:02.0"
                numa_node:
                  description: The NUMA node that it is attached to.
                  type: int
                  sample: 0
                nodes:
                  description: The NUMA nodes that have hugepages.
                  type: list
                  elements: int
                  sample: [1]
            reason:
              description: Why there are no devices.
              type: str
              sample: null
        intercept:
          description: Whether traffic of IPv4 can be sent to a proxy of this machine. All is V(null) unless O(probe=active).
          returned: when asked for
          type: dict
          contains:
            redirect:
              description: Whether REDIRECT works, by one tool at least.
              type: bool
              sample: true
            tproxy:
              description: Whether TPROXY works, by one tool at least.
              type: bool
              sample: true
            socket_match:
              description: Whether a rule can match packets of a transparent socket, which TPROXY needs, by one tool at least.
              type: bool
              sample: false
            tried:
              description: Each rule that was inserted.
              type: list
              elements: dict
              contains:
                name:
                  description: One of V(redirect), V(tproxy) and V(socket_match).
                  type: str
                  sample: socket_match
                tool:
                  description: The tool, V(iptables) or V(nft).
                  type: str
                  sample: nft
                works:
                  description: Whether the kernel took it.
                  type: bool
                  sample: false
                detail:
                  description: What the tool said where it did not work.
                  type: str
                  sample: "returned 1 and said: Error: Could not process rule: No such file or directory"
            reason:
              description: Why nothing was tried.
              type: str
              sample: null
        links:
          description: Each network link, in the order of the kernel's numbers.
          returned: when asked for
          type: list
          elements: dict
          contains:
            name:
              description: Its name. Bytes that are no UTF-8 are shown as C(\xNN).
              type: str
              sample: bond0.100
            kind:
              description: Its kind, as C(ip -d link) prints it. V(null) for hardware and the loopback.
              type: str
              sample: vlan
            mtu:
              description: Its MTU.
              type: int
              sample: 1500
            min_mtu:
              description: The smallest MTU that it takes.
              type: int
              sample: 68
            max_mtu:
              description: The largest MTU that it takes. V(null) where it has no bound.
              type: int
              sample: 65535
            master:
              description: The bridge, bond or other link that it is a port of. V(null) where it is none.
              type: str
              sample: null
            lower:
              description:
                - The link that it stands on, as a VLAN does. V(null) where it stands on none.
                - It is none of the ports of a bridge or bond, and not the other end of a veth.
              type: str
              sample: bond0
            fits_lower:
              description:
                - Whether its largest frames, with the headers of a C(vxlan) or C(macsec), are none too large for C(lower). V(null) where it stands on none.
              type: bool
              sample: true
            driver:
              description: The driver of the hardware. V(null) where there is no hardware.
              type: str
              sample: null
            rp_filter:
              description:
                - How strictly the source addresses of what comes in by IPv4 are checked, the larger one of C(net.ipv4.conf) of this link and
                  of C(all).
              type: int
              sample: 0
            manager:
              description:
                - Who manages it, one of V(systemd-networkd), V(NetworkManager), V(ifupdown) and V(netplan), by the state that they keep in C(/run).
                - V(null) where none of these or more than one has it.
              type: str
              sample: netplan
            reason:
              description: Which of these could not be told, and why.
              type: str
              sample: null
        bridges:
          description: Each bridge of the kernel, in the order of its numbers. Those of Open vSwitch are not among them.
          returned: when asked for
          type: list
          elements: dict
          contains:
            name:
              description: Its name.
              type: str
              sample: br0
            mtu:
              description: Its own MTU.
              type: int
              sample: 9000
            effective_mtu:
              description: The smallest MTU of its ports. Larger frames are dropped there without a word. V(null) where it has no ports.
              type: int
              sample: 1500
            pinned:
              description:
                - Whether its MTU was set by hand, so that it does not follow its ports any more until it is removed.
                - V(null) where that cannot be told. The kernel tells it to nobody, so that it is never V(false).
              type: bool
              sample: true
            pinned_reason:
              description: How that is known, or why it is not.
              type: str
              sample: "its MTU is 9000, while the smallest of its ports is 1500: it does not follow them"
            ports:
              description: The links that are its ports.
              type: list
              elements: dict
              contains:
                name:
                  description: The port's name.
                  type: str
                  sample: vnet0
                mtu:
                  description: Its MTU.
                  type: int
                  sample: 1500
                kind:
                  description: Its kind, as in C(links).
                  type: str
                  sample: tun
                dynamic:
                  description: Whether a guest or a pod brought it, by its name, or because it is a tap or leads into another network namespace.
                  type: bool
                  sample: true
            widest_mtu:
              description: The largest MTU of the bridge and its ports.
              type: int
              sample: 9000
            narrow:
              description: The ports with a smaller one, those of guests and pods left out. Frames that others send are dropped there without a word.
              type: list
              elements: str
              sample: []
            narrow_dynamic:
              description: The same of ports of guests and pods.
              type: list
              elements: str
              sample: ["vnet0"]
            mismatched:
              description: The ports whose MTU is not the bridge's.
              type: list
              elements: str
              sample: ["vnet0"]
            vlan_filtering:
              description: Whether it keeps VLANs apart. V(null) where this kernel cannot.
              type: bool
              sample: false
            stp:
              description: Whether it takes part in the spanning tree protocol.
              type: bool
              sample: false
            uppers:
              description: The links that stand on it, VLANs above all.
              type: list
              elements: dict
              contains:
                name:
                  description: The link's name.
                  type: str
                  sample: br0.100
                mtu:
                  description: Its MTU.
                  type: int
                  sample: 9000
                kind:
                  description: Its kind, as in C(links).
                  type: str
                  sample: vlan
        routes:
          description: Routes of Calico that send packets nowhere.
          returned: when asked for
          type: dict
          contains:
            blackholes:
              description: The blackhole routes of the main table that Calico made for this node's blocks of addresses. It is normal that there are some.
              type: list
              elements: dict
              contains:
                destination:
                  description: The block.
                  type: str
                  sample: 10.244.1.0/26
                protocol:
                  description: Who made it, by the kernel's number, 12 for BIRD and 80 for Felix.
                  type: int
                  sample: 80
            swallowed:
              description:
                - Addresses of pods that run on this node and whose packets fall into one of those, because the longer route to the pod is missing.
                - V(null) where the pods of this node are not known. Pods of other nodes cannot be told from here.
              type: list
              elements: dict
              contains:
                address:
                  description: The pod's address, as the CNI plugin gave it.
                  type: str
                  sample: 10.244.1.7
                interface:
                  description: The pod's link on this node.
                  type: str
                  sample: cali0ef24b1a2c9
                pod:
                  description: The pod's namespace and name. V(null) where the plugin was not told.
                  type: str
                  sample: default/web-0
                blackhole:
                  description: The block that swallows it.
                  type: str
                  sample: 10.244.1.0/26
            reason:
              description: Which of these is not known, and why.
              type: str
              sample: null
        conntrack:
          description: The tracking of connections. All but C(loaded) is V(null) where the kernel tracks none.
          returned: when asked for
          type: dict
          contains:
            loaded:
              description: Whether the kernel tracks connections. V(null) where that cannot be told.
              type: bool
              sample: true
            count:
              description: How many connections are tracked.
              type: int
              sample: 18211
            max:
              description: How many can be. Beyond that, packets of new connections are dropped.
              type: int
              sample: 262144
            fullness:
              description: The part of these that is in use, from 0 to 1. V(null) where there is no limit.
              type: float
              sample: 0.0695
            insert_failed:
              description: Entries that could not be inserted since boot. A growing number is the sign of the race of DNS over UDP.
              type: int
              sample: 3
            drop:
              description: Packets that were dropped since boot because the table was full or memory ran out.
              type: int
              sample: 0
            early_drop:
              description: Entries that were dropped since boot to make room for others.
              type: int
              sample: 0
            insert_failed_per_hour:
              description: C(insert_failed) per hour since boot. The first hour counts as a whole one.
              type: float
              sample: 0.12
            lost_per_hour:
              description: C(drop) and C(early_drop) together, per hour since boot.
              type: float
              sample: 0.0
            reason:
              description: Which of these are not known, and why.
              type: str
              sample: null
        neighbours:
          description: The kernel's tables of neighbours, one for all network namespaces. A machine that is full of them reaches no new address.
          returned: when asked for
          type: dict
          contains:
            ipv4:
              description: Those of ARP.
              type: dict
              contains:
                entries:
                  description: How many neighbours there are, those of pods among them.
                  type: int
                  sample: 212
                max:
                  description: How many there can be, C(gc_thresh3).
                  type: int
                  sample: 1024
                fullness:
                  description: The part of these that is there, from 0 to 1.
                  type: float
                  sample: 0.207
                overflows:
                  description: How often one could not be added since boot, for the table was full.
                  type: int
                  sample: 0
                reason:
                  description: Which of these are not known, and why.
                  type: str
                  sample: null
            ipv6:
              description: Those of IPv6.
              type: dict
              contains:
                entries:
                  description: How many neighbours there are, those of pods among them.
                  type: int
                  sample: 212
                max:
                  description: How many there can be, C(gc_thresh3).
                  type: int
                  sample: 1024
                fullness:
                  description: The part of these that is there, from 0 to 1.
                  type: float
                  sample: 0.207
                overflows:
                  description: How often one could not be added since boot, for the table was full.
                  type: int
                  sample: 0
                reason:
                  description: Which of these are not known, and why.
                  type: str
                  sample: null
        sysctls:
          description:
            - The kernel's settings that decide for Kubernetes, by the names of sysctl(8). V(null) where the kernel has none of that name.
            - Those that begin with C(net.) are of the network namespace that the module runs in.
            - 'C(fs.aio-max-nr): Asynchronous I/O requests of the whole machine, which databases and QEMU use up.'
            - 'C(fs.file-max): Open files of the whole machine.'
            - 'C(fs.inotify.max_queued_events): Events that one inotify instance queues.'
            - 'C(fs.inotify.max_user_instances): inotify instances of one user. Too few show as C(too many open files).'
            - 'C(fs.inotify.max_user_watches): inotify watches of one user.'
            - 'C(fs.nr_open): The most open files that a process may be allowed.'
            - 'C(kernel.keys.root_maxbytes): Bytes of the keys of root. The kubelet wants 25000000.'
            - 'C(kernel.keys.root_maxkeys): Keys of root. The kubelet wants 1000000.'
            - 'C(kernel.panic): Seconds from a panic to the reboot, V(0) for none. The kubelet wants 10.'
            - 'C(kernel.panic_on_oops): Whether an oops is a panic. The kubelet wants 1.'
            - 'C(kernel.pid_max): The number of processes and threads of the whole machine.'
            - 'C(kernel.sched_rt_runtime_us): How long real-time threads may run of each second. Real-time guests want -1.'
            - 'C(kernel.threads-max): Threads of the whole machine.'
            - 'C(net.bridge.bridge-nf-call-arptables): Whether arptables sees what a bridge forwards.'
            - 'C(net.bridge.bridge-nf-call-ip6tables): Whether ip6tables sees what a bridge forwards.'
            - 'C(net.bridge.bridge-nf-call-iptables): Whether iptables sees what a bridge forwards, which kube-proxy needs with bridged pods.'
            - 'C(net.core.somaxconn): The longest queue of connections to accept.'
            - 'C(net.ipv4.conf.all.forwarding): Whether IPv4 is forwarded by every link.'
            - 'C(net.ipv4.conf.all.rp_filter): Whether packets whose answer would leave by another link are dropped, V(1) for yes and V(2) for loosely.'
            - 'C(net.ipv4.ip_forward): Whether IPv4 is forwarded. Pods reach nothing without it.'
            - 'C(net.ipv4.ip_local_port_range): The first and the last port of outgoing connections.'
            - 'C(net.ipv4.neigh.default.gc_thresh1): Neighbours below which none is dropped.'
            - 'C(net.ipv4.neigh.default.gc_thresh2): Neighbours above which old ones are dropped soon.'
            - 'C(net.ipv4.neigh.default.gc_thresh3): The most neighbours of IPv4.'
            - 'C(net.ipv6.conf.all.disable_ipv6): Whether IPv6 is switched off.'
            - 'C(net.ipv6.conf.all.forwarding): Whether IPv6 is forwarded.'
            - 'C(net.ipv6.neigh.default.gc_thresh3): The most neighbours of IPv6.'
            - 'C(net.netfilter.nf_conntrack_buckets): Buckets of the table of connections.'
            - 'C(net.netfilter.nf_conntrack_max): The most connections that are tracked.'
            - 'C(net.netfilter.nf_conntrack_tcp_timeout_close_wait): Seconds that a half closed connection is tracked.'
            - 'C(net.netfilter.nf_conntrack_tcp_timeout_established): Seconds that a silent connection is tracked.'
            - 'C(user.max_user_namespaces): User namespaces of one user.'
            - 'C(vm.max_map_count): Memory mappings of one process.'
            - 'C(vm.min_free_kbytes): KiB of memory that the kernel keeps free.'
            - 'C(vm.overcommit_memory): Whether memory is promised beyond what there is. The kubelet wants 1.'
            - 'C(vm.panic_on_oom): Whether running out of memory is a panic. The kubelet wants 0.'
            - 'C(vm.swappiness): How readily memory is swapped out.'
            - 'C(bridge_netfilter): What these come to, whether iptables sees what bridges forward. V(false) where br_netfilter is not loaded.'
            - 'C(node_ports): The ports from C(first) to C(last) are Kubernetes'' own range for NodePorts. C(ephemeral) of them may be taken by
              connections that the machine opens itself, as C(ip_local_port_range) and C(ip_local_reserved_ports) say. C(reason) says why that is not known.'
          returned: when asked for
          type: dict
          contains:
            reasons:
              description: Why a setting is V(null).
              type: list
              elements: dict
              contains:
                name:
                  description: The setting.
                  type: str
                  sample: net.bridge.bridge-nf-call-iptables
                reason:
                  description: Why it is not there.
                  type: str
                  sample: br_netfilter is not loaded
          sample:
            fs.aio-max-nr: 1048576
            fs.file-max: 9223372036854775807
            fs.inotify.max_queued_events: 16384
            fs.inotify.max_user_instances: 8192
            fs.inotify.max_user_watches: 524288
            fs.nr_open: 1048576
            kernel.keys.root_maxbytes: 25000000
            kernel.keys.root_maxkeys: 1000000
            kernel.panic: 10
            kernel.panic_on_oops: 1
            kernel.pid_max: 4194304
            kernel.sched_rt_runtime_us: 950000
            kernel.threads-max: 514563
            net.bridge.bridge-nf-call-arptables: 1
            net.bridge.bridge-nf-call-ip6tables: 1
            net.bridge.bridge-nf-call-iptables: 1
            net.core.somaxconn: 4096
            net.ipv4.conf.all.forwarding: 1
            net.ipv4.conf.all.rp_filter: 0
            net.ipv4.ip_forward: 1
            net.ipv4.ip_local_port_range: "32768 60999"
            net.ipv4.neigh.default.gc_thresh1: 128
            net.ipv4.neigh.default.gc_thresh2: 512
            net.ipv4.neigh.default.gc_thresh3: 1024
            net.ipv6.conf.all.disable_ipv6: 0
            net.ipv6.conf.all.forwarding: 1
            net.ipv6.neigh.default.gc_thresh3: 1024
            net.netfilter.nf_conntrack_buckets: 262144
            net.netfilter.nf_conntrack_max: 262144
            net.netfilter.nf_conntrack_tcp_timeout_close_wait: 3600
            net.netfilter.nf_conntrack_tcp_timeout_established: 86400
            user.max_user_namespaces: 257281
            vm.max_map_count: 262144
            vm.min_free_kbytes: 67584
            vm.overcommit_memory: 1
            vm.panic_on_oom: 0
            vm.swappiness: 60
            bridge_netfilter: true
            node_ports: {"first": 30000, "last": 32767, "ephemeral": 0, "reason": null}
            reasons: []
        inotify:
          description: Who watches files by inotify, beside what a user may. Too little of it shows as C(too many open files), whatever C(nofile) is.
          returned: when asked for
          type: dict
          contains:
            max_user_instances:
              description: The most instances of a user.
              type: int
              sample: 128
            max_user_watches:
              description: The most watches of a user.
              type: int
              sample: 524288
            users:
              description:
                - Each user that has some, the one with the most instances first. All containers of root count as one user with the machine's own
                  daemons.
                - A descriptor that a child inherited is counted with the child too.
              type: list
              elements: dict
              contains:
                uid:
                  description: The user's number.
                  type: int
                  sample: 0
                instances:
                  description: How many instances the user's processes have open.
                  type: int
                  sample: 111
                watches:
                  description: How many watches these have.
                  type: int
                  sample: 2048
                instances_fullness:
                  description: The part of C(max_user_instances) that is in use, from 0 to 1.
                  type: float
                  sample: 0.8672
                watches_fullness:
                  description: The part of C(max_user_watches) that is in use, from 0 to 1.
                  type: float
                  sample: 0.0039
                processes:
                  description: The processes with the most instances, five at most.
                  type: list
                  elements: dict
                  contains:
                    name:
                      description: The name of the process.
                      type: str
                      sample: kubelet
                    pid:
                      description: Its number.
                      type: int
                      sample: 901
                    instances:
                      description: How many it has open.
                      type: int
                      sample: 50
            complete:
              description: V(true), or V(null) where the files of some processes are hidden, so that there may be more.
              type: bool
              sample: true
            reason:
              description: Which files were not seen, and why.
              type: str
              sample: null
        time_sync:
          description: Whether the clock is kept in step.
          returned: when asked for
          type: dict
          contains:
            synchronized:
              description: Whether the kernel takes its clock for synchronized. V(null) where a daemon keeps it without telling the kernel.
              type: bool
              sample: true
            offset_s:
              description:
                - True time less the clock's, in seconds, as its keeper last knew it. It is positive where the clock is slow.
                - V(null) where nobody measures it, and with chronyd unless O(probe=active).
              type: float
              sample: 0.000152
            source:
              description: The daemon that keeps it, one of V(chronyd), V(systemd-timesyncd) and V(ntpd). V(null) where none or more than one runs.
              type: str
              sample: systemd-timesyncd
            reason:
              description: Which of these is not known, and why.
              type: str
              sample: null
        kubelet:
          description: The kubelet, its configuration, and whether its next start will fail.
          returned: when asked for
          type: dict
          contains:
            running:
              description: Whether a kubelet runs, on its own or inside of a distribution.
              type: bool
              sample: true
            enabled:
              description: Whether systemd starts one at boot. One that is enabled and does not run is broken, or not set up yet.
              type: bool
              sample: true
            flavour:
              description: Who starts it, V(kubelet) where nobody else does, or V(k3s), V(rke2), V(microk8s) or V(k0s).
              type: str
              sample: kubelet
            pid:
              description: Its process.
              type: int
              sample: 901
            started_at:
              description: When it started, in seconds since the epoch.
              type: int
              sample: 1795222981
            started_after_boot_s:
              description: The same in seconds after boot, a clock that nobody can set.
              type: float
              sample: 31.5
            unit:
              description: The unit that runs it.
              type: str
              sample: kubelet.service
            config:
              description:
                - The effective configuration, merged as the kubelet does it. Defaults come first, then the file, the drop-ins in the order of their
                  names, and the flags. The names are those of C(KubeletConfiguration).
                - Each field has a V(value), and a V(source), which is V(default), V(flag) or the path of a file. Both are V(null) where nothing sets it
                  and the releases of Kubernetes do not share one default.
                - The files are read as they are now. What was changed in them after the kubelet started takes effect at its next start.
              type: dict
              contains:
                files:
                  description: The files that it was read from, in the order of merging.
                  type: list
                  elements: str
                  sample: ["/var/lib/kubelet/config.yaml"]
                cgroupDriver:
                  description: What manages the control groups of pods. Where nothing sets it, the container runtime may decide.
                  type: dict
                  sample: {"value": "systemd", "source": "/var/lib/kubelet/config.yaml"}
                containerRuntimeEndpoint:
                  description: The socket of the container runtime.
                  type: dict
                  sample: {"value": "unix:///run/containerd/containerd.sock", "source": "/var/lib/kubelet/config.yaml"}
                cpuManagerPolicy:
                  description: The policy of the CPU manager.
                  type: dict
                  sample: {"value": "none", "source": "default"}
                failCgroupV1:
                  description: Whether it refuses to start on cgroup v1.
                  type: dict
                  sample: {"value": null, "source": null}
                failSwapOn:
                  description: Whether it refuses to start with swap.
                  type: dict
                  sample: {"value": true, "source": "default"}
                imageGCHighThresholdPercent:
                  description: The use of the images' file system in percent that images are removed from.
                  type: dict
                  sample: {"value": 85, "source": "default"}
                imageGCLowThresholdPercent:
                  description: The use in percent that they are removed down to.
                  type: dict
                  sample: {"value": 80, "source": "default"}
                maxPods:
                  description: The most pods on this node.
                  type: dict
                  sample: {"value": 110, "source": "default"}
                memoryManagerPolicy:
                  description: The policy of the memory manager.
                  type: dict
                  sample: {"value": "None", "source": "default"}
                podPidsLimit:
                  description: The most processes of a pod. V(-1) means all that the node has.
                  type: dict
                  sample: {"value": -1, "source": "default"}
                protectKernelDefaults:
                  description: Whether it refuses to start where the kernel's settings are not those that it wants, which it sets otherwise.
                  type: dict
                  sample: {"value": false, "source": "default"}
                reservedSystemCPUs:
                  description: The CPUs that are kept from pods.
                  type: dict
                  sample: {"value": "0-1", "source": "flag"}
                topologyManagerPolicy:
                  description: The policy of the topology manager.
                  type: dict
                  sample: {"value": "none", "source": "default"}
                topologyManagerScope:
                  description: Whether that policy is for containers or for pods.
                  type: dict
                  sample: {"value": "container", "source": "default"}
                cpuManagerPolicyOptions:
                  description: The options of the CPU manager's policy.
                  type: list
                  elements: dict
                  sample: [{"name": "full-pcpus-only", "value": "true", "source": "flag"}]
                evictionHard:
                  description: The thresholds that pods are evicted at, by signal.
                  type: list
                  elements: dict
                  sample: [{"name": "memory.available", "value": "100Mi", "source": "default"}]
                evictionSoft:
                  description: The thresholds that pods are evicted at after a time.
                  type: list
                  elements: dict
                  sample: [{"name": "memory.available", "value": "1Gi", "source": "flag"}]
                evictionSoftGracePeriod:
                  description: That time, by signal.
                  type: list
                  elements: dict
                  sample: [{"name": "memory.available", "value": "1m30s", "source": "flag"}]
                kubeReserved:
                  description: What is kept for Kubernetes itself, by resource.
                  type: list
                  elements: dict
                  sample: [{"name": "memory", "value": "1Gi", "source": "/var/lib/kubelet/config.yaml"}]
                systemReserved:
                  description: What is kept for the rest of the system, by resource.
                  type: list
                  elements: dict
                  sample: [{"name": "memory", "value": "500Mi", "source": "/var/lib/kubelet/config.yaml"}]
                reason:
                  description: Why it is not known. The values of flags are sure and are given all the same.
                  type: str
                  sample: "/var/lib/kubelet/config.yaml: line 3: holds a tab"
            changed_since_start:
              description:
                - The configuration files that were changed, or replaced, after the kubelet started. It reads them at its start alone,
                  so that C(config) is then what its next start will take.
              type: list
              elements: str
              sample: ["/var/lib/kubelet/config.yaml"]
            config_conflicts:
              description:
                - What of C(config) the next start of the kubelet fails on, whatever its release. V(null) where the configuration is not known.
              type: list
              elements: dict
              contains:
                field:
                  description: The field.
                  type: str
                  sample: imageGCLowThresholdPercent
                reason:
                  description: What is wrong with it.
                  type: str
                  sample: is 85, and must be below imageGCHighThresholdPercent, 80
            evictions:
              description: Each signal that has a threshold, C(hard) or C(soft). V(null) where the configuration is not known.
              type: list
              elements: dict
              contains:
                signal:
                  description: The signal.
                  type: str
                  sample: memory.available
                hard:
                  description: The threshold at which pods are evicted at once.
                  type: str
                  sample: 100Mi
                soft:
                  description: The one at which they are evicted after a time.
                  type: str
                  sample: 1Gi
                contradicts:
                  description: Whether the soft threshold is not above the hard one, so that it never acts. V(null) where that cannot be told.
                  type: bool
                  sample: false
            memory_eviction:
              description: When the kubelet evicts for want of memory. It takes hugepages for available, unless it is of a release that knows better.
              type: dict
              contains:
                hard_bytes:
                  description: The hard threshold. V(0) where there is none.
                  type: int
                  sample: 104857600
                soft_bytes:
                  description: The soft one. V(0) where there is none.
                  type: int
                  sample: 1073741824
                begins_bytes:
                  description: The higher one of the two.
                  type: int
                  sample: 1073741824
                available_bytes:
                  description: What the kubelet takes for available.
                  type: int
                  sample: 24682139648
                headroom_bytes:
                  description: How much of it may still be used until eviction begins.
                  type: int
                  sample: 23608397824
                headroom_percent:
                  description: The same, in percent of the machine's memory.
                  type: float
                  sample: 93.4
                reason:
                  description: Which of these are not known, and why.
                  type: str
                  sample: null
            node_fs:
              description: The file system of the kubelet's own folder, which it calls C(nodefs). V(null) where there is no such folder.
              type: dict
              contains:
                path:
                  description: The folder.
                  type: str
                  sample: /var/lib/kubelet
                mountpoint:
                  description: Where its file system is mounted.
                  type: str
                  sample: /var
                device:
                  description: What is mounted there.
                  type: str
                  sample: /dev/vda2
                fstype:
                  description: The kind of file system.
                  type: str
                  sample: ext4
                capacity_bytes:
                  description: The size of the file system.
                  type: int
                  sample: 105089261568
                available_bytes:
                  description: What is free for users that are not root.
                  type: int
                  sample: 31526778470
                available_percent:
                  description: The same, in percent of the size.
                  type: float
                  sample: 30.0
                inodes:
                  description: The number of inodes. V(null) where the file system has no fixed number.
                  type: int
                  sample: 6553600
                inodes_free:
                  description: How many of them are free.
                  type: int
                  sample: 6012345
                inodes_free_percent:
                  description: The same, in percent of their number.
                  type: float
                  sample: 91.74
                eviction_percent:
                  description: The part that is free, in percent, below which pods are evicted at once. V(0) where there is no such threshold.
                  type: float
                  sample: 10.0
                headroom_percent:
                  description: How much of the whole, in percent, may still be used until then.
                  type: float
                  sample: 20.0
                inodes_eviction_percent:
                  description: The same as C(eviction_percent), for inodes.
                  type: float
                  sample: 5.0
                inodes_headroom_percent:
                  description: The same as C(headroom_percent), for inodes.
                  type: float
                  sample: 86.74
            pod_pids:
              description: What the pods may take of the process numbers.
              type: dict
              contains:
                most:
                  description: All pods together, C(maxPods) times C(podPidsLimit). V(null) where there is no limit.
                  type: int
                  sample: 256000
                machine_max:
                  description: The machine's own limit, the smaller one of C(kernel.pid_max) and C(kernel.threads-max).
                  type: int
                  sample: 514563
                ratio:
                  description: The one divided by the other.
                  type: float
                  sample: 0.498
                reason:
                  description: Why it is not known.
                  type: str
                  sample: null
            reserved_memory_bytes:
              description: The memory that pods do not get, C(kubeReserved), C(systemReserved) and the hard threshold together.
              type: int
              sample: 1702887424
            reserved_memory_reason:
              description: Why that cannot be told.
              type: str
              sample: null
            state_files:
              description: The files in which the kubelet's managers keep what they assigned.
              type: list
              elements: dict
              contains:
                manager:
                  description: V(cpu), V(memory) or V(pod_status).
                  type: str
                  sample: memory
                path:
                  description: The file.
                  type: str
                  sample: /var/lib/kubelet/memory_manager_state
                policy:
                  description: The policy that wrote it. V(null) where the manager has none.
                  type: str
                  sample: Static
                reason:
                  description: Why it cannot be read.
                  type: str
                  sample: null
            state_conflicts:
              description:
                - What the next start of the kubelet fails on. It refuses a state of another policy or of another machine, until the node is drained
                  and the file removed.
              type: list
              elements: dict
              contains:
                path:
                  description: The file.
                  type: str
                  sample: /var/lib/kubelet/memory_manager_state
                reason:
                  description: What differs.
                  type: str
                  sample: "node 0: the file says 67430772736 bytes of memory, the machine has 67430768640 bytes"
            reason:
              description: Why there is nothing to tell.
              type: str
              sample: null
        runtime:
          description: The container runtime that the kubelet uses. Without a kubelet, the one that runs.
          returned: when asked for
          type: dict
          contains:
            kind:
              description: V(containerd), V(cri-o) or V(docker).
              type: str
              sample: containerd
            running:
              description: Whether its process was seen.
              type: bool
              sample: true
            reachable:
              description: Whether the kubelet finds it, its socket and its process. V(null) where that cannot be told without asking it.
              type: bool
              sample: true
            reachable_reason:
              description: Why it is not, or cannot be told.
              type: str
              sample: null
            pid:
              description: That process.
              type: int
              sample: 702
            unit:
              description: The unit that runs it.
              type: str
              sample: containerd.service
            embedded_in:
              description: The Kubernetes distribution that starts it, such as V(k3s).
              type: str
              sample: null
            version:
              description: Its version. V(null) unless O(probe=active).
              type: str
              sample: 1.7.24
            version_reason:
              description: Why the version is not known.
              type: str
              sample: null
            config:
              description: Its configuration, with the runtime's defaults.
              type: dict
              contains:
                files:
                  description: The files that it was read from, in the order of merging.
                  type: list
                  elements: str
                  sample: ["/etc/containerd/config.toml"]
                cgroup_driver:
                  description: What manages the control groups of containers, V(systemd) or V(cgroupfs). The kubelet must use the same.
                  type: str
                  sample: systemd
                disable_hugetlb_controller:
                  description: Whether containers get no limit of their own for hugepages. V(null) where the runtime has no such setting.
                  type: bool
                  sample: true
                snapshotter:
                  description: What keeps the layers of images, by the runtime's own name. V(null) where Docker chooses it itself.
                  type: str
                  sample: overlayfs
                root:
                  description: The folder of the runtime's data.
                  type: str
                  sample: /var/lib/containerd
                reason:
                  description: Why it is not known, or what of it is not.
                  type: str
                  sample: null
            changed_since_start:
              description: The configuration files that were changed after it started, which it has not read as they are. V(null) where its start is not known.
              type: list
              elements: str
              sample: ["/etc/containerd/config.toml"]
            socket:
              description: The socket that it is reached by, as it or the kubelet was told, or else the usual one that is there.
              type: dict
              contains:
                path:
                  description: The socket. V(null) where none is known.
                  type: str
                  sample: /run/containerd/containerd.sock
                exists:
                  description: Whether it is there.
                  type: bool
                  sample: true
            sockets:
              description: The usual sockets of runtimes, and the one that the kubelet is told to use.
              type: list
              elements: dict
              contains:
                path:
                  description: The socket.
                  type: str
                  sample: /run/containerd/containerd.sock
                exists:
                  description: Whether it is there.
                  type: bool
                  sample: true
            reason:
              description: Why there is nothing to tell.
              type: str
              sample: null
        image_fs:
          description:
            - The file systems that hold images of containers, that of the current runtime first. A usual folder of a runtime that does not run is
              listed as well, since what it holds takes space.
          returned: when asked for
          type: list
          elements: dict
          contains:
            runtime:
              description: The runtime that keeps its images there. V(null) where none of those that run does.
              type: str
              sample: containerd
            current:
              description: Whether it is the runtime of the subset C(runtime).
              type: bool
              sample: true
            path:
              description: The folder.
              type: str
              sample: /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs
            mountpoint:
              description: Where its file system is mounted.
              type: str
              sample: /var
            device:
              description: What is mounted there.
              type: str
              sample: /dev/vda2
            fstype:
              description: The kind of file system.
              type: str
              sample: ext4
            capacity_bytes:
              description: The size of the file system.
              type: int
              sample: 105089261568
            available_bytes:
              description: What is free for users that are not root.
              type: int
              sample: 31526778470
            available_percent:
              description: The same, in percent of the size.
              type: float
              sample: 30.0
            inodes:
              description: The number of inodes. V(null) where the file system has no fixed number.
              type: int
              sample: 6553600
            inodes_free:
              description: How many of them are free.
              type: int
              sample: 6012345
            inodes_free_percent:
              description: The same, in percent of their number.
              type: float
              sample: 91.74
            gc_percent:
              description: The use in percent as the kubelet compares it with C(imageGCHighThresholdPercent).
              type: int
              sample: 71
            gc_high_percent:
              description: The kubelet's C(imageGCHighThresholdPercent). This and what follows are V(null) where no kubelet measures this file system.
              type: int
              sample: 85
            gc_margin_percent:
              description: How far images are collected before pods are evicted for their space, in percent of the file system. Below V(0) pods go first.
              type: float
              sample: 0.0
            eviction_percent:
              description: The part that is free, in percent, below which pods are evicted at once. V(0) where there is no such threshold.
              type: float
              sample: 10.0
            headroom_percent:
              description: How much of the whole, in percent, may still be used until then.
              type: float
              sample: 20.0
            inodes_eviction_percent:
              description: The same as C(eviction_percent), for inodes.
              type: float
              sample: 5.0
            inodes_headroom_percent:
              description: The same as C(headroom_percent), for inodes.
              type: float
              sample: 86.74
            used_bytes:
              description: The bytes of the images by the runtime's own count. V(null) unless O(probe=active).
              type: int
              sample: 20615843020
            reason:
              description: Why those bytes are not known.
              type: str
              sample: null
        rlimits:
          description:
            - Resource limits. A limit is an integer in the kernel's own unit (setrlimit(2)), or the string V(unlimited).
            - The names of limits are those of the kernel in small letters, such as C(nofile), C(nproc), C(memlock) and C(core).
          returned: when asked for
          type: dict
          contains:
            ceilings:
              description: What bounds the whole machine, whatever a process may have. V(null) where the kernel has no such setting.
              type: dict
              contains:
                nr_open:
                  description: The most open files that any process can be given, C(fs.nr_open).
                  type: int
                  sample: 1048576
                file_max:
                  description: The most open files of the machine, C(fs.file-max).
                  type: int
                  sample: 9223372036854775807
                file_nr:
                  description: The open files of the machine now.
                  type: int
                  sample: 4512
                threads_max:
                  description: The most threads of the machine, C(kernel.threads-max).
                  type: int
                  sample: 192731
                pid_max:
                  description: The number at which process numbers start again, C(kernel.pid_max).
                  type: int
                  sample: 4194304
                inotify:
                  description: The limits of each user's file watches, C(fs.inotify.*).
                  type: dict
                  sample: {"max_user_instances": 128, "max_user_watches": 192536, "max_queued_events": 16384}
            manager_defaults:
              description:
                - The C(DefaultLimit*) of systemd's configuration files, by the name of the limit, each with the keys C(soft), C(hard) and
                  C(file). V(null) where no file sets it, for systemd does not tell in a file what it was built with.
              type: dict
              sample: {"nofile": {"soft": 1024, "hard": 524288, "file": "/etc/systemd/system.conf.d/limits.conf"}, "nproc": null}
            processes:
              description:
                - The kubelet, k3s, RKE2, containerd, CRI-O, Docker, libvirt and sshd of the machine itself, and the processes of O(rlimits_of).
                - A child of a process of the same name is left out. At most 100 are listed.
              type: list
              elements: dict
              contains:
                name:
                  description: The name of the process, of which the kernel keeps 15 bytes.
                  type: str
                  sample: containerd
                pid:
                  description: Its number.
                  type: int
                  sample: 702
                unit:
                  description: The unit of the system's service manager that it runs in. V(null) where it runs in none.
                  type: str
                  sample: containerd.service
                limits:
                  description:
                    - What it runs with, all limits of the kernel by their names, each with the keys C(soft), C(hard) and C(source).
                    - C(source) is V(unit) where the files of its unit set this limit, V(manager_default) where systemd's do, and V(null) where none
                      does, or where the process runs with another one.
                    - A soft limit that was raised up to the hard one, as programs in Go do of themselves, counts as set by the file.
                  type: dict
                  sample: {"nofile": {"soft": 1048576, "hard": 1048576, "source": "unit"}, "rtprio": {"soft": 0, "hard": 0, "source": null}}
                differs:
                  description:
                    - The limits that files set and that the process does not run with. It was started before systemd read them, or was changed since.
                  type: list
                  elements: dict
                  contains:
                    limit:
                      description: The name of the limit.
                      type: str
                      sample: nofile
                    source:
                      description: V(unit) or V(manager_default).
                      type: str
                      sample: unit
                    soft:
                      description: The soft limit that the file sets.
                      type: raw
                      sample: 65536
                    hard:
                      description: The hard limit that the file sets.
                      type: raw
                      sample: 65536
                    file:
                      description: The file.
                      type: str
                      sample: /etc/systemd/system/containerd.service.d/limits.conf
                    days:
                      description: For how many whole days the file has been as it is.
                      type: int
                      sample: 12
            qemu:
              description: The processes of QEMU, those in containers among them, and the one that is nearest to its limit of open files.
              type: dict
              contains:
                processes:
                  description: How many run.
                  type: int
                  sample: 4
                open_files:
                  description: The open files of that one.
                  type: int
                  sample: 612
                nofile:
                  description: Its soft limit.
                  type: int
                  sample: 8192
                percent:
                  description: The one in percent of the other.
                  type: float
                  sample: 7.5
                pid:
                  description: Its number.
                  type: int
                  sample: 4242
                reason:
                  description: Why these are V(null).
                  type: str
                  sample: null
            above_nr_open:
              description: PAM's hard limits of open files above C(fs.nr_open). The kernel refuses them, and pam_limits(8) the login.
              type: list
              elements: dict
              contains:
                file:
                  description: The file.
                  type: str
                  sample: /etc/security/limits.d/90-nofile.conf
                line:
                  description: The number of the line.
                  type: int
                  sample: 3
                domain:
                  description: Whom it is for, as it stands there.
                  type: str
                  sample: "*"
                value:
                  description: The limit.
                  type: int
                  sample: 2097152
            above_nr_open_reason:
              description: Why that is not known.
              type: str
              sample: null
            pam:
              description: The limits that a login gets from pam_limits(8).
              type: dict
              contains:
                entries:
                  description:
                    - The lines of C(/etc/security/limits.conf) and C(/etc/security/limits.d) in the order in which they are read, at most 1000.
                    - Both C(item) and C(value) are V(null) in a line that frees its domain of all limits.
                  type: list
                  elements: dict
                  contains:
                    file:
                      description: The file.
                      type: str
                      sample: /etc/security/limits.d/90-nofile.conf
                    line:
                      description: The number of the line.
                      type: int
                      sample: 3
                    domain:
                      description: Whom it is for, as it stands there.
                      type: str
                      sample: "@qemu"
                    type:
                      description: V(soft), V(hard), or V(-) for both.
                      type: str
                      sample: hard
                    item:
                      description: The name of the limit.
                      type: str
                      sample: nofile
                    value:
                      description: The value as it stands there, in the units of limits.conf(5).
                      type: str
                      sample: "1048576"
                loaded_by:
                  description: The PAM services whose sessions load pam_limits, in their own file or in one that it includes.
                  type: list
                  elements: str
                  sample: ["login", "sshd", "su"]
        memory:
          description: The machine's memory. All sizes are bytes.
          returned: when asked for
          type: dict
          contains:
            installed_bytes:
              description:
                - The memory of the machine in whole blocks, which is alike on machines that are, as C(MemTotal) is not. V(null) where the kernel
                  does not tell.
              type: int
              sample: 68719476736
            meminfo:
              description: The lines of C(/proc/meminfo) by the kernel's names. Those without a unit there, C(HugePages_*), are numbers of pages.
              type: dict
              sample: {"MemTotal": 25276514304, "MemFree": 23889149952, "MemAvailable": 24762372096, "Hugetlb": 0}
            free:
              description: What C(free -b) of procps 4 prints. Used is what is not available, so that pools of hugepages are used.
              type: dict
              contains:
                mem:
                  description: The line C(Mem).
                  type: dict
                  contains:
                    total:
                      description: All memory.
                      type: int
                      sample: 25276514304
                    used:
                      description: What is not available.
                      type: int
                      sample: 514142208
                    free:
                      description: What nothing uses at all.
                      type: int
                      sample: 23889149952
                    shared:
                      description: Shared memory and tmpfs.
                      type: int
                      sample: 34729984
                    buff_cache:
                      description: Buffers, page cache and slabs that can be given back.
                      type: int
                      sample: 1211580416
                    available:
                      description: What programs can get without swapping.
                      type: int
                      sample: 24762372096
                swap:
                  description: The line C(Swap).
                  type: dict
                  sample: {"total": 0, "used": 0, "free": 0}
            kubelet:
              description: The same as the kubelet counts it, by the rule of cAdvisor, whether one runs or not.
              type: dict
              contains:
                working_set_bytes:
                  description: What is in use, without the inactive part of the page cache.
                  type: int
                  sample: 594374656
                available_bytes:
                  description: What the kubelet compares with the eviction threshold C(memory.available).
                  type: int
                  sample: 24682139648
                available_corrected_bytes:
                  description: The same without the memory in pools of hugepages, which the kubelet takes for available.
                  type: int
                  sample: 16092205056
                reason:
                  description: Why one of these is V(null).
                  type: str
                  sample: null
            swap:
              description: Swap.
              type: dict
              contains:
                total:
                  description: All swap.
                  type: int
                  sample: 2147479552
                free:
                  description: Unused swap.
                  type: int
                  sample: 2147479552
                used_percent:
                  description: What is used of it, in percent. V(0) where there is none.
                  type: float
                  sample: 12.5
                devices:
                  description: Each swap device or file.
                  type: list
                  elements: dict
                  contains:
                    path:
                      description: Its path.
                      type: str
                      sample: /dev/vda3
                    type:
                      description: V(partition) or V(file).
                      type: str
                      sample: partition
                    size_bytes:
                      description: Its size.
                      type: int
                      sample: 2147479552
                    used_bytes:
                      description: How much of it is used.
                      type: int
                      sample: 0
                    priority:
                      description: Its priority. The one with the highest number is used first.
                      type: int
                      sample: -2
            pressure:
              description: How much of the time tasks waited for memory, C(/proc/pressure/memory).
              type: dict
              contains:
                some:
                  description:
                    - The time in which at least one task waited, in percent of the last 10, 60 and 300 seconds, and in seconds since boot.
                  type: dict
                  sample: {"avg10": 0.0, "avg60": 0.12, "avg300": 0.05, "total_s": 12.504131}
                full:
                  description: The time in which all tasks waited, in the same shape.
                  type: dict
                  sample: {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total_s": 3.120004}
                reason:
                  description: Why the kernel does not tell.
                  type: str
                  sample: null
        reboot:
          description: Whether the machine wants a reboot.
          returned: when asked for
          type: dict
          contains:
            required:
              description: Whether there is a reason. V(null) where there is none, yet not everything could be told.
              type: bool
              sample: true
            pending_days:
              description: For how many whole days the first reason has been there. V(null) where there is none, or none with a time.
              type: int
              sample: 1
            reasons:
              description: Each reason.
              type: list
              elements: dict
              contains:
                source:
                  description:
                    - V(sentinel) where C(/var/run/reboot-required) exists, V(packages) where packages asked for it, V(kernel) where a newer kernel
                      of the same flavour is installed, or the running one no longer is.
                  type: str
                  sample: kernel
                detail:
                  description: What it is about.
                  type: str
                  sample: 6.1.0-31-amd64 is installed, 6.1.0-28-amd64 is running
                since:
                  description: Since when, in seconds since the epoch. V(null) where that is not known.
                  type: int
                  sample: 1795100000
            transaction_running:
              description: Whether dpkg or rpm is changing packages, that is, holds its lock. V(null) where that cannot be told.
              type: bool
              sample: false
            reason:
              description: What could not be told, and why.
              type: str
              sample: null
        oom:
          description: What the kernel killed for want of memory.
          returned: when asked for
          type: dict
          contains:
            kills:
              description: The processes killed on the machine since its boot, those for a container's own limit too.
              type: int
              sample: 3
            outside_pods:
              description: Those of them that hit no pod. V(null) where those of pods that are gone are not counted, as on cgroup v1.
              type: int
              sample: 1
            pods:
              description: Those of them in pods.
              type: dict
              contains:
                kills:
                  description: Their number.
                  type: int
                  sample: 2
                kills_per_day:
                  description: The same per day since boot. The first day counts as a whole one.
                  type: float
                  sample: 2.0
                reason:
                  description: Why it is V(null), or may be too low.
                  type: str
                  sample: null
            cgroups:
              description: The control groups of pods that still exist and had processes killed, those with the most first, at most 50.
              type: list
              elements: dict
              contains:
                path:
                  description: The path below the root of control groups.
                  type: str
                  sample: kubepods.slice/kubepods-pod0b9c6d1e.slice/cri-containerd-4f1a.scope
                kills:
                  description: The processes killed in it.
                  type: int
                  sample: 2
            reason:
              description: Why the number of the machine is V(null).
              type: str
              sample: null
        cgroups:
          description: Control groups.
          returned: when asked for
          type: dict
          contains:
            version:
              description: V(v1), V(v2), or V(hybrid) where both are mounted.
              type: str
              sample: v2
            controllers:
              description: The kernel's controllers.
              type: list
              elements: dict
              contains:
                name:
                  description: The name.
                  type: str
                  sample: memory
                hierarchy:
                  description: The number of the v1 hierarchy that it is in. V(0) is the unified one, or none.
                  type: int
                  sample: 0
                enabled:
                  description: Whether it was left on at boot.
                  type: bool
                  sample: true
            delegated:
              description: On v2, the controllers that reach the pods, or that the root hands down where there are no pods.
              type: list
              elements: str
              sample: ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"]
            kubepods:
              description: The control group of all pods.
              type: dict
              contains:
                present:
                  description: Whether there is one where the kubelet or kind puts it by default. V(null) where that cannot be told.
                  type: bool
                  sample: true
                path:
                  description: Its path below the root.
                  type: str
                  sample: kubepods.slice
                driver:
                  description: The kubelet's cgroup driver as its name tells, V(systemd) or V(cgroupfs). V(null) where there are those of both.
                  type: str
                  sample: systemd
            pids:
              description: The tasks of all pods, and of the machine.
              type: dict
              contains:
                current:
                  description: Their number.
                  type: int
                  sample: 412
                max:
                  description: The most that they may have, an integer or the string V(unlimited).
                  type: raw
                  sample: 115213
                fullness:
                  description: The part of these that is in use, from 0 to 1, or of the machine's where the pods have no limit.
                  type: float
                  sample: 0.0036
                machine_current:
                  description: The tasks of the whole machine, as the kubelet counts them.
                  type: int
                  sample: 891
                machine_max:
                  description: The most that there may be, the smaller one of C(kernel.pid_max) and C(kernel.threads-max).
                  type: int
                  sample: 514563
                machine_fullness:
                  description: The part of these that is in use, from 0 to 1.
                  type: float
                  sample: 0.0017
            psi:
              description: Whether the kernel tells of pressure stall information.
              type: bool
              sample: true
            reason:
              description: What could not be told, and why.
              type: str
              sample: null
        managed:
          description: What this collection wrote on the machine and has not given back.
          returned: when asked for
          type: dict
          contains:
            objects:
              description:
                - The entries of C(/var/lib/bulwark/manifest.json), and files that begin as ours and that it does not know.
                - V(null) where it cannot be read.
              type: list
              elements: dict
              contains:
                kind:
                  description:
                    - V(files), V(links), V(folders), V(mounts), V(kernel) (attributes, and MTUs of links), V(devices), V(members)
                      (of groups) or V(limits) (of live processes).
                  type: str
                  sample: files
                object:
                  description: Its path or name.
                  type: str
                  sample: /etc/tmpfiles.d/10-bulwark-hugepages.conf
                by:
                  description: The module that wrote it first.
                  type: str
                  sample: hugepages
            unknown:
              description: The files among them that the manifest does not know, so that what was there before is lost. V(null) where it cannot be read.
              type: list
              elements: str
              sample: []
            drifted:
              description:
                - What another has changed since, files and links that are gone or no longer begin as ours, MTUs that were set in this boot,
                  and attributes of the kernel that have another value than our files give them.
                - V(null) where the manifest cannot be read.
              type: list
              elements: dict
              contains:
                kind:
                  description: V(files), V(links) or V(kernel), as above.
                  type: str
                  sample: kernel
                object:
                  description: Its path.
                  type: str
                  sample: /sys/class/net/br0/mtu
                by:
                  description: The module that set it.
                  type: str
                  sample: bridge_mtu
                detail:
                  description: What has become of it.
                  type: str
                  sample: it was set to 9000 and is 1500
            reason:
              description: Why the manifest cannot be read, or which files of ours it does not know.
              type: str
              sample: null
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError
from ansible_collections.bulwark.node.plugins.module_utils.host import Host
from ansible_collections.bulwark.node.plugins.module_utils.module import command_runner, fail
from ansible_collections.bulwark.node.plugins.module_utils.node import subsets
from ansible_collections.bulwark.node.plugins.module_utils.node.request import Request


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gather_subset": {"type": "list", "elements": "str", "default": ["all"]},
            "probe": {"type": "str", "choices": ["passive", "active"], "default": "passive"},
            "rlimits_of": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        names = subsets.select(module.params["gather_subset"])
        request = Request(active=module.params["probe"] == "active", rlimits_of=tuple(module.params["rlimits_of"]))
        facts = subsets.gather(Host(run=command_runner(module)), names, request)
    except BulwarkError as error:
        fail(module, "node_facts", error)
    module.exit_json(ansible_facts={"bulwark": facts})


if __name__ == "__main__":
    main()
