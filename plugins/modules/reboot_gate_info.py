# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_gate_info
short_description: Tells whether a reboot may begin now, and every reason why not
version_added: 0.1.0
author:
  - The bulwark.node authors (@bulwark)
description:
  - Looks at maintenance windows and at Prometheus' alerts, each where it is given, and returns all that is in the way at once.
  - What could not be asked is in the way too.
  - It needs no Kubernetes. It looks from where it runs, by the clock of that machine, and so is best delegated to one that reaches Prometheus.
  - It does not fail because the gate is closed or Prometheus does not answer. It fails on options alone.
  - Without any option it is open.
extends_documentation_fragment:
  - bulwark.node.attributes
  - bulwark.node.attributes.info_module
  - bulwark.node.attributes.actiongroup_all
attributes:
  platform:
    support: full
    platforms: posix
options:
  windows:
    description:
      - When a reboot may begin. Without any window it may at all times. With several, one of them has to be open.
      - A window is open whenever the clock of its zone shows a time in it. An hour that the zone leaves out in spring is in no window, and one
        that comes twice in autumn is in it twice.
    type: list
    elements: dict
    default: []
    suboptions:
      days:
        description:
          - Days of the week as kured spells them. V(mo), V(mon) and V(Monday) are one day, as is V(1), counted from V(0) for Sunday.
          - All days by default.
          - Mutually exclusive with O(windows[].rrule).
        type: list
        elements: str
      start:
        description:
          - When it opens, as kured spells it, such as V(9am), V(11:59pm), V(15), V(15:04) or V(23:59:59). By default at midnight.
          - Put it in quotes. YAML takes V(22:00) without them for the number 1320.
        type: str
      end:
        description:
          - When it closes, spelled as O(windows[].start), or V(24:00). By default V(23:59:59).
          - The second that it names is in the window, as with kured.
          - Where it is before O(windows[].start) the window goes through midnight.
        type: str
      duration:
        description:
          - For how many seconds it is open from O(windows[].start) on, up to a week, instead of O(windows[].end).
          - Where the zone leaves out the start, it opens right after the gap. Where the start comes twice, it opens at the first.
        type: int
      time_zone:
        description:
          - The zone of days, times and dates, such as V(Europe/Berlin).
          - All but V(UTC) take the time zone database of the machine that the module runs on, on Debian its package C(tzdata).
        type: str
        default: UTC
      day_semantics:
        description:
          - What O(windows[].days) mean for a window through midnight.
          - With V(current) a day is the one that it is at the moment, as with kured. From 23:00 to 02:00 on V(fri) is then open in the first two hours
            of Friday and in its last.
          - With V(start) it is the day on which the window starts, so that it is open from Friday 23:00 to Saturday 02:00.
          - V(current) by default, and always V(start) with O(windows[].duration) or O(windows[].rrule).
        type: str
        choices:
          - current
          - start
      rrule:
        description:
          - The days on which it starts as a rule of RFC 5545, instead of O(windows[].days), such as V(FREQ=MONTHLY;BYDAY=2TU).
          - It takes C(FREQ) of C(DAILY), C(WEEKLY) or C(MONTHLY), C(BYDAY) (in months with ordinals), C(BYMONTHDAY), C(INTERVAL), and C(UNTIL) or
            C(COUNT). All else is refused by name.
          - What is counted takes a start before it, V(DTSTART:20260105 RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO). Dates have neither time nor zone here.
        type: str
      exclude:
        description:
          - Dates on which this window is closed, and on which none starts, such as V(2026-12-24), or the first and the last of some,
            V(2026-12-24..2027-01-06).
        type: list
        elements: str
        default: []
  reboot_duration:
    description:
      - How many seconds the reboot may take, drain and all. The windows have to be open as long as that.
      - With V(0) a window has to be open at this moment alone, as with kured.
    type: int
    default: 0
  prometheus:
    description:
      - Whom to ask for alerts, which are in the way while they are pending or firing.
      - An error is in the way, and so is an answer that warns that it may not be whole.
    type: dict
    suboptions:
      url:
        description: The address, without C(/api/v1). Redirects are not followed.
        type: str
        required: true
      query:
        description:
          - The PromQL to ask. Each of its samples that is not 0 is in the way.
          - Alerts that are silenced in the Alertmanager are among C(ALERTS) all the same.
        type: str
        default: ALERTS
      ignore:
        description:
          - A regular expression. An alert in whose name it is found is not in the way, as with kured's C(--alert-filter-regexp).
          - It is Python's, found anywhere in the name unless C(^) and C($) say otherwise. Go's, which kured takes, are mostly the same.
          - Where Go's mean something else or nothing in Python they are refused. These are C([[:alpha:]]) and its like, C(\p), C(\Q), C(\z), C(\C), and
            flags elsewhere than at the beginning. C(\d), C(\w), C(\s) and C(\b) know ASCII alone, as in Go.
          - What Go refuses is taken, such as C((?!) and C(\1).
        type: str
      match:
        description:
          - A regular expression as of O(prometheus.ignore). Only alerts in whose name it is found are in the way, as with kured's C(--alert-filter-match-only).
          - What O(prometheus.ignore) finds as well is not in the way.
        type: str
      firing_only:
        description: Whether alerts that are still pending are not in the way.
        type: bool
        default: false
      labels:
        description: Labels with their values. Only alerts that have all of them are in the way. An empty value is that of a label that is not there.
        type: dict
        default: {}
      bearer_token:
        description: A token to be sent. Mutually exclusive with O(prometheus.username).
        type: str
      username:
        description: The user for basic authentication, together with O(prometheus.password).
        type: str
      password:
        description: The password for O(prometheus.username).
        type: str
      validate_certs:
        description: Whether the server's certificate has to be valid.
        type: bool
        default: true
      ca_path:
        description: A file of certificates that are trusted beside the machine's own.
        type: path
      use_proxy:
        description: Whether proxies of the environment (C(https_proxy)) are used.
        type: bool
        default: true
      timeout:
        description: How many seconds it has to answer.
        type: int
        default: 10
seealso:
  - module: bulwark.node.reboot_info
"""

EXAMPLES = r"""
- name: Ask once for all hosts whether a reboot of half an hour may begin
  bulwark.node.reboot_gate_info:
    windows:
      - days: [mo, tu, we, th]
        start: "22:00"
        end: 4am
        time_zone: Europe/Berlin
        day_semantics: start
        exclude: [2026-12-24..2027-01-06]
      - rrule: FREQ=MONTHLY;BYDAY=2SA
        duration: 86400
    reboot_duration: 1800
    prometheus:
      url: https://prometheus.example.org
      ignore: ^(Watchdog|RebootRequired)$
      firing_only: true
      bearer_token: "{{ prometheus_token }}"
  delegate_to: localhost
  run_once: true
  register: gate

- name: Stop where it may not, with every reason
  ansible.builtin.fail:
    msg: "{{ gate.reasons | map(attribute='detail') | list }}"
  when: not gate.open

- name: Let critical alerts of the payment team alone be in the way
  bulwark.node.reboot_gate_info:
    prometheus:
      url: http://prometheus.monitoring:9090
      labels:
        severity: critical
        team: payment
  delegate_to: localhost
"""

RETURN = r"""
open:
  description: Whether nothing is in the way.
  returned: success
  type: bool
  sample: false
reasons:
  description: All that is in the way.
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description: V(windows) or V(prometheus).
      type: str
      sample: windows
    detail:
      description: What it is.
      type: str
      sample: no window is open; the next that has 1800 seconds opens at 2026-11-23T21:00:00Z
    until:
      description: When it goes by itself, in seconds since the epoch. V(null) where that is not known.
      type: int
      sample: 1795467600
    error:
      description: Whether it could not be asked.
      type: bool
      sample: false
next_opening:
  description:
    - The first moment at which the windows let a reboot of O(reboot_duration) begin, in seconds since the epoch.
    - It is now where they do, or where there are none.
    - V(null) where they do not within 731 days. What else is in the way is not foretold.
  returned: success
  type: int
  sample: 1795467600
closes:
  description:
    - When the windows that are open now close, in seconds since the epoch.
    - V(null) where none is open, where there are none, and where it is more than a week until then.
  returned: success
  type: int
  sample: null
checked_at:
  description: The moment that all of this is about, in seconds since the epoch.
  returned: success
  type: int
  sample: 1795266000
"""

import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.module import fail
from ansible_collections.bulwark.node.plugins.module_utils.reboot import prometheus
from ansible_collections.bulwark.node.plugins.module_utils.reboot.alerts import alert_reasons, selection
from ansible_collections.bulwark.node.plugins.module_utils.reboot.gate import Gate, Reason, decide
from ansible_collections.bulwark.node.plugins.module_utils.reboot.window import WINDOW_SPEC, parse_windows

_WEEK = 604800


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "windows": {"type": "list", "elements": "dict", "default": [], "options": WINDOW_SPEC},
            "reboot_duration": {"type": "int", "default": 0},
            "prometheus": {"type": "dict", "options": prometheus.PROMETHEUS_SPEC},
        },
        supports_check_mode=True,
    )
    try:
        gate = look(module.params)
    except BulwarkError as error:
        fail(module, "reboot_gate_info", error)
    module.exit_json(changed=False, **gate.as_dict())


def look(params: dict[str, Any]) -> Gate:
    """All options first, so that a wrong one costs no request; then all that is asked. Raises OptionError."""
    windows = parse_windows("windows", params["windows"])
    if not 0 <= params["reboot_duration"] <= _WEEK:
        raise OptionError("reboot_duration", params["reboot_duration"], f"seconds, from 0 to {_WEEK} (a week)")
    reasons: list[Reason] = []
    if params["prometheus"]:
        prometheus.check("prometheus", params["prometheus"])
        chosen = selection("prometheus", params["prometheus"])
        try:
            reasons += alert_reasons(prometheus.query(params["prometheus"]), chosen)
        except prometheus.PrometheusError as error:
            reasons.append(Reason("prometheus", str(error), error=True))
    moment = datetime.datetime.now(datetime.timezone.utc)
    return decide(moment, windows, datetime.timedelta(seconds=params["reboot_duration"]), reasons)


if __name__ == "__main__":
    main()
