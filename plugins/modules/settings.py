# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: settings
short_description: Sets hugepages, arguments of the kernel, KVM, bridges and resource limits in one call
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Does what the modules of the collection do that each option names, in one call, and so in one trip to the machine. What is not
    named is not touched.
  - They come in the order O(hugepages), O(transparent_hugepages), O(kernel_args), O(kvm), O(bridges), O(rlimits), whatever the order
    in the playbook.
  - All of them are checked before the first write. Where one is refused nothing is written, and the message names all that are
    refused.
  - Then each is done on its own. Where one fails it is undone, what was done before it stays, and those after it are not begun.
    RV(domains) and RV(not_begun) say which these are.
  - Where all that is named goes back, with a state of V(absent) each, none that is refused or fails keeps the others from it.
  - In check mode each sees the files and kernel settings that those before it would write.
  - An option does what the option of that name does in its module. Where its description speaks of this module, that one is meant,
    and both are the same to the machine. What one of them did, the other takes back.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_node
attributes:
  check_mode:
    support: full
    details:
      - The edges of each module's own check mode are here too.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: linux
  action:
    description: Has an action plugin, which tells the module by which connection it comes, where O(bridges) is set.
    support: full
options:
  # Written by `make generate` from the documentation of the modules. Edit it there.
  # generated: options
  hugepages:
    description:
      - Sets the pools of hugepages, now and for the next boot, with the options of M(bulwark.node.hugepages).
    type: dict
    suboptions:
      pools:
        description:
          - The pools to set. Pools that are not named stay as they are.
          - Required when O(hugepages.state=present). With O(hugepages.state=absent) it defaults to every pool that this
            module set.
        type: list
        elements: dict
        suboptions:
          size:
            description: The page size, such as V(2M), V(1G) or V(2048kB). It must be one that the kernel offers.
            type: str
            required: true
          count:
            description:
              - The number of pages, surplus ones not counted.
              - With O(hugepages.pools[].node) on that node, else on the whole machine, where the kernel spreads them.
            type: int
          node:
            description:
              - The NUMA node. The other nodes of that size stay as they are, unless they have an entry of their own.
                Where a total was persisted, what each of them has now takes its place.
            type: int
          overcommit:
            description:
              - How many pages more the kernel may add on demand. It is a number for the whole machine, and most kernels
                have none for pages as large as V(1G).
              - No memory is kept for them. A warning has the sum where all of them would be too much.
            type: int
      persist:
        description:
          - Whether the pools are set at boot as well.
          - With V(false) nothing is written to C(/etc), and a warning names what an earlier run persisted otherwise.
        type: bool
        default: true
      on_shortfall:
        description:
          - What to do when the kernel gives fewer pages than asked for.
          - V(fail) puts the pools back as they were and fails.
          - V(warn) keeps what there is, persists the number asked for, and warns.
          - V(reboot) does the same and returns C(reboot_required), since memory is least fragmented after a boot. It
            takes O(hugepages.persist=true). A number that was already persisted when the machine booted asks for no other
            reboot.
        type: str
        choices:
          - fail
          - warn
          - reboot
        default: fail
      allow_surplus:
        description:
          - Whether a pool may be set below its pages in use. These stay as surplus pages and are given back once they
            are free.
        type: bool
        default: false
      compact:
        description: Whether memory is compacted when the kernel gives fewer pages, and the kernel asked again while that
          brings more.
        type: bool
        default: true
      timeout:
        description: After how many seconds no further compaction is begun.
        type: int
        default: 60
      memory_reserve:
        description:
          - How much memory the pools must leave beside what runs, such as V(8G). Each NUMA node keeps its share of it.
          - The default is what the kubelet reserves, including its eviction threshold. Without a kubelet, or where its
            configuration cannot be read, it is 4 GiB or 10 % of the memory, whichever is more.
        type: str
      state:
        description:
          - V(present) sets the pools.
          - V(absent) empties the named pools, and removes what this module persisted of them.
          - V(absent) without O(hugepages.pools) gives all pools that it persisted, or set since the boot, the pages from
            before it, and removes all that it persisted and mounted.
        type: str
        choices:
          - present
          - absent
        default: present
  transparent_hugepages:
    description:
      - Sets the policy of transparent hugepages, now and for the next boot, with the options of M(bulwark.node.transparent_hugepages).
    type: dict
    suboptions:
      enabled:
        description: Where memory is given as transparent hugepages.
        type: str
        choices:
          - always
          - madvise
          - never
      defrag:
        description:
          - Whether a process that could get a hugepage waits until memory has been reclaimed and compacted.
          - V(always) stalls processes. V(defer) leaves it to the kernel's threads.
        type: str
        choices:
          - always
          - defer
          - defer+madvise
          - madvise
          - never
      shmem_enabled:
        description:
          - The policy for shared memory and tmpfs. V(deny) and V(force) are meant for tests.
          - The kernel takes V(force) only where no size but that of a hugepage inherits.
        type: str
        choices:
          - always
          - within_size
          - advise
          - never
          - deny
          - force
      khugepaged:
        description: How the kernel's thread works that joins pages to hugepages.
        type: dict
        suboptions:
          defrag:
            description: V(1) lets it compact memory, V(0) does not.
            type: int
          pages_to_scan:
            description: How many pages it looks at before it sleeps.
            type: int
          scan_sleep_millisecs:
            description: For how many milliseconds it then sleeps.
            type: int
          alloc_sleep_millisecs:
            description: For how many milliseconds it sleeps after it got no hugepage.
            type: int
          max_ptes_none:
            description: How many pages of a hugepage may be empty before, and so grow the memory of a process.
            type: int
          max_ptes_swap:
            description: How many of them may have to be brought back from swap.
            type: int
          max_ptes_shared:
            description: How many of them may be shared between processes.
            type: int
      sizes:
        description: The policy of each size of multi-size transparent hugepages, which kernels have since 6.8.
        type: list
        elements: dict
        suboptions:
          size:
            description: The size, such as V(64K).
            type: str
            required: true
          enabled:
            description: As O(transparent_hugepages.enabled), where V(inherit) means the value of O(transparent_hugepages.enabled).
            type: str
            choices:
              - always
              - inherit
              - madvise
              - never
          shmem_enabled:
            description: As O(transparent_hugepages.shmem_enabled), where V(inherit) means the value of O(transparent_hugepages.shmem_enabled).
            type: str
            choices:
              - always
              - inherit
              - within_size
              - advise
              - never
      persist:
        description:
          - Whether the values are set at boot as well.
          - With V(false) nothing is written to C(/etc), and a warning names what an earlier run persisted otherwise.
        type: bool
        default: true
      state:
        description:
          - V(present) sets what is named, and leaves the rest alone.
          - V(absent) gives everything that this module ever set the value from before it, and removes what it persisted.
        type: str
        choices:
          - present
          - absent
        default: present
  kernel_args:
    description:
      - Stages arguments of the kernel for the next boot, with the options of M(bulwark.node.kernel_args).
    type: dict
    suboptions:
      arguments:
        description:
          - The arguments, each item a group of one or more that stay together and in order, such as V(hugepagesz=1G hugepages=8).
          - A value with spaces takes double quotes, as the kernel's parser has it, such as V(dyndbg="file drivers/usb/*
            +p"). C($), C(`), backslashes and single quotes are refused, for shells and boot loaders on the way would
            read them. So is C(--).
          - A group is present where its arguments stand in the line one after the other, and no other argument takes
            that away. Of V(default_hugepagesz), and of each size in V(hugepagesz), the first one counts.
          - A group with V(hugepagesz) replaces that of the same size, with its V(hugepages). V(hugepages) takes a V(hugepagesz)
            or V(default_hugepagesz) before it in the same group.
          - Another value is replaced only where the name is known to have one, of which the last counts. These are V(amd_pstate),
            V(apparmor), V(audit), V(audit_backlog_limit), V(biosdevname), V(clocksource), V(consoleblank), V(debug),
            V(elevator), V(enforcing), V(gather_data_sampling), V(hpet), V(hugetlb_cma), V(hugetlb_free_vmemmap), V(idle),
            V(init_on_alloc), V(init_on_free), V(irqaffinity), V(isolcpus), V(kpti), V(kthread_cpus), V(l1tf), V(lockdown),
            V(log_buf_len), V(loglevel), V(lsm), V(maxcpus), V(mds), V(mitigations), V(mmio_stale_data), V(net.ifnames),
            V(nmi_watchdog), V(nohz), V(nohz_full), V(nokaslr), V(nopti), V(nosmt), V(nosoftlockup), V(nowatchdog), V(nr_cpus),
            V(numa_balancing), V(oops), V(page_poison), V(panic), V(panic_on_warn), V(pcie_aspm), V(preempt), V(psi),
            V(pti), V(quiet), V(rcu_nocb_poll), V(rcu_nocbs), V(resume), V(resume_offset), V(retbleed), V(rootdelay),
            V(security), V(selinux), V(skew_tick), V(slab_nomerge), V(softlockup_panic), V(spec_rstack_overflow), V(spec_store_bypass_disable),
            V(spectre_v2), V(split_lock_detect), V(srbds), V(swapaccount), V(systemd.show_status), V(systemd.unified_cgroup_hierarchy),
            V(systemd.unit), V(transparent_hugepage), V(tsx), V(tsx_async_abort), V(vga), V(vsyscall), V(watchdog), and
            the parameters of the modules V(cpufreq), V(cpuidle), V(intel_idle), V(iommu), V(ipv6), V(kvm), V(kvm_amd),
            V(kvm_intel), V(nf_conntrack), V(nvme), V(nvme_core), V(printk), V(processor), V(random), V(rcupdate), V(rcutree),
            V(usbcore), V(vfio_iommu_type1), V(vfio_pci), V(workqueue) and V(zswap), such as V(kvm_intel.nested=1).
          - All other names add up, such as V(console), V(cgroup_enable) or V(intel_iommu). The argument is added where
            it is not there, and another value stays beside it. To replace one, take it away first. Groups that share
            such a name keep their order. Where a file of GRUB gives another value of a name that is not known to add
            up, a warning names the file and its line.
          - C(-) and C(_) in names are the same, as for the kernel.
          - Refused is what finds the root file system or is run from it, such as V(root), V(rootflags), V(init), V(ostree),
            V(cryptdevice), V(nfsroot), V(luks.uuid), V(rd.luks.uuid), V(rd.lvm.lv), V(rd.md.uuid), and V(ip) where the
            root is on the network. These are changed by hand.
          - What follows V(--) in a line is for init. Arguments go before it, and one that a file of GRUB gives before
            ours is refused.
          - Hugepages that would not leave enough memory on each NUMA node are refused, with the sum of all on the line.
          - With O(kernel_args.state=absent) a name alone means it with any value, such as V(isolcpus), and V(isolcpus=2-7)
            that value alone. A size alone, such as V(hugepagesz=1G), takes the V(hugepages) with it that follow. Of several
            arguments those that stand one after the other are meant.
          - What another file sets and this module may not edit is refused with O(kernel_args.state=absent), with that
            file and its line. For GRUB these are all files but its own.
        type: list
        elements: str
      memory_reserve:
        description:
          - How much memory the hugepages of the next line must leave beside what runs, such as V(8G). Each NUMA node
            keeps its share of it. Hugepages that are configured already, or run, are not refused.
          - The default is what the kubelet reserves, including its eviction threshold. Without a kubelet, or where its
            configuration cannot be read, it is 4 GiB or 10 % of the memory, whichever is more.
        type: str
      state:
        description:
          - V(present) puts what is named in place, and leaves the rest alone.
          - V(absent) takes away what is named. Without O(kernel_args.arguments) everything that this module ever did
            goes back.
        type: str
        choices:
          - present
          - absent
        default: present
  kvm:
    description:
      - Makes a machine ready to run guests with KVM, and proves it, with the options of M(bulwark.node.kvm).
    type: dict
    suboptions:
      vhost_net:
        description:
          - Whether the module vhost_net is to be there, now and at boot. KubeVirt schedules no guest with a virtio network
            without it.
          - V(false) no longer loads it at boot. It stays loaded until then.
        type: bool
      vhost_vsock:
        description: As O(kvm.vhost_net), for the module vhost_vsock.
        type: bool
      tun:
        description: As O(kvm.vhost_net), for the module tun.
        type: bool
      nested:
        description:
          - Whether guests may run guests with KVM.
          - A module takes it only when it is loaded. Where it is loaded already, it is set for the next time, and RV(domains.kvm.reboot_required)
            is true.
          - Refused while guests run, which are named. Refused where the module is built in, since such a kernel must
            be booted with it.
        type: bool
      reload:
        description:
          - Consent to unload the module and load it again, for O(kvm.nested) to count at once. Refused while anything
            uses it.
          - It is listed in RV(domains.kvm.disruptive), in check mode as well.
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
            description: The group, of C(/etc/group). It must exist, and should be a system's one, since udev 258 and
              259 leave out others.
            type: str
          mode:
            description: Four octal digits in quotes, such as V('0660').
            type: str
      users:
        description:
          - Users that are to be members of the group of the device, which is O(kvm.device.group) or the one that it has.
          - Refused for root's group, and by name for C(sudo), C(wheel), C(adm), C(disk), C(shadow), C(docker), C(lxd),
            C(kmem), C(systemd-journal) and C(staff), whose members may do more than use KVM.
          - They may be a directory's, the group must be one of C(/etc/group). Membership lasts, also with O(kvm.persist=false).
          - A process gets it when it starts or logs in. What runs without it is listed in RV(domains.kvm.restart_required).
        type: list
        elements: str
      require:
        description:
          - What the machine must be fit for. It fails with all that is missing, before anything is changed.
          - What this run sets right is not counted as missing. It is judged again afterwards, and what was done is undone
            where that fails.
          - Each profile is one of M(bulwark.node.node_facts), RV(ignore:ansible_facts.bulwark.kvm.profiles). What only
            slows guests down is a warning.
        type: str
        choices:
          - qemu
          - kubevirt
          - passthrough
      probe:
        description:
          - When V(active), KVM makes a virtual machine and a virtual CPU, and on x86 runs five bytes of guest, in check
            mode too.
          - When V(passive), it is only opened and asked for its version. O(kvm.require) then warns that nothing was proven.
          - The default is V(active) with O(kvm.require), for asking for it is asking for the proof, and otherwise V(passive).
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
          - V(absent) gives the device the owner, group and mode from before this module, ends the memberships that it
            began, and removes its files. A device that was made anew by a boot, or changed by another since, is left
            alone, with a warning. Nothing tells a membership that another ended and began again from this module's own,
            so it is ended as well. Modules stay loaded until the next boot, and a node that udev made so from the first
            stays so. Both are named.
        type: str
        choices:
          - present
          - absent
        default: present
  bridges:
    description:
      - Sets the MTU of bridges and their ports, and keeps it, with the options of M(bulwark.node.bridge_mtu).
      - O(bulwark.node.bridge_mtu#module:allow_management_link), O(bulwark.node.bridge_mtu#module:revert_after), O(bulwark.node.bridge_mtu#module:confirm)
        are options of that module alone.
    type: dict
    suboptions:
      bridges:
        description:
          - The bridges. Those of Open vSwitch are refused.
          - Without it O(bridges.state=absent) takes back all that this module ever set.
        type: list
        elements: dict
        suboptions:
          name:
            description: The name of the bridge.
            type: str
            required: true
          mtu:
            description: The MTU in bytes. Required with O(bridges.state=present).
            type: int
          ports:
            description:
              - The ports that get the same MTU, or V(all) for all but those of guests and pods. A bond gives it to its
                own ports.
              - A frame that is larger than the MTU of the port by which it would leave is dropped without a word. A warning
                names the ports that stay smaller.
              - What a VLAN among them stands on grows with it.
            type: list
            elements: str
          uppers:
            description: The links on the bridge that get the same MTU, such as VLANs, or V(all) for all but tunnels (C(vxlan)).
            type: list
            elements: str
          pin:
            description:
              - Whether the bridge keeps its MTU when ports come and go.
              - With V(false) it is not set, and follows its ports, the smallest of which must have that MTU. A bridge
                that is pinned cannot be unpinned while it lives. One that is known to be is set.
            type: bool
            default: true
      persist:
        description:
          - Whether the MTUs are set at boot as well, by files for the manager that owns each link. They count from the
            next boot on, for nothing is reloaded.
          - For systemd-networkd these are a drop-in for each C(.network) file, also where netplan or cloud-init writes
            that, and for each bridge that is pinned C(/etc/systemd/system/bulwark-bridge-mtu-<bridge>.service), since
            systemd-networkd pins it by chance. A bridge that is removed and made anew while the machine runs is pinned
            by the next boot, or the next run.
          - For ifupdown it is C(/etc/network/if-up.d/zz-bulwark-bridge-mtu), which sets and pins whenever one of the
            links comes up.
          - A C(.network) file that other links have as well, and another file that would win, are refused by name.
          - Refused with the lines to write are NetworkManager, netplan and nmstate on it, ifupdown2, networks of libvirt,
            and links of which it is not known what sets them up, such as those made by hand.
        type: bool
        default: true
      probe:
        description:
          - An address to which packets of the MTU are sent unfragmented. If none comes back, the module fails, says at
            which hop they are lost, and puts the old MTUs back.
          - It must be reached through one of the links, and where it has to prove that the machine is still reached,
            through one that carries the machine.
          - With O(bridges.state=absent) the packets have the MTU from before.
        type: str
      ssh_connection:
        description:
          - What the login shell says of the connection in C(SSH_CONNECTION). The module's action plugin gives it. A playbook
            never does.
          - It counts where no process above the module tells, as when sudo, su or machinectl have taken it away.
        type: str
      fresh_connection:
        description:
          - Whether the action plugin can confirm on a new connection. It gives this itself. A playbook never does.
          - V(shared) is ssh that gives the same connection again after a reset, V(none) no ssh at all.
        type: str
        choices:
          - possible
          - shared
          - none
        default: none
      state:
        description:
          - V(present) sets what is named, and leaves the rest alone.
          - V(absent) gives the bridges, their ports and what stands on them the MTUs from before this module, and removes
            what it persisted.
          - A link that has neither what was set here in this boot nor what is persisted was set by somebody else since.
            It is left as it is, with a warning.
        type: str
        choices:
          - present
          - absent
        default: present
  rlimits:
    description:
      - Sets resource limits of logins, of what systemd starts, and of live processes, with the options of M(bulwark.node.rlimit).
    type: list
    elements: dict
    suboptions:
      limits:
        description:
          - The limits, each as one value for both, or as C({soft, hard}).
          - The values are those of the kernel, setrlimit(2). Sizes are in bytes or as V(64K), V(8M), V(1G) in powers
            of 1024, the others are plain numbers. V(unlimited), V(infinity) and V(-1) mean the same.
          - They are translated for each target. What that cannot say, such as 1000 bytes for O(rlimits[].pam) which counts
            in KiB, is refused.
          - With O(rlimits[].state=absent) their names alone count, and without them all limits are meant.
          - Beside O(rlimits[].pam) and O(rlimits[].systemd_manager) soft limits are refused with which nobody could log
            in or nothing start. C(nofile) below 256, C(nproc) and C(sigpending) below 64, C(stack) below 128K, C(data)
            below 64M, C(as) below 256M, C(fsize) below 1M.
        type: dict
        suboptions:
          cpu:
            description: Processor time in seconds. For O(rlimits[].pam) a multiple of 60.
            type: raw
          fsize:
            description: Size of a file that is written.
            type: raw
          data:
            description: Size of the data segment.
            type: raw
          stack:
            description: Size of the stack.
            type: raw
          core:
            description: Size of a core file.
            type: raw
          rss:
            description: Resident set, which the kernel has not looked at since 2.4.30.
            type: raw
          nproc:
            description: Number of processes of the user.
            type: raw
          nofile:
            description: 'One more than the highest number of a file. It is bounded by C(fs.nr_open): see O(rlimits[].raise_ceilings).'
            type: raw
          memlock:
            description: Memory that may be locked.
            type: raw
          as:
            description: Address space.
            type: raw
          locks:
            description: Number of file locks, which the kernel has not looked at since 2.4.25.
            type: raw
          sigpending:
            description: Number of signals that wait.
            type: raw
          msgqueue:
            description: Bytes in POSIX message queues.
            type: raw
          nice:
            description: The kernel's own number from 0 to 40, which is 20 less the nice value. V(25) allows nice -5.
              O(rlimits[].pam) takes 1 to 40.
            type: raw
          rtprio:
            description: Real-time priority, 0 to 99.
            type: raw
          rttime:
            description: Microseconds of processor time that a real-time process may take without a blocking call. pam_limits
              knows it since 2025.
            type: raw
      pam:
        description:
          - Limits at a login, by pam_limits, for whoever logs in after this.
          - The lines of other domains in the file stay as they are.
          - A line of another file for the same domain that comes later is refused by its name. Lines that win for some
            of the domain, as one for a user does over V(*), are warned of, as are ways to log in that do not use pam_limits.
        type: dict
        suboptions:
          domain:
            description:
              - Whom they are for, as in limits.conf(5). A user, C(@group), ids such as V(1000:1999), or V(*).
              - None but V(root) itself is for root.
            type: str
            required: true
          file:
            description: The file in C(/etc/security/limits.d), which is the module's own.
            type: path
            default: /etc/security/limits.d/95-bulwark-rlimit.conf
      systemd_manager:
        description:
          - Defaults for all that systemd starts, but for units that set the limit themselves.
          - In C(/etc/systemd/system.conf.d/95-bulwark-rlimit.conf).
        type: bool
        default: false
      systemd_units:
        description:
          - Services, sockets, mounts and swaps by their full names. V(foo@.service) is for all instances.
          - In C(95-bulwark-rlimit.conf) in the drop-in folder of each.
        type: list
        elements: str
      skip_missing_units:
        description:
          - Whether units that are not there, or are masked, are left out. Without it they are refused.
          - For machines of one group that do not all have the same, such as one of several container runtimes.
        type: bool
        default: false
      processes:
        description:
          - Live processes, whose limits are set at once and last as long as they do. To name them is the consent.
          - With O(rlimits[].state=present) each entry has to meet one at least, and with O(rlimits[].state=absent) those
            that it meets get back what they had.
          - Neither PID 1 nor threads of the kernel nor this run itself are touched.
          - Of those of a name or a unit some may come and go meanwhile. One that has ended is left out, one that has
            come is warned of.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The name of processes, as C(/proc/PID/comm) has it. All of that name are meant.
              - Processes in a PID namespace of their own, such as those of containers, are meant by O(rlimits[].processes[].pid)
                alone.
            type: str
          unit:
            description: The unit whose processes are meant, all that are in its cgroup, but for those in a PID namespace
              of their own.
            type: str
          pid:
            description: The number of one process.
            type: int
      raise_ceilings:
        description:
          - Whether C(fs.nr_open) may be raised where O(rlimits[].limits.nofile) is above it. It is never lowered but
            to what was there before.
          - For O(rlimits[].pam), O(rlimits[].systemd_manager) and O(rlimits[].systemd_units) it is raised at boot too,
            by C(/etc/sysctl.d/90-bulwark-rlimit.conf).
        type: bool
        default: false
      daemon_reload:
        description: Whether systemd may be told to read its files again. That can take GPUs from running containers.
        type: bool
        default: false
      restart:
        description:
          - Whether those of O(rlimits[].systemd_units) may be restarted whose main process runs with other limits. It
            takes O(rlimits[].daemon_reload).
          - Services that merely follow O(rlimits[].systemd_manager) are never restarted.
          - A unit that does not start again, or has other limits even then, fails the run, which puts the files back
            and restarts it with those.
        type: bool
        default: false
      state:
        description:
          - V(present) sets what is named, and leaves the rest alone.
          - V(absent) takes the named limits, or all, from the named targets. Live processes get back the limits from
            before. What they started since has inherited the new ones, and keeps them.
          - V(absent) without a target takes back all that this module ever set. C(fs.nr_open) goes back with the last
            of it.
        type: str
        choices:
          - present
          - absent
        default: present
  # generated: end
seealso:
  - module: bulwark.node.hugepages
  - module: bulwark.node.transparent_hugepages
  - module: bulwark.node.kernel_args
  - module: bulwark.node.kvm
  - module: bulwark.node.bridge_mtu
  - module: bulwark.node.rlimit
  - module: bulwark.node.node_facts
"""

EXAMPLES = r"""
- name: Make a machine ready for KubeVirt in one trip
  bulwark.node.settings:
    hugepages:
      pools:
        - size: 2M
          count: 1024
    transparent_hugepages:
      enabled: madvise
    kvm:
      vhost_net: true
      tun: true
      require: kubevirt
    rlimits:
      - limits:
          nofile: 1048576
        systemd_units:
          - containerd.service
          - docker.service
        skip_missing_units: true
  register: node

- name: Say what is still needed
  ansible.builtin.debug:
    msg: "{{ node.restart_required }}"
  when: node.restart_required

- name: Put back what was there before, of two of them
  bulwark.node.settings:
    transparent_hugepages:
      state: absent
    rlimits:
      - state: absent
"""

RETURN = r"""
domains:
  description:
    - What each module returns that was asked for, by the option's name, where it fails too.
    - V(null) for what was not begun. In check mode what was not refused is foretold all the same.
  returned: always
  type: dict
  contains:
    # Written by `make generate` from the documentation of the modules. Edit it there.
    # generated: domains
    hugepages:
      description: What M(bulwark.node.hugepages) returns.
      returned: when O(hugepages) is given
      type: dict
      contains:
        changed:
          description: Whether it was changed, or in check mode would be.
          returned: always
          type: bool
          sample: true
        failed:
          description: V(true) where it failed.
          returned: failure
          type: bool
          sample: true
        msg:
          description: Why it failed.
          returned: failure
          type: str
          sample: 'size: ''3M'' is no size'
        before:
          description: The subset C(hugepages) of M(bulwark.node.node_facts) as it was, without C(next_boot).
          returned: success
          type: dict
          sample: {}
        after:
          description: The same afterwards, read back from the kernel, or in check mode as predicted.
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
              description: The kind of change.
              type: str
              sample: pool
            target:
              description: What it acts on.
              type: str
              sample: /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
            before:
              description: The value before. V(null) where there was nothing.
              type: raw
              sample: 0
            after:
              description: The value asked for. V(null) where nothing is to be left.
              type: raw
              sample: 1024
        unmet:
          description: What the machine did not take.
          returned: success, or failure for that reason
          type: list
          elements: dict
          contains:
            target:
              description: The option, or the object.
              type: str
              sample: pools[0].count
            wanted:
              description: The value asked for.
              type: raw
              sample: 1024
            got:
              description: The value read back.
              type: raw
              sample: 612
            reason:
              description: Why.
              type: str
              sample: 'asked for 1024 pages of 2M on node 1, the kernel gave 612; memory is fragmented or in use (free
                blocks of that order: 3 on node 1)'
            remedy:
              description: What helps.
              type: str
              sample: Boot with hugepagesz=2M hugepages=1:1024, or free memory on the node.
            evidence:
              description: The numbers behind the reason.
              type: dict
              sample: {kernel_counters: {compact_fail: 2}, nodes: [{node: 1, total: 612, free_blocks: 3, block_bytes: 2097152}]}
        reboot_required:
          description: Whether the wanted state takes a reboot.
          returned: success
          type: bool
          sample: false
        restart_required:
          description: The units that must be restarted to see the new state. None is restarted by this module.
          returned: success
          type: list
          elements: dict
          contains:
            unit:
              description: The unit.
              type: str
              sample: kubelet.service
            reason:
              description: Why.
              type: str
              sample: the hugepages module changed a pool after the kubelet started
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
          sample: [/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages]
        not_undone:
          description: What had been changed and could not be put back. The message names it too.
          returned: failure
          type: list
          elements: dict
          contains:
            what:
              description: The object.
              type: str
              sample: /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
            reason:
              description: Why it could not be put back.
              type: str
              sample: 'cannot write ''0'': EIO (Input/output error)'
          sample: []
    transparent_hugepages:
      description: What M(bulwark.node.transparent_hugepages) returns.
      returned: when O(transparent_hugepages) is given
      type: dict
      contains:
        changed:
          description: Whether it was changed, or in check mode would be.
          returned: always
          type: bool
          sample: true
        failed:
          description: V(true) where it failed.
          returned: failure
          type: bool
          sample: true
        msg:
          description: Why it failed.
          returned: failure
          type: str
          sample: 'size: ''3M'' is no size'
        before:
          description: The subset C(transparent_hugepages) of M(bulwark.node.node_facts) as it was.
          returned: success
          type: dict
          sample: {}
        after:
          description: The same afterwards, read back from the kernel, or in check mode as predicted.
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
              description: The kind of change.
              type: str
              sample: attribute
            target:
              description: What it acts on.
              type: str
              sample: /sys/kernel/mm/transparent_hugepage/enabled
            before:
              description: The value before. V(null) where there was nothing.
              type: raw
              sample: always
            after:
              description: The value asked for. V(null) where nothing is to be left.
              type: raw
              sample: madvise
        unmet:
          description: What the machine did not take.
          returned: success, or failure for that reason
          type: list
          elements: dict
          contains:
            target:
              description: The option, or the object.
              type: str
              sample: /sys/kernel/mm/transparent_hugepage/enabled
            wanted:
              description: The value asked for.
              type: raw
              sample: madvise
            got:
              description: The value read back.
              type: raw
              sample: always
            reason:
              description: Why.
              type: str
              sample: '''madvise'' was written and ''always'' read back'
            remedy:
              description: What helps.
              type: str
              sample: Look who else writes it.
            evidence:
              description: The numbers behind the reason.
              type: dict
              sample: {}
        reboot_required:
          description: Whether the wanted state takes a reboot.
          returned: success
          type: bool
          sample: false
        restart_required:
          description: The units that must be restarted to see the new state. The kernel needs none for this.
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
          sample: [/sys/kernel/mm/transparent_hugepage/enabled]
        not_undone:
          description: What had been changed and could not be put back. The message names it too.
          returned: failure
          type: list
          elements: dict
          contains:
            what:
              description: The object.
              type: str
              sample: /sys/kernel/mm/transparent_hugepage/enabled
            reason:
              description: Why it could not be put back.
              type: str
              sample: 'cannot write ''0'': EIO (Input/output error)'
          sample: []
    kernel_args:
      description: What M(bulwark.node.kernel_args) returns.
      returned: when O(kernel_args) is given
      type: dict
      contains:
        changed:
          description: Whether it was changed, or in check mode would be.
          returned: always
          type: bool
          sample: true
        failed:
          description: V(true) where it failed.
          returned: failure
          type: bool
          sample: true
        msg:
          description: Why it failed.
          returned: failure
          type: str
          sample: 'size: ''3M'' is no size'
        before:
          description: The subset C(kernel_args) of M(bulwark.node.node_facts) as it was, without C(entry_days).
          returned: success
          type: dict
          sample: {boot_loader: grub, reason: '/boot/grub/grub.cfg is there, update-grub makes it, and grub-mkconfig reads
              /etc/default/grub.d', running: [BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64, root=/dev/vda1, ro, quiet], configured: [
              quiet], configured_reason: null, next_boot: [root=/dev/vda1, ro, quiet], next_boot_reason: null}
        after:
          description: The same afterwards, read back, or in check mode as predicted.
          returned: success
          type: dict
          sample: {boot_loader: grub, reason: '/boot/grub/grub.cfg is there, update-grub makes it, and grub-mkconfig reads
              /etc/default/grub.d', running: [BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64, root=/dev/vda1, ro, quiet], configured: [
              quiet, hugepagesz=1G, hugepages=8], configured_reason: null, next_boot: [root=/dev/vda1, ro, quiet, hugepagesz=1G,
              hugepages=8], next_boot_reason: null}
        changes:
          description: What was done, or in check mode would be done, in this order. Secrets are left out.
          returned: success
          type: list
          elements: dict
          contains:
            kind:
              description: V(file) is a file of this module, V(edit) another's of which it changes a part, V(boot_entries)
                what the boot loader reads.
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
              sample: {entries: [Debian GNU/Linux]}
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
          sample: [/boot/grub/grub.cfg, /etc/default/grub.d/99-bulwark-kernel-args.cfg]
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
              sample: 'cannot write: ENOSPC (No space left on device)'
          sample: []
    kvm:
      description: What M(bulwark.node.kvm) returns.
      returned: when O(kvm) is given
      type: dict
      contains:
        changed:
          description: Whether it was changed, or in check mode would be.
          returned: always
          type: bool
          sample: true
        failed:
          description: V(true) where it failed.
          returned: failure
          type: bool
          sample: true
        msg:
          description: Why it failed.
          returned: failure
          type: str
          sample: 'size: ''3M'' is no size'
        before:
          description: The subset C(kvm) of M(bulwark.node.node_facts) as it was, without C(checks), C(cpu) and C(used_by),
            with what this module sets beside it.
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
          description: What O(kvm.require) found missing, what the machine did not take, and C(nested) while it waits
            for the module to be loaded again.
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
              sample: '/dev/vhost-net is not there: load the module vhost_net: a guest with a virtio network is not scheduled
                to this node without it'
            remedy:
              description: What helps.
              type: str
              sample: Set vhost_net to true.
            evidence:
              description: What stands behind the reason.
              type: dict
              sample: {profile: kubevirt}
        reboot_required:
          description: Whether O(kvm.nested) counts only after a reboot, or after the module is loaded again.
          returned: success
          type: bool
          sample: false
        restart_required:
          description: What runs for one of O(kvm.users) without the membership. Nothing is restarted by this module.
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
              sample: 'it began before alice was in kvm: bash (4242)'
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
              sample: 'it is unloaded and loaded again: no guest can start meanwhile'
          sample: []
        undone:
          description: What had been changed and was put back, when the module failed.
          returned: failure
          type: list
          elements: str
          sample: [/dev/kvm]
        not_undone:
          description: What had been changed and could not be put back, loaded modules among it. The message names it
            too.
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
              sample: 'it was loaded and stays so: no module is unloaded unasked'
          sample: []
    bridges:
      description: What M(bulwark.node.bridge_mtu) returns.
      returned: when O(bridges) is given
      type: dict
      contains:
        changed:
          description: Whether it was changed, or in check mode would be.
          returned: always
          type: bool
          sample: true
        failed:
          description: V(true) where it failed.
          returned: failure
          type: bool
          sample: true
        msg:
          description: Why it failed.
          returned: failure
          type: str
          sample: 'size: ''3M'' is no size'
        before:
          description: The bridges as they were.
          returned: success, or failure to confirm
          type: dict
          contains:
            bridges:
              description:
                - The named bridges, each as in the subset C(bridges) of M(bulwark.node.node_facts).
                - With O(bridges.state=absent) and no O(bridges.bridges) those that this module had set.
              type: list
              elements: dict
              sample: [{name: br0, mtu: 1500, effective_mtu: 1500, pinned: null, pinned_reason: 'its MTU is the smallest
                    of its ports: it follows them, or was set to the same', ports: [{name: eth1, mtu: 1500, kind: null,
                      dynamic: false}, {name: vnet0, mtu: 1500, kind: tun, dynamic: true}], mismatched: [], vlan_filtering: false,
                  stp: false, uppers: [{name: br0.100, mtu: 1500, kind: vlan}]}]
            revert:
              description: The armed timer. V(null) where none is, as before and after each task that did not fail.
              type: dict
              sample: null
              contains:
                token:
                  description: Its token.
                  type: str
                  sample: '9364201718363841037'
                seconds:
                  description: How long it still waits.
                  type: int
                  sample: 95
                links:
                  description: The links that it sets, in this order, what each has now (C(mtu)) and what it gets (C(old)).
                  type: list
                  elements: dict
                  sample: [{name: br0, mtu: 9000, old: 1500}, {name: eth1, mtu: 9000, old: 1500}]
            probe:
              description: What came of O(bridges.probe). V(null) where none was asked for, or the MTUs are not there
                yet.
              type: dict
              sample: null
              contains:
                address:
                  description: The address.
                  type: str
                  sample: 192.0.2.10
                size:
                  description: The bytes of each packet, with its IP header.
                  type: int
                  sample: 9000
                passed:
                  description: Whether one came back.
                  type: bool
                  sample: false
                path_mtu:
                  description: What a router said would fit. V(null) where none said so.
                  type: int
                  sample: 1500
                hop:
                  description: The first hop that packets of this size do not reach, while small ones do. V(null) where
                    that cannot be told.
                  type: int
                  sample: 2
                hop_address:
                  description: The address of that hop.
                  type: str
                  sample: 198.51.100.2
        after:
          description:
            - The same afterwards, read back after a second, or in check mode as predicted.
            - Of a module that failed to confirm what is live. V(null) where the machine was not reached any more.
          returned: success, or failure to confirm or for a timer of an earlier run
          type: dict
          contains:
            bridges:
              description: As in RV(domains.bridges.before).
              type: list
              elements: dict
              sample: [{name: br0, mtu: 9000, effective_mtu: 1500, pinned: true, pinned_reason: bulwark.node pinned it,
                  ports: [{name: eth1, mtu: 9000, kind: null, dynamic: false}, {name: vnet0, mtu: 1500, kind: tun, dynamic: true}],
                  mismatched: [vnet0], vlan_filtering: false, stp: false, uppers: [{name: br0.100, mtu: 9000, kind: vlan}]}]
            revert:
              description: As in RV(domains.bridges.before).
              type: dict
              sample: null
            probe:
              description: As in RV(domains.bridges.before).
              type: dict
              sample: {address: 192.0.2.10, size: 9000, passed: true, path_mtu: null, hop: null, hop_address: null}
        changes:
          description: What was done, or in check mode would be done, in this order.
          returned: success, or failure to confirm
          type: list
          elements: dict
          contains:
            kind:
              description:
                - V(mtu), V(pin) for a bridge that has the MTU and is pinned by another one for a moment, V(file) or V(link)
                  for what is persisted, V(forget) for a first MTU that need not be kept any more or that somebody replaced
                  since, V(timer) in a run that does nothing but confirm.
              type: str
              sample: mtu
            target:
              description: The link or the file.
              type: str
              sample: br0
            before:
              description: The value before. V(null) where there was nothing.
              type: raw
              sample: 1500
            after:
              description: The value asked for. V(null) where nothing is to be left.
              type: raw
              sample: 9000
        unmet:
          description: What the machine did not take, or lost by the change. Each fails the module, and all is put back.
          returned: success, or failure for that reason
          type: list
          elements: dict
          contains:
            target:
              description: The link, the file or the option.
              type: str
              sample: eth1
            wanted:
              description: The MTU asked for, or the address or route that was lost.
              type: raw
              sample: 9000
            got:
              description: The value read back.
              type: raw
              sample: 1500
            reason:
              description: Why.
              type: str
              sample: 9000 was written and 1500 read back
            remedy:
              description: What helps.
              type: str
              sample: Look who else writes it.
            evidence:
              description: The numbers behind the reason, for O(bridges.probe) those of its result.
              type: dict
              sample: {}
        reboot_required:
          description: Whether the wanted state takes a reboot. It never does.
          returned: success
          type: bool
          sample: false
        restart_required:
          description: The units that must be restarted to see the new state. There are none.
          returned: success
          type: list
          elements: dict
          sample: []
        disruptive:
          description: The links whose change may be felt, in check mode too.
          returned: success
          type: list
          elements: dict
          contains:
            target:
              description: The link.
              type: str
              sample: br0
            reason:
              description: It carries the connection or a default route, or it is hardware, whose driver may reset it.
              type: str
              sample: it carries this connection
        undone:
          description: What had been changed and was put back, when the module failed.
          returned: failure
          type: list
          elements: str
          sample: [/sys/class/net/eth1/mtu, the timer]
        not_undone:
          description: What had been changed and could not be put back. The message names it too.
          returned: failure
          type: list
          elements: dict
          contains:
            what:
              description: The object.
              type: str
              sample: the pin of br0
            reason:
              description: Why it could not be put back.
              type: str
              sample: 'it stays pinned: the kernel does not forget it while the bridge lives'
          sample: []
    rlimits:
      description: What M(bulwark.node.rlimit) returns for each entry, in their order.
      returned: when O(rlimits) is given
      type: list
      elements: dict
      contains:
        changed:
          description: Whether it was changed, or in check mode would be.
          returned: always
          type: bool
          sample: true
        failed:
          description: V(true) where it failed.
          returned: failure
          type: bool
          sample: true
        msg:
          description: Why it failed.
          returned: failure
          type: str
          sample: 'size: ''3M'' is no size'
        before:
          description: The named targets as they were, each as the subset C(rlimits) of M(bulwark.node.node_facts) shows
            it.
          returned: success
          type: dict
          contains:
            ceilings:
              description: The kernel's ceilings C(nr_open), C(file_max), C(threads_max) and C(pid_max).
              type: dict
              sample: {nr_open: 1048576, file_max: 9223372036854775807, threads_max: 192731, pid_max: 4194304}
            pam:
              description: The lines of the domain in the module's file. V(null) where O(rlimits[].pam) is not named.
              type: dict
              sample: {entries: [{file: /etc/security/limits.d/95-bulwark-rlimit.conf, line: 2, domain: '*', type: hard,
                    item: nofile, value: '524288'}]}
            systemd_manager:
              description: What systemd's files make of each limit's default, in the kernel's units, and V(null) for one
                that none sets.
              type: dict
              sample: {nofile: {soft: 1024, hard: 524288, file: /etc/systemd/system.conf.d/limits.conf}, memlock: null}
            systemd_units:
              description: What the unit's files make of each limit, as for the manager.
              type: list
              elements: dict
              sample: [{unit: containerd.service, limits: {nofile: {soft: unlimited, hard: unlimited, file: /usr/lib/systemd/system/containerd.service},
                    memlock: null}}]
            processes:
              description: The live processes that are meant, with all their limits.
              type: list
              elements: dict
              sample: [{name: containerd, pid: 702, unit: containerd.service, limits: {nofile: {soft: 1024, hard: 524288}}}]
        after:
          description: The same afterwards, read back, or in check mode as predicted. The units have what systemd will
            give them at their next start.
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
              description:
                - V(file) writes or removes a file, V(attribute) sets C(fs.nr_open), V(limit) one limit of one live process.
                - V(daemon_reload) and V(restart) are systemd's. V(forget) drops entries of the manifest whose processes
                  have ended.
              type: str
              sample: limit
            target:
              description: What it acts on. For V(limit) the boot id, the process, the tick of its start and the limit.
              type: str
              sample: 7b3f6f9c-8d5e-4a0c-9d6f-0f8f3a1f2b11 4242 183467 nofile
            before:
              description: The value before. V(null) where there was nothing.
              type: raw
              sample: 1024:524288
            after:
              description: The value asked for. V(null) where nothing is to be left.
              type: raw
              sample: 65536:524288
        unmet:
          description: What the machine did not take.
          returned: success, or failure for that reason
          type: list
          elements: dict
          contains:
            target:
              description: The option, or the object.
              type: str
              sample: containerd.service
            wanted:
              description: The value asked for.
              type: raw
              sample: {memlock: 'unlimited:unlimited'}
            got:
              description: The value read back.
              type: raw
              sample: {memlock: '8388608:8388608'}
            reason:
              description: Why.
              type: str
              sample: 'it was restarted, and its main process has {''memlock'': ''8388608:8388608''}'
            remedy:
              description: What helps.
              type: str
              sample: Look whether the program sets its limits itself.
            evidence:
              description: The numbers behind the reason.
              type: dict
              sample: {}
        reboot_required:
          description: Whether the wanted state takes a reboot.
          returned: success
          type: bool
          sample: false
        restart_required:
          description: What systemd has still to read, and the units whose main process runs with other limits than their
            files say.
          returned: success
          type: list
          elements: dict
          contains:
            unit:
              description: The unit. V(systemd) is the manager itself, which a daemon-reload is meant for.
              type: str
              sample: containerd.service
            reason:
              description: Which limits.
              type: str
              sample: its main process runs with memlock 8388608:8388608, its files say unlimited:unlimited
        disruptive:
          description: The reload and the restarts that there is consent for, as done or, in check mode, planned.
          returned: success
          type: list
          elements: dict
          contains:
            target:
              description: The unit, or V(systemd).
              type: str
              sample: containerd.service
            reason:
              description: What is done, and why.
              type: str
              sample: 'restart, to run with other limits: memlock'
        undone:
          description: What had been changed and was put back, when the module failed.
          returned: failure
          type: list
          elements: str
          sample: [/etc/security/limits.d/95-bulwark-rlimit.conf]
        not_undone:
          description: What had been changed and could not be put back. The message names it too.
          returned: failure
          type: list
          elements: dict
          contains:
            what:
              description: The object.
              type: str
              sample: /etc/security/limits.d/95-bulwark-rlimit.conf
            reason:
              description: Why it could not be put back.
              type: str
              sample: 'cannot write: EIO (Input/output error)'
          sample: []
    # generated: end
not_begun:
  description: The options that were not begun, since one was refused or failed.
  returned: always
  type: list
  elements: str
  sample: ["bridges", "rlimits[0]"]
reboot_required:
  description: Whether any of them takes a reboot.
  returned: always
  type: bool
  sample: false
restart_required:
  description: The units that must be restarted to see the new state, of all of them.
  returned: always
  type: list
  elements: dict
  contains:
    unit:
      description: The unit. V(systemd) is the manager itself, which a daemon-reload is meant for.
      type: str
      sample: containerd.service
    reason:
      description: Why.
      type: str
      sample: its main process runs with nofile 1024:524288, its files say 1048576:1048576
disruptive:
  description: The changes that disturb what runs, of all of them, in check mode as well.
  returned: always
  type: list
  elements: dict
  contains:
    target:
      description: What is disturbed.
      type: str
      sample: containerd.service
    reason:
      description: How.
      type: str
      sample: "restart, to run with other limits: nofile"
unmet:
  description: What the machine did not take, of all that were done.
  returned: always
  type: list
  elements: dict
  contains:
    target:
      description: The option, or the object.
      type: str
      sample: pools[0].count
    wanted:
      description: The value asked for.
      type: raw
      sample: 1024
    got:
      description: The value read back.
      type: raw
      sample: 612
    reason:
      description: Why.
      type: str
      sample: "asked for 1024 pages of 2M, the kernel gave 612; memory is fragmented or in use"
    remedy:
      description: What helps.
      type: str
      sample: "Boot with hugepagesz=2M hugepages=1024, or free memory."
    evidence:
      description: The numbers behind the reason.
      type: dict
      sample: {}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils import settings


def main() -> None:
    module = AnsibleModule(argument_spec=settings.ARGUMENT_SPEC, supports_check_mode=True)
    settings.run(module)


if __name__ == "__main__":
    main()
