# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rlimit
short_description: Sets resource limits of logins, of what systemd starts, and of live processes
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Sets any of the kernel's 16 resource limits, for any number of targets in one call. O(pam) is for logins, O(systemd_manager) and
    O(systemd_units) are for what systemd starts, O(processes) is for what runs already.
  - Everything is checked before the first write. No limit is above the kernel's ceiling, nor above PID 1's own for
      what that starts without C(CAP_SYS_RESOURCE), no line or drop-in of another wins over the module's,
    the units and processes are there, and this run may do it (by its capability C(CAP_SYS_RESOURCE), which root may lack).
  - Nothing is reloaded or restarted without O(daemon_reload) and O(restart). RV(restart_required) names what still runs with other limits,
    in each run until it no longer does.
  - A run that is stopped undoes what it did. After SIGKILL or a loss of power run it again, which goes on from what there is.
  - Containers get their limits from their runtime, which O(systemd_units) does not reach.
  - What was there before is kept in C(/var/lib/bulwark/manifest.json).
  - Lines of others in a file of the module's stay, also where O(state=absent) takes the module's own. A file that does not begin as the
    module's any more is left alone then. Each is named in a warning.
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
  limits:
    description:
      - The limits, each as one value for both, or as C({soft, hard}).
      - The values are those of the kernel, setrlimit(2). Sizes are in bytes or as V(64K), V(8M), V(1G) in powers of 1024, the others
        are plain numbers. V(unlimited), V(infinity) and V(-1) mean the same.
      - They are translated for each target. What that cannot say, such as 1000 bytes for O(pam) which counts in KiB, is refused.
      - With O(state=absent) their names alone count, and without them all limits are meant.
      - Beside O(pam) and O(systemd_manager) soft limits are refused with which nobody could log in or nothing start. C(nofile) below 256,
        C(nproc) and C(sigpending) below 64, C(stack) below 128K, C(data) below 64M, C(as) below 256M, C(fsize) below 1M.
    type: dict
    suboptions:
      cpu:
        description: Processor time in seconds. For O(pam) a multiple of 60.
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
        description: "One more than the highest number of a file. It is bounded by C(fs.nr_open): see O(raise_ceilings)."
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
        description: The kernel's own number from 0 to 40, which is 20 less the nice value. V(25) allows nice -5. O(pam) takes 1 to 40.
        type: raw
      rtprio:
        description: Real-time priority, 0 to 99.
        type: raw
      rttime:
        description: Microseconds of processor time that a real-time process may take without a blocking call. pam_limits knows it since 2025.
        type: raw
  pam:
    description:
      - Limits at a login, by pam_limits, for whoever logs in after this.
      - The lines of other domains in the file stay as they are.
      - A line of another file for the same domain that comes later is refused by its name. Lines that win for some of the domain, as one for
        a user does over V(*), are warned of, as are ways to log in that do not use pam_limits.
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
      - With O(state=present) each entry has to meet one at least, and with O(state=absent) those that it meets get back what they had.
      - Neither PID 1 nor threads of the kernel nor this run itself are touched.
      - Of those of a name or a unit some may come and go meanwhile. One that has ended is left out, one that has come is warned of.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of processes, as C(/proc/PID/comm) has it. All of that name are meant.
          - Processes in a PID namespace of their own, such as those of containers, are meant by O(processes[].pid) alone.
        type: str
      unit:
        description: The unit whose processes are meant, all that are in its cgroup, but for those in a PID namespace of their own.
        type: str
      pid:
        description: The number of one process.
        type: int
  raise_ceilings:
    description:
      - Whether C(fs.nr_open) may be raised where O(limits.nofile) is above it. It is never lowered but to what was there before.
      - For O(pam), O(systemd_manager) and O(systemd_units) it is raised at boot too, by C(/etc/sysctl.d/90-bulwark-rlimit.conf).
    type: bool
    default: false
  daemon_reload:
    description: Whether systemd may be told to read its files again. That can take GPUs from running containers.
    type: bool
    default: false
  restart:
    description:
      - Whether those of O(systemd_units) may be restarted whose main process runs with other limits. It takes O(daemon_reload).
      - Services that merely follow O(systemd_manager) are never restarted.
      - A unit that does not start again, or has other limits even then, fails the run, which puts the files back and restarts it with those.
    type: bool
    default: false
  state:
    description:
      - V(present) sets what is named, and leaves the rest alone.
      - V(absent) takes the named limits, or all, from the named targets. Live processes get back the limits from before. What
        they started since has inherited the new ones, and keeps them.
      - V(absent) without a target takes back all that this module ever set. C(fs.nr_open) goes back with the last of it.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: bulwark.node.node_facts
  - name: setrlimit(2)
    description: What each limit bounds.
    link: https://man7.org/linux/man-pages/man2/setrlimit.2.html
  - name: limits.conf(5)
    description: Which line wins at a login.
    link: https://man7.org/linux/man-pages/man5/limits.conf.5.html
"""

EXAMPLES = r"""
- name: Give logins and services 65536 files, and as hard limit half a million
  bulwark.node.rlimit:
    limits:
      nofile:
        soft: 65536
        hard: 524288
    pam:
      domain: "*"
    systemd_manager: true

- name: Let containerd lock memory without end, and restart it for that
  bulwark.node.rlimit:
    limits:
      memlock: unlimited
    systemd_units:
      - containerd.service
    daemon_reload: true
    restart: true

- name: Help a running database, and raise fs.nr_open for it
  bulwark.node.rlimit:
    limits:
      nofile: 2097152
    processes:
      - unit: postgresql@15-main.service
    raise_ceilings: true

- name: Take the limits of the group qemu away again
  bulwark.node.rlimit:
    limits:
      memlock: unlimited
    pam:
      domain: "@qemu"
    state: absent

- name: Put back what was there before
  bulwark.node.rlimit:
    state: absent
"""

RETURN = r"""
before:
  description: The named targets as they were, each as the subset C(rlimits) of M(bulwark.node.node_facts) shows it.
  returned: success
  type: dict
  contains:
    ceilings:
      description: The kernel's ceilings C(nr_open), C(file_max), C(threads_max) and C(pid_max).
      type: dict
      sample: {nr_open: 1048576, file_max: 9223372036854775807, threads_max: 192731, pid_max: 4194304}
    pam:
      description: The lines of the domain in the module's file. V(null) where O(pam) is not named.
      type: dict
      sample:
        entries:
          - {file: /etc/security/limits.d/95-bulwark-rlimit.conf, line: 2, domain: "*", type: hard, item: nofile, value: "524288"}
    systemd_manager:
      description: What systemd's files make of each limit's default, in the kernel's units, and V(null) for one that none sets.
      type: dict
      sample: {nofile: {soft: 1024, hard: 524288, file: /etc/systemd/system.conf.d/limits.conf}, memlock: null}
    systemd_units:
      description: What the unit's files make of each limit, as for the manager.
      type: list
      elements: dict
      sample:
        - unit: containerd.service
          limits: {nofile: {soft: unlimited, hard: unlimited, file: /usr/lib/systemd/system/containerd.service}, memlock: null}
    processes:
      description: The live processes that are meant, with all their limits.
      type: list
      elements: dict
      sample: [{name: containerd, pid: 702, unit: containerd.service, limits: {nofile: {soft: 1024, hard: 524288}}}]
after:
  description: The same afterwards, read back, or in check mode as predicted. The units have what systemd will give them at their next start.
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
        - V(daemon_reload) and V(restart) are systemd's. V(forget) drops entries of the manifest whose processes have ended.
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
      sample: {memlock: "unlimited:unlimited"}
    got:
      description: The value read back.
      type: raw
      sample: {memlock: "8388608:8388608"}
    reason:
      description: Why.
      type: str
      sample: "it was restarted, and its main process has {'memlock': '8388608:8388608'}"
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
  description: What systemd has still to read, and the units whose main process runs with other limits than their files say.
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
      sample: "restart, to run with other limits: memlock"
undone:
  description: What had been changed and was put back, when the module failed.
  returned: failure
  type: list
  elements: str
  sample: ["/etc/security/limits.d/95-bulwark-rlimit.conf"]
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
      sample: "cannot write: EIO (Input/output error)"
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.module import run
from ansible_collections.bulwark.node.plugins.module_utils.node import rlimit


def main() -> None:
    module = AnsibleModule(argument_spec=rlimit.ARGUMENT_SPEC, supports_check_mode=True)
    run(module, rlimit.Rlimit)


if __name__ == "__main__":
    main()
