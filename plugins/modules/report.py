# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Documentation alone: plugins/action/report.py does the work, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Judges the facts of hosts and reports the findings
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Judges what M(bulwark.node.node_facts) returned for each host by baselines, files of controls, prints a table of the findings,
    the worst first, and writes all of it to the files C(report.json), C(report.html) and C(junit.xml).
  - Runs on the controller alone and connects to no host. Run it once per play, with C(run_once), in a play without C(serial).
  - Fails, after the report is written, when a host was unreachable or returned no facts, and for findings where O(fail_on) says so.
  - With O(before) it reports on a run that changes hosts, what was done, what was fixed, what remains and why, and what got worse. This
    is for plays with C(serial), run once per batch, with all hosts of the play each time. As long as hosts are left that are still to
    be begun, C(report.json) alone is written, C(report.html) and C(junit.xml) of an earlier run are removed, and hosts are not compared
    with one another.
  - Such a run fails where a host was unreachable, where it failed, where it is worse than before, or with O(undo) where something
    of the collection's remains.
  - It needs the Python library C(jmespath) on the controller.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
    details:
      - The findings are judged and printed and the hosts make the task fail as ever; no file is written.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - A report holds the time when it was made, so that each run writes another one.
  platform:
    support: full
    platforms: posix
  action:
    description: Is an action plugin, which runs on the controller.
    support: full
options:
  results:
    description:
      - What M(bulwark.node.node_facts) returned, as C(register) keeps it, per name of a host.
      - A host whose result is empty is reported as failed, for nothing is known of it.
      - One of this and O(registered) is required.
    type: dict
  dir:
    description:
      - The folder on the controller that the files are written to. A relative path starts at the current folder.
      - It is made, with mode C(0750), where it is missing. The files get mode C(0640), since they name weaknesses of machines;
        older ones are replaced, each in one step.
    type: path
    required: true
  before:
    description:
      - What M(bulwark.node.node_facts) returned before the change, per name of a host. O(results) then are those of after it.
      - A host that is missing here was not begun.
    type: dict
  outcomes:
    description:
      - What M(bulwark.node.settings) returned, per name of a host. It needs O(before).
      - The key C(restarts) may be added, with what was restarted since. Its C(reload) is the registered result of the task that had
        systemd read its files again, its C(units) that of a loop over the units.
    type: dict
  ended:
    description:
      - Whether the hosts in O(before) were changed.
      - With V(false), those that are not in O(outcomes) are about to be. They are written down as begun, so that the file is true whatever
        becomes of the run. Nothing is shown, and no host makes the task fail.
    type: bool
    default: true
  accept_worse:
    description:
      - The controls that may get worse and do not make the run fail, a list per name of a host. They are named all the same.
    type: dict
    default: {}
  undo:
    description:
      - Whether the run takes back what the collection wrote. It fails where the facts C(managed) show that something remains, and
        controls that get worse do not make it fail.
    type: bool
    default: false
  hosts:
    description:
      - What is known of the hosts and what they are judged by, per name of a host, each key as the option of role
        R(bulwark.node.audit, bulwark.node.audit) of that name. C(groups) are those of the inventory, C(pool) names the hosts that must be
        alike, C(baselines), C(params) and C(waivers) are what judges it.
      - A host that is missing here is judged by what its facts ask for.
    type: dict
    default: {}
  registered:
    description:
      - Instead of the options of the same names, the names of the variables in which each host of the play has its part of them. They
        are read as they are, which for a large fleet takes a part of the time and memory that templates over C(hostvars) take.
      - In a play with C(serial) the hosts of the batches before are those of the C(report.json) that was written after them.
    type: dict
    suboptions:
      results:
        description: Of O(results).
        type: str
        required: true
      before:
        description: Of O(before).
        type: str
      outcomes:
        description: Of O(outcomes).
        type: str
      accept_worse:
        description: Of O(accept_worse).
        type: str
      hosts:
        description: Of O(hosts).
        type: str
  compare:
    description:
      - An older C(report.json). What got worse and what was fixed since is shown, and is C(compared) in the report.
    type: path
  cloud_nat:
    description:
      - What role R(bulwark.node.cloud_nat, bulwark.node.cloud_nat) found out of gateways, its C(cloud_nat_result) of each. The report shows what
        they have against what they need, and when they break.
    type: list
    elements: dict
    default: []
  fail_on:
    description:
      - The least severity of a finding of status V(fail) that makes the task fail, once the report is written. Without O(before) alone.
    type: str
    choices: [never, critical, high, medium, low, info]
    default: never
seealso:
  - module: bulwark.node.node_facts
  - module: bulwark.node.settings
notes:
  - The table is as wide as the environment variable E(COLUMNS) says, else as the terminal, else 79 columns.
"""

EXAMPLES = r"""
- name: Gather the facts, whatever becomes of a host
  bulwark.node.node_facts:
  register: node
  ignore_unreachable: true
  ignore_errors: true

- name: Judge them and write the report
  bulwark.node.report:
    registered:
      results: node
    dir: bulwark-report
    fail_on: high
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
path:
  description: The report's file on the controller.
  returned: success, or failure for a host's sake
  type: str
  sample: /home/ops/bulwark-report/report.json
summary:
  description: How many hosts and findings there are, as in the report.
  returned: success, or failure for a host's sake
  type: dict
  contains:
    hosts:
      description: Hosts in the report.
      type: int
      sample: 12
    unreachable:
      description: Hosts that could not be reached.
      type: int
      sample: 1
    failed:
      description: Hosts that were reached and returned no facts.
      type: int
      sample: 0
    findings:
      description: Numbers of findings.
      type: dict
      contains:
        by_status:
          description: Per status V(fail), V(error), V(unknown), V(waived), V(not_applicable) and V(pass).
          type: dict
          sample: {"fail": 2, "error": 0, "unknown": 1, "waived": 0, "not_applicable": 22, "pass": 30}
        fail_by_severity:
          description: The findings of status V(fail) per severity V(critical), V(high), V(medium), V(low) and V(info).
          type: dict
          sample: {"critical": 0, "high": 1, "medium": 1, "low": 0, "info": 0}
    outcomes:
      description: The hosts per status of their outcome, when O(before) is given.
      type: dict
      sample: {"unreachable": 0, "failed": 0, "worse": 1, "remains": 0, "begun": 0, "not_begun": 9, "changed": 2, "unchanged": 0}
    fixed:
      description: The controls that failed before and no longer do, on all hosts, when O(before) is given.
      type: int
      sample: 3
    worse:
      description: The controls that fail and did not before, on all hosts, when O(before) is given.
      type: int
      sample: 1
hosts_unreachable:
  description: The hosts that could not be reached.
  returned: success, or failure for a host's sake
  type: list
  elements: str
  sample: [node7]
hosts_failed:
  description: The hosts that were reached and returned no facts.
  returned: success, or failure for a host's sake
  type: list
  elements: str
  sample: []
hosts_failing:
  description: The hosts with findings that O(fail_on) asks for.
  returned: when O(before) is not given
  type: list
  elements: str
  sample: [node2]
compared:
  description: What is other than in the report of O(compare), null without one. C(docs/schemas.md) has its shape.
  returned: when O(before) is not given
  type: dict
  sample: null
hosts_worse:
  description: The hosts on which a control got worse, or whose facts can no longer be read.
  returned: when O(before) is given
  type: list
  elements: str
  sample: [node3]
hosts_remains:
  description: The hosts on which something of the collection's remains.
  returned: when O(before) is given
  type: list
  elements: str
  sample: []
hosts_begun:
  description: The hosts that are being changed.
  returned: when O(before) is given
  type: list
  elements: str
  sample: []
hosts_not_begun:
  description: The hosts that the run did not come to.
  returned: when O(before) is given
  type: list
  elements: str
  sample: [node4, node5]
hosts_changed:
  description: The hosts that were changed, or in check mode would be.
  returned: when O(before) is given
  type: list
  elements: str
  sample: [node1, node2]
hosts_unchanged:
  description: The hosts on which nothing was to be done.
  returned: when O(before) is given
  type: list
  elements: str
  sample: []
"""
