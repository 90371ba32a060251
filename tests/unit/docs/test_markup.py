"""Ansible's markup as Markdown."""

from __future__ import annotations

import pytest

from tools.docs import markup, playbooks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Set C(a) to V(1), see O(b) and M(c.d.e).", "Set `a` to `1`, see `b` and `c.d.e`."),
        ("I(both) and B(all)", "*both* and **all**"),
        (
            "L(the page, https://example.org), U(https://example.org)",
            "[the page](https://example.org), <https://example.org>",
        ),
        ("two\n  lines | and a bar", "two lines \\| and a bar"),
        (["A list.", "One paragraph."], "A list. One paragraph."),
        ("GPU(s) and (C) are no markup", "GPU(s) and (C) are no markup"),
    ],
)
def test_markup_becomes_markdown(text: object, expected: str) -> None:
    assert markup.plain(text) == expected


def test_options_inside_of_options_are_told() -> None:
    options = {
        "waivers": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "description": "Waivers.",
            "options": {"code": {"type": "str", "required": True, "description": "Its code.", "choices": ["a", "b"]}},
        }
    }
    assert markup.options_table(options)[2:] == [
        "| `waivers` | list of dict | `[]` | Waivers. |",
        "| `waivers[].code` | str | **required** | Its code. One of `a`, `b`. |",
    ]


def test_returned_values_inside_of_others_are_told() -> None:
    values = {
        "readings": {
            "type": "dict",
            "returned": "success",
            "description": "Readings.",
            "contains": {"driver": {"type": "str", "description": "Its version."}},
        }
    }
    assert markup.returns_table(values)[3] == "| `readings.driver` | str | success | Its version. |"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\n# Read-only:\n# the verdict.\n- name: x\n", "Read-only: the verdict."),
        ("---\n- name: x\n  # inside\n", ""),
    ],
)
def test_a_playbook_s_header_is_the_comment_before_its_first_play(text: str, expected: str) -> None:
    assert playbooks.header(text) == expected


def test_every_playbook_says_what_it_is_for() -> None:
    for name in playbooks.names():
        assert playbooks.header((playbooks.FOLDER / f"{name}.yml").read_text(encoding="utf-8")), name


def test_steps_of_a_play_are_its_roles_then_its_tasks() -> None:
    play = {
        "roles": ["baremetal.gpu.containerd", {"role": "baremetal.gpu.k3s_agent"}],
        "tasks": [
            {
                "name": "Check",
                "ansible.builtin.import_role": {"name": "baremetal.gpu.pod_network", "tasks_from": "preflight.yml"},
            },
            {"name": "Gather", "ansible.builtin.setup": {}},
        ],
    }
    assert playbooks.steps(play) == ["containerd", "k3s_agent", "pod_network (preflight)", "*Gather*"]
