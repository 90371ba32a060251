"""Templates of many hosts are evaluated once where their values cannot differ, and only there."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError

from ansible_collections.baremetal.gpu.plugins.plugin_utils.shared_values import SharedValues, names_in


class Counting:
    """Stands for a Templar: says what it was asked, and answers with its number."""

    def __init__(self, fail: bool = False) -> None:
        self.asked: list[Any] = []
        self.fail = fail

    def template(self, raw: Any) -> Any:
        self.asked.append(raw)
        if self.fail:
            raise AnsibleError("undefined")
        return len(self.asked)


@pytest.fixture
def values() -> SharedValues:
    return SharedValues()


def trusted(text: str) -> str:
    """A text that Ansible takes for a template."""
    try:
        from ansible.template import trust_as_template
    except ImportError:
        return text
    template: str = trust_as_template(text)
    return template


def test_text_without_a_template_is_never_evaluated(values: SharedValues) -> None:
    templar = Counting()
    assert values.evaluate(["a", {"b": 1}], {}, lambda: templar) == ["a", {"b": 1}]
    assert templar.asked == []


def test_equal_templates_over_equal_variables_are_evaluated_once(values: SharedValues) -> None:
    templar, raw = Counting(), trusted("{{ site }}/k3s")
    for _host in range(3):
        assert values.evaluate(raw, {"site": "here", "other": object()}, lambda: templar) == 1
    assert len(templar.asked) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"site": "here"}, {"site": "there"}),
        ({"site": "here"}, {}),
        ({"site": 1}, {"site": True}),
        ({"site": trusted("{{ a }}"), "a": 1}, {"site": trusted("{{ a }}"), "a": 2}),
        ({"site": [trusted("{{ a }}")], "a": 1}, {"site": [trusted("{{ a }}")], "a": 2}),
    ],
)
def test_template_is_evaluated_again_where_what_it_refers_to_differs(
    values: SharedValues, first: dict[str, Any], second: dict[str, Any]
) -> None:
    templar, raw = Counting(), trusted("{{ site }}")
    values.evaluate(raw, first, lambda: templar)
    values.evaluate(raw, second, lambda: templar)
    assert len(templar.asked) == 2


@pytest.mark.parametrize(
    "text", ["{{ vars['site'] }}", "{{ lookup('vars', 'site') }}", "{{ lookup(which) }}", "{{ broken"]
)
def test_template_that_may_look_at_anything_is_always_evaluated(values: SharedValues, text: str) -> None:
    assert names_in(text) is None
    templar = Counting()
    for _host in range(2):
        values.evaluate(trusted(text), {}, lambda: templar)
    assert len(templar.asked) == 2


def test_failure_is_remembered_as_one(values: SharedValues) -> None:
    templar = Counting(fail=True)
    for _host in range(2):
        with pytest.raises(AnsibleError):
            values.evaluate(trusted("{{ site }}"), {}, lambda: templar)
    assert len(templar.asked) == 1


def test_encrypted_value_is_evaluated_although_it_holds_no_template(values: SharedValues) -> None:
    class Encrypted:
        """Neither text nor container, as Ansible's own."""

    templar = Counting()
    assert values.evaluate(Encrypted(), {}, lambda: templar) == 1


def test_names_include_those_of_nested_expressions() -> None:
    names = names_in("{{ (hosts | map('extract', hostvars, 'x') | list)[0] ~ lookup('baremetal.gpu.version', kind) }}")
    assert names is not None
    assert {"hosts", "hostvars", "kind"} <= names
