#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""sshd that lets in keys only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_access
short_description: Let sshd take keys only, without locking the operator out
version_added: "0.3.0"
description:
  - Writes C(/etc/ssh/sshd_config.d/00-baremetal-gpu.conf) - keys, no passwords, no password for root, no weak algorithms, O(allow_groups) and
    O(settings) - and, where O(authorized_keys) names users, their files of keys. Host keys are left alone.
  - What would be in effect is asked of the host's own sshd (C(sshd -t), C(sshd -T), for every operator C(sshd -T -C user=...)) in a mount namespace of its
    own before anything is written. Settings that another file overrides are refused (BG-ACCESS-107), and so is whatever would shut out one of
    O(operators) (BG-ACCESS-101) or leave one without a key (BG-ACCESS-102).
  - Before a change a fresh connection over O(way_back) must reach this host by key (BG-ACCESS-103). Then a timer is armed on the host, the files are
    written and sshd reloaded, and only after another fresh connection over O(way_back) the timer is disarmed. Otherwise the host puts back what
    was (BG-ACCESS-120), also when the controller is gone or the host restarts.
  - A running sshd is reloaded, sessions stay. Behind a socket (Ubuntu's C(ssh.socket)) it is restarted instead, with sessions left alone.
options:
  operators:
    description: Users that must be able to log in by key. Without any, the connection's own user.
    type: list
    elements: str
    default: []
  authorized_keys:
    description: Users and the keys that they have, and no other; users that it does not name keep theirs.
    type: dict
    default: {}
  permit_root:
    description: Whether root may log in with a key.
    type: str
    choices: [prohibit-password, "no"]
    default: prohibit-password
  allow_groups:
    description: Groups whose members may log in. Without any, every user with a key may.
    type: list
    elements: str
    default: []
  settings:
    description: Further keywords of sshd_config and their values. They replace those of this module.
    type: dict
    default: {}
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.full
  - baremetal.gpu.guarded
seealso:
  - module: baremetal.gpu.tailnet_firewall
  - module: baremetal.gpu.access_guard
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Let sshd take keys only
  baremetal.gpu.ssh_access:
    operators: [ada]
    allow_groups: [ssh-operators]
    way_back: "{{ tailnet_address }}"
"""

RETURN = r"""
seconds:
  description: How long the change waited for its confirmation.
  returned: when something was changed
  type: float
differences:
  description: Files that are not as declared; with O(verify=true) settings that are in effect otherwise.
  returned: success
  type: list
  elements: str
locked_out:
  description: Operators that could not log in, with the reason.
  returned: with O(verify=true)
  type: list
  elements: str
"""

import os
import shutil
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded, sshd_settings
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard import File
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard_host import Guard
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sshd_host import Account, Sshd, account, key_file, with_keys
from ansible_collections.baremetal.gpu.plugins.module_utils.sshd_settings import Effective, User, Wanted

ARGUMENTS: Dict[str, Any] = {
    "operators": {"type": "list", "elements": "str", "default": []},
    "authorized_keys": {"type": "dict", "default": {}, "no_log": False},
    "permit_root": {"type": "str", "choices": ["prohibit-password", "no"], "default": "prohibit-password"},
    "allow_groups": {"type": "list", "elements": "str", "default": []},
    "settings": {"type": "dict", "default": {}},
    "apply": {"type": "bool", "default": False},
    "verify": {"type": "bool", "default": False},
    "identifier": {"type": "str", "default": ""},
    "rollback_after_s": {"type": "int", "default": 60},
}
"""Of the documented options, the action takes those about the controller; ``apply`` and ``identifier`` are its own."""

ROOT = "/"
PLACES = ["/usr/sbin", "/usr/local/sbin", "/sbin"]


def main() -> None:
    """Compare, and with ``apply`` make effective what differs, with the guard behind it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    guard = Guard(bounded.run, ROOT)
    sshd = Sshd(guard, module.get_bin_path("sshd", required=True, opt_dirs=PLACES))
    try:
        wanted = sshd_settings.wanted_from(
            module.params["permit_root"], module.params["allow_groups"], module.params["settings"]
        )
        result = _judge(sshd, wanted, module.params) if module.params["verify"] else _work(module, guard, sshd, wanted)
    except GpuError as error:
        module.fail_json(**error.as_result())
    pending = guard.pending()
    module.exit_json(
        machine=guard.machine(),
        pending=pending.as_dict() if pending else None,
        rolled_back=guard.last_rolled_back(),
        **result,
    )


def _work(module: AnsibleModule, guard: Guard, sshd: Sshd, wanted: Wanted) -> Dict[str, Any]:
    params = module.params
    text = sshd_settings.drop_in(wanted)
    scratch = tempfile.mkdtemp(dir=module.tmpdir)
    folder = os.path.join(scratch, "drop-ins")
    try:
        sshd.prepare_folder(text, folder)
        files = [File(sshd_settings.DROP_IN, text, 0o600), *_key_files(sshd, folder, params["authorized_keys"])]
        texts = {file.path: file.text or "" for file in files}
        _refuse_overridden(sshd.effective(folder), wanted)
        for name in params["operators"]:
            effective = sshd.effective(folder, name, _client())
            _refuse_shut_out(name, effective, _user(name, effective, texts))
    finally:
        shutil.rmtree(scratch)
    changed = [file for file in files if not guard.is_as_wanted(file)]
    if params["apply"] and not module.check_mode:
        guard.arm_and_apply(sshd.change(changed), params["identifier"], params["rollback_after_s"])
    return {
        "changed": bool(changed),
        "differences": ["{0} is not as declared".format(file.path) for file in changed],
        "diff": [
            {
                "before_header": file.path,
                "after_header": file.path,
                "before": guard.read(file.path) or "",
                "after": file.text or "",
            }
            for file in changed
        ],
    }


def _judge(sshd: Sshd, wanted: Wanted, params: Mapping[str, Any]) -> Dict[str, Any]:
    """What is in effect now: settings that are otherwise, and why an operator could not log in."""
    different = sshd_settings.overridden(sshd.effective(None), wanted)
    locked: List[str] = []
    for name in params["operators"]:
        effective = sshd.effective(None, name, _client())
        user = _user(name, effective, {})
        reason = sshd_settings.shut_out(effective, user) or sshd_settings.without_key(effective, user)
        if reason:
            locked.append("{0}: {1}".format(name, reason))
    return {"changed": False, "differences": list(different), "locked_out": locked}


def _key_files(sshd: Sshd, folder: str, keys: Mapping[str, Any]) -> List[File]:
    files = []
    for name, lines in keys.items():
        found = account(name)
        if found is None:
            raise GpuError(
                "BG-ACCESS-102",
                "{0} shall have keys, and is no user of this host".format(name),
                "nothing was changed",
                "create the user first, or correct ssh_access_authorized_keys",
            )
        files.append(key_file(found, sshd.effective(folder, name, _client()), [str(line) for line in lines]))
    return files


def _refuse_overridden(effective: Effective, wanted: Wanted) -> None:
    found = sshd_settings.overridden(effective, wanted)
    if found:
        raise GpuError(
            "BG-ACCESS-107",
            "other settings would stay in effect: {0}".format("; ".join(found)),
            "sshd takes the first value that it reads, and something comes before or replaces {0}".format(
                sshd_settings.DROP_IN
            ),
            "let /etc/ssh/sshd_config begin with its Include line, and remove those settings elsewhere in /etc/ssh",
        )


def _refuse_shut_out(name: str, effective: Effective, user: User) -> None:
    reason = sshd_settings.shut_out(effective, user)
    if reason:
        raise GpuError(
            "BG-ACCESS-101",
            "{0} could not log in: {1}".format(name, reason),
            "whoever runs this would be shut out; nothing was changed",
            "let the settings allow the operator's user, or name the right one in ssh_access_operators",
        )
    reason = sshd_settings.without_key(effective, user)
    if reason:
        raise GpuError(
            "BG-ACCESS-102",
            "{0} could not log in with any key: {1}".format(name, reason),
            "passwords are about to be refused; nothing was changed",
            "install a key of the operator first",
        )


def _user(name: str, effective: Effective, texts: Mapping[str, str]) -> User:
    found: Optional[Account] = account(name)
    return with_keys(found, effective, texts) if found else User(name, exists=False)


def _client() -> str:
    """The controller's address, where the connection tells it."""
    words: Tuple[str, ...] = tuple(os.environ.get("SSH_CONNECTION", "").split())
    return words[0] if words else ""


if __name__ == "__main__":
    main()
