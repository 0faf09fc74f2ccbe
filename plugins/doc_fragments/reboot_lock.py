# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lock of reboots is kept: the options that whoever takes it and whoever looks at it have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment C(bulwark.node.reboot_lock); its argument spec is C(STORE_SPEC) of C(module_utils/reboot_lock.py)."""

    DOCUMENTATION = r"""
options:
  backend:
    description:
      - Where the lock is kept.
      - V(kured) is the annotation by which kured itself locks. It fails where the cluster has no kured.
      - V(lease) is a Lease of our own. kured knows nothing of it.
      - V(file) is the file O(path) on the machine that the module runs on. It needs no Kubernetes, and no API server is asked.
      - V(auto) is V(kured) where the cluster has a kured, else V(lease), and V(file) where nothing says which API server to ask, neither an option
        nor the environment, a pod or C(~/.kube/config). What it could not ask is an error.
      - All who share a lock must come to the same one. Say which it is where they run on machines with different settings.
    type: str
    choices:
      - auto
      - kured
      - lease
      - file
    default: auto
  kured:
    description:
      - Where kured is and how it locks. All of it is read from its DaemonSet, from the command, the arguments and the environment C(KURED_*), which wins as
        in kured 1.18 and later.
    type: dict
    suboptions:
      namespace:
        description:
          - The namespace of kured's DaemonSet. Without O(kured.name) kured is looked for in it, or in all of them by default.
          - With O(kured.name) it is V(kube-system) by default.
        type: str
      name:
        description:
          - The name of kured's DaemonSet. It fails where that is not there.
          - By default it is the DaemonSet named C(kured), or that whose image or command is.
            That takes the right to C(list) DaemonSets.
        type: str
      annotation:
        description: The annotation, instead of what the DaemonSet says.
        type: str
      concurrency:
        description: How many nodes kured lets reboot at once, instead of what the DaemonSet says.
        type: int
  lease:
    description: The Lease of the backend V(lease).
    type: dict
    suboptions:
      namespace:
        description: Its namespace.
        type: str
        default: kube-system
      name:
        description: Its name.
        type: str
        default: bulwark-reboot
  path:
    description:
      - The file of the backend V(file). Delegate the task to the one machine that keeps it for all.
      - Beside it there is a file of this name with C(.lock).
    type: path
    default: /var/lib/bulwark/reboot-lock.json
"""
