#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_change
short_description: Take a node out of its cluster, have it changed, and let it in when it has proved itself
version_added: "0.2.0"
description:
  - Carries out the one order in which a node is changed - lock, budget, preflight, announcement, cordon, drain, change, reboot, proof, admission,
    release. What the API can do is done here; the steps of O(host_steps) are left to the tasks that follow. The role C(node_change) has
    those tasks, and is what a playbook uses.
  - The first call begins a change, or goes on with one that was cut off, and returns the first step that the host has to do in RV(next). Each
    further call takes what became of that step in O(answer). At the end RV(next) is empty.
  - Everything that was done stands in a journal on the controller before it is done, so that a run that is cut off anywhere is finished by
    running it again. From its cordon to its admission the node carries a code in its annotation C(baremetal.gpu/change-code).
  - When a step fails the node stays cordoned, with the code of the reason, its lock and its place in the budget. Before the cordon everything
    is given back.
  - In check mode nothing is written. Locks, budget, rights and policies are judged, evictions asked for as dry runs, and RV(next) is what the
    run would come to.
options:
  name:
    description: Name of the node.
    type: str
    required: true
  title:
    description: What is changed, in one word of letters, digits and C(_.+:@-), for example V(k3s-v1.33). A rerun goes on with the same title only.
    type: str
    required: true
  journal:
    description: Directory on the controller with a file for each node. It has to outlive the run. When not given, C(.node-change) beside the inventory.
    type: path
  wanted:
    description: Whether the node has to be changed. When not, only a change that was cut off is finished.
    type: bool
    default: true
  host_steps:
    description: Steps that tasks do, out of V(preflight), V(announce), V(change) and V(prove). A reboot that the change asks for is always one.
    type: list
    elements: str
    default: [change]
  budget:
    description: How many nodes of the cluster may be out at once.
    type: int
    default: 1
  lock_s:
    description: How long the node's lock lasts after each step has begun, in seconds. Nobody takes an ended one without O(take_over).
    type: float
    default: 3600
  may_reboot:
    description: Whether a change that needs a reboot may have it.
    type: bool
    default: false
  take_over:
    description: The word that whoever holds an ended lock, or has the node out, is dead and never goes on.
    type: bool
    default: false
  resources:
    description: Extended resources that the node has to offer again, with their counts.
    type: dict
    default: {}
  ready_timeout_s:
    description: How long the node may take to be Ready with all of that, in seconds.
    type: float
    default: 600
  api_timeout_s:
    description: How long an API that does not answer is asked again, in seconds.
    type: float
    default: 120
  answer:
    description: What became of the step that RV(next) asked for.
    type: dict
    suboptions:
      step:
        description: That step.
        type: str
        choices: [preflight, announce, change, reboot, prove]
        required: true
      failure:
        description: Why it failed; empty when it succeeded. A code at its beginning becomes the node's.
        type: str
        default: ""
      reboot:
        description: Whether the change needs a reboot.
        type: bool
        default: false
      boot_id:
        description: After a change, the boot in which it was made. After a reboot, the boot that the host is in.
        type: str
        default: ""
extends_documentation_fragment:
  - baremetal.gpu.drain.nested
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.controller_only
  - baremetal.gpu.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: baremetal.gpu.node_drain
  - module: baremetal.gpu.node_ready
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Take the node out
  baremetal.gpu.node_change: &change
    kubeconfig: ~/.kube/onyx.yaml
    name: onyx-g01
    title: kernel-settings
    resources: {nvidia.com/gpu: 8}
  register: out

- name: Change it
  ansible.posix.sysctl:
    name: vm.nr_hugepages
    value: "1024"
  when: out.next == 'change'

- name: Prove it, and let it in
  baremetal.gpu.node_change:
    <<: *change
    answer: {step: change}
  when: out.next == 'change'
"""

RETURN = r"""
next:
  description: The step that the host's tasks have to do. Empty at the end, and when there was nothing to change.
  returned: always
  type: str
  sample: change
data:
  description: What belongs to that step; for a reboot C(boot_id), the boot that has to be over.
  returned: always
  type: dict
steps:
  description: The steps that this call completed, when the change has ended.
  returned: always
  type: list
  elements: str
out:
  description: Whether the node is out of the cluster now.
  returned: always
  type: bool
holder:
  description: Under which name the node is locked - the controller, the title and a number of this change.
  returned: always
  type: str
  sample: ops-1/k3s-v1.33/3f9a12bc
drained:
  description: What the drain did, as M(baremetal.gpu.node_drain) returns it. V(null) when this call did not drain.
  returned: always
  type: dict
"""
