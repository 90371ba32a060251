"""Tasks read like sentences, name their modules in full, tell the truth about changes and keep to their role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import pytest

from ansible_collections.baremetal.gpu.tests.unit.gates.tree import (
    Task,
    load,
    parse,
    plays_in,
    python_strings,
    scalars,
    task_texts,
    tasks_in,
)

# The first words that names of tasks may have. A new verb is added here when it is one.
_VERBS = (
    "Accept Add Allow Annotate Announce Apply Approve Archive Ask Attach Back Benchmark Block Boot Bring Build Cancel Carry Change Check Choose "
    "Clean Clear Close Collect Compare Compute Configure Confirm Convert Copy Cordon Correct Count Create Declare Decide Define Delete "
    "Deploy Detach Determine Disable Download Drain Elect Empty Enable End Enforce Ensure Evict Export Extract Fail Fence Fetch "
    "Fill Find Flush Forget Format Freeze Gather Generate Give Go Grant Group Hand Hold Import Include Initialise Insert Inspect "
    "Install Isolate Join Judge Keep Label Leave Let Limit Link List Load Lock Look Make Mark Measure Migrate Mirror Mount Move "
    "Name Notify Obtain Offer Open Order Pin Place Plan Power Predict Prepare Print Promote Prove Publish Pull Push Put Read "
    "Reboot Record Reduce Refresh Refuse Register Reload Remember Remove Rename Render Renew Repair Replace Report Request Require Reset "
    "Resolve Restart Restore Resume Return Revoke Roll Rotate Run Save Schedule See Send Set Settle Share Show Silence Sign Skip "
    "Start Stop Store Suspend Switch Synchronise Tag Taint Take Tear Tell Test Tighten Touch Trust Turn Uncordon Undo Uninstall "
    "Unlock Unmount Unpack Update Upgrade Upload Use Validate Verify Wait Warn Watch Withdraw Write"
)
VERBS = frozenset(_VERBS.split())

# Modules that run what they are told to; they cannot know whether it changed anything.
COMMANDS = re.compile(
    r"(?:ansible\.(?:builtin|legacy|windows)\.)?(?:win_)?(?:command|shell|raw|script|expect)|community\.general\.expect"
)

# Variables of a connection, and the ones Ansible itself always sets; whatever else has their prefix is an injected fact.
_SPECIAL = (
    "ansible_check_mode ansible_collection_name ansible_collections ansible_config_file ansible_connection "
    "ansible_dependent_role_names ansible_diff_mode ansible_facts ansible_failed_result ansible_failed_task ansible_forks "
    "ansible_host ansible_index_var ansible_inventory_sources ansible_limit ansible_loop ansible_loop_var ansible_managed "
    "ansible_parent_role_names ansible_parent_role_paths ansible_password ansible_play_batch ansible_play_hosts "
    "ansible_play_hosts_all ansible_play_name ansible_play_role_names ansible_playbook_python ansible_port ansible_pos "
    "ansible_python_interpreter ansible_role_name ansible_role_names ansible_run_tags ansible_search_path ansible_skip_tags "
    "ansible_timeout ansible_user ansible_verbosity ansible_version"
)
SPECIAL = frozenset(_SPECIAL.split())
CONNECTION = re.compile(r"ansible_(?:become|ssh|scp|sftp|shell|podman|pipelining|winrm)\w*")
FACT = re.compile(r"(?<!\w)ansible_[a-z]\w*")

# molecule.yml configures molecule and holds no variables of Ansible.
READS_VARIABLES = re.compile(r"(roles|playbooks|molecule|inventories)/(?!.*/molecule\.yml).*\.(ya?ml|j2)")


def name_faults(task: Task) -> Iterator[str]:
    """A name begins with a verb in capitals, so that the output of a run reads as what is being done."""
    if not task.name:
        yield f"{task}: has no name"
    elif task.name.split()[0] not in VERBS:
        yield f"{task}: does not begin with a verb (VERBS in this test)"


def module_faults(task: Task) -> Iterator[str]:
    """A short name means another module when somebody installs a collection that has it."""
    if task.module is not None and not re.fullmatch(r"\w+\.\w+(\.\w+)+", task.module):
        yield f"{task}: {task.module!r} is not the full name of one module"


def change_faults(task: Task) -> Iterator[str]:
    """Whether a command changed something is read from its own result, or a comment says why it always or never does."""
    if task.module is None or not COMMANDS.fullmatch(task.module):
        return
    told = task.keys.get("changed_when")
    if told is None:
        # With these the module itself looks whether there is anything to do.
        if not {"creates", "removes"} & set(task.arguments):
            yield f"{task}: has neither changed_when nor creates or removes"
    elif not reads_variables(told):
        if not re.search(r"^\s*#.*\n\s*changed_when:", task.source, re.MULTILINE):
            yield f"{task}: no comment above changed_when says why it is always {told}"
    elif task.keys.get("register") not in variables_of(told):
        yield f"{task}: changed_when does not read the task's own result"


def variables_of(condition: Any) -> set[str]:
    """The variables of a condition, or of a list of conditions."""
    texts = [str(entry) for entry in condition] if isinstance(condition, list) else [str(condition)]
    # A test or filter that only Ansible knows is fine here: nothing is evaluated.
    return {
        name
        for text in texts
        for name in jinja2.meta.find_undeclared_variables(_ENVIRONMENT.parse(f"{{{{ {text} }}}}"))
    }


def reads_variables(condition: Any) -> bool:
    return bool(variables_of(condition))


_ENVIRONMENT = jinja2.Environment()  # parses, renders nothing


def facts_in(strings: Iterator[str]) -> set[str]:
    """Names of injected facts, however they are reached: bare, or as keys of vars, hostvars and task_vars."""
    found = {name for text in strings for name in FACT.findall(text)}
    return {name for name in found if name not in SPECIAL and not CONNECTION.fullmatch(name)}


def borders_crossed(task: Task, role: str) -> Iterator[str]:
    """A role knows no group of an inventory, and of other roles only what they are asked to do as a whole."""
    text = "\n".join(scalars(task.keys))
    if re.search(r"\bgroup_names\b|\bgroups\s*(\.\s*\w|\[\s*['\"])", text):
        yield f"{task}: names an inventory group"
    if re.search(r"(\.\./|roles/|ansible_collections/)[\w./-]*(tasks|files|templates|handlers|vars|defaults)/", text):
        yield f"{task}: reaches into another role's files"
    one_file = re.search(r"\.(include|import)_role$", task.module or "") and "tasks_from" in task.arguments
    if one_file and not str(task.arguments.get("name", "")).endswith(f".{role}"):
        yield f"{task}: runs one task file of another role"


def test_names_begin_with_a_verb(tasks: list[Task]) -> None:
    assert [fault for task in tasks for fault in name_faults(task)] == []


def test_modules_are_named_in_full(tasks: list[Task]) -> None:
    assert [fault for task in tasks for fault in module_faults(task)] == []


def test_plays_have_names_and_roles_are_named_in_full(root: Path, texts: dict[Path, str]) -> None:
    for path, text in task_texts(root, texts).items():
        for play in plays_in(text):
            assert str(play.get("name", ""))[:1].isupper(), path
            for role in play.get("roles") or []:
                assert re.fullmatch(r"\w+\.\w+\.\w+", role if isinstance(role, str) else role["role"]), path


def test_commands_tell_the_truth_about_changes(tasks: list[Task]) -> None:
    assert [fault for task in tasks for fault in change_faults(task)] == []


def test_no_injected_fact_is_read(root: Path, texts: dict[Path, str]) -> None:
    found = {}
    for path, text in texts.items():
        name = path.relative_to(root).as_posix()
        if READS_VARIABLES.fullmatch(name):
            found[name] = facts_in(iter([text]))
        elif re.fullmatch(r"plugins/.*\.py", name):
            found[name] = facts_in(text for text in python_strings(text) if re.fullmatch(r"\w+", text))
    assert {name: facts for name, facts in found.items() if facts} == {}
    assert len(found) > 50


def test_roles_keep_to_themselves(tasks: list[Task]) -> None:
    of_roles = [(task, task.path.split("/")[1]) for task in tasks if task.path.startswith("roles/")]
    assert of_roles
    assert [fault for task, role in of_roles for fault in borders_crossed(task, role)] == []


def test_templates_of_roles_name_no_inventory_group(root: Path, texts: dict[Path, str]) -> None:
    groups = set(_groups(load(root / "inventories/lab/hosts.yml")["all"]["children"]))
    templates = {path: text for path, text in texts.items() if path.relative_to(root).match("roles/*/templates/*.j2")}
    assert templates
    assert groups
    for path, text in templates.items():
        named = re.findall(r"\bgroups\s*(?:\.\s*|\[\s*['\"])(\w+)", text)
        assert set(named) & groups == set(), path
        assert "group_names" not in text, path


def planted(text: str) -> Task:
    """The first task of a file of tasks."""
    return tasks_in("roles/mine/tasks/main.yml", text)[0]


@pytest.mark.parametrize(
    ("task", "faults"),
    [
        ("- name: Write the unit\n  ansible.builtin.copy: {}\n", 0),
        ("- name: write the unit\n  ansible.builtin.copy: {}\n", 1),
        ("- name: Unit of the agent\n  ansible.builtin.copy: {}\n", 1),
        ("- ansible.builtin.copy: {}\n", 1),
        ("- block:\n    - name: Write the unit\n      ansible.builtin.copy: {}\n", 1),
    ],
)
def test_a_name_without_a_verb_is_caught(task: str, faults: int) -> None:
    assert len(list(name_faults(planted(task)))) == faults


@pytest.mark.parametrize(
    ("task", "faults"),
    [
        ("- name: Write\n  ansible.builtin.copy: {}\n", 0),
        ("- name: Write\n  block: []\n", 0),
        ("- name: Write\n  copy: {}\n", 1),
        ("- name: Write\n  action: copy\n", 1),
        ("- name: Write\n  ansible.builtin.copy: {}\n  becme: true\n", 1),
    ],
)
def test_a_short_module_name_is_caught(task: str, faults: int) -> None:
    assert len(list(module_faults(planted(task)))) == faults


COMMAND = "- name: Run it\n  ansible.builtin.command: {argv: [it]}\n"


@pytest.mark.parametrize(
    ("task", "faults"),
    [
        (COMMAND, 1),
        (COMMAND.replace("}", ", creates: /it}"), 0),
        (COMMAND + "  args: {creates: /it}\n", 0),
        (COMMAND + "  changed_when: true\n", 1),
        (COMMAND + "  # Every call makes another one.\n  changed_when: true\n", 0),
        (COMMAND + "  changed_when: false\n", 1),
        (COMMAND + "  changed_when: 1 == 1\n", 1),
        (COMMAND + '  changed_when: "true"\n', 1),
        (COMMAND + "  # A comment on something else.\n  register: it\n  changed_when: false\n", 1),
        (COMMAND + "  register: it\n  changed_when: it.rc == 0\n", 0),
        (COMMAND + "  register: it\n  changed_when: [it.rc == 0, \"'made' in it.stdout\"]\n", 0),
        (COMMAND + "  register: it\n  changed_when: other.rc == 0\n", 1),
        (COMMAND.replace("command", "shell"), 1),
        (COMMAND.replace("ansible.builtin.command", "raw"), 1),
        (COMMAND.replace("command", "copy"), 0),
    ],
)
def test_an_untrue_changed_when_is_caught(task: str, faults: int) -> None:
    assert len(list(change_faults(planted(task)))) == faults


def test_a_command_in_a_block_of_a_play_is_found() -> None:
    text = """
- name: Play
  hosts: all
  tasks:
    - name: Try it
      block:
        - name: Run it
          ansible.builtin.command: it
      rescue:
        - name: Run the other
          ansible.builtin.shell: other
"""
    found = tasks_in("playbooks/play.yml", text)
    assert [(task.name, task.line) for task in found] == [("Try it", 5), ("Run it", 7), ("Run the other", 10)]
    assert len([fault for task in found for fault in change_faults(task)]) == 2


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("{{ ansible_distribution }}", {"ansible_distribution"}),
        ("{{ vars['ansible_os_family'] }}", {"ansible_os_family"}),
        ("{{ hostvars[inventory_hostname]['ansible_default_ipv4'].address }}", {"ansible_default_ipv4"}),
        ("{{ hostvars['a'].ansible_memtotal_mb }}", {"ansible_memtotal_mb"}),
        ("{{ ansible_facts.distribution }} {{ ansible_facts['pkg_mgr'] }}", set()),
        ("{{ hostvars['a'].ansible_host }} {{ ansible_check_mode }} {{ ansible_ssh_common_args }}", set()),
        ("{{ my_ansible_distribution }}", set()),
    ],
)
def test_an_injected_fact_is_caught(text: str, facts: set[str]) -> None:
    assert facts_in(iter([text])) == facts


def test_an_injected_fact_in_a_plugin_is_caught() -> None:
    program = '"""Reads ansible_architecture."""\n# ansible_kernel\nfact = task_vars["ansible_distribution"]\n'
    assert facts_in(python_strings(program)) == {"ansible_distribution"}


@pytest.mark.parametrize(
    ("task", "faults"),
    [
        ("- name: Tell\n  ansible.builtin.debug: {msg: \"{{ groups['spark'] }}\"}\n", 1),
        ('- name: Tell\n  ansible.builtin.debug: {msg: "{{ groups.spark }}"}\n', 1),
        ("- name: Tell\n  ansible.builtin.debug: {msg: x}\n  when: \"'spark' in group_names\"\n", 1),
        ('- name: Tell\n  ansible.builtin.debug: {msg: "{{ groups[mine_group] }}"}\n', 0),
        ("- name: Run\n  ansible.builtin.include_tasks: ../../other/tasks/main.yml\n", 1),
        ("- name: Write\n  ansible.builtin.template: {src: ../../other/templates/x.j2}\n", 1),
        ("- name: Run\n  ansible.builtin.include_tasks: part.yml\n", 0),
        ("- name: Run\n  ansible.builtin.import_role: {name: baremetal.gpu.other, tasks_from: init.yml}\n", 1),
        ("- name: Run\n  ansible.builtin.import_role: {name: baremetal.gpu.mine, tasks_from: init.yml}\n", 0),
        ("- name: Run\n  ansible.builtin.import_role: {name: baremetal.gpu.other}\n", 0),
    ],
)
def test_a_role_that_knows_too_much_is_caught(task: str, faults: int) -> None:
    assert len(list(borders_crossed(planted(task), "mine"))) == faults


def _groups(children: dict[str, Any]) -> Iterator[str]:
    for name, group in children.items():
        yield name
        yield from _groups((group or {}).get("children") or {})


def test_plays_are_told_from_tasks() -> None:
    text = "- name: Play\n  hosts: all\n- name: Other\n  ansible.builtin.import_playbook: other.yml\n"
    assert len(plays_in(text)) == 2
    assert tasks_in("playbooks/play.yml", text) == []
    assert plays_in("- name: Run\n  ansible.builtin.debug: {}\n") == []
    assert parse("[]") == []
