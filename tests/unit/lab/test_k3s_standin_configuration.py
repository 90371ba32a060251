"""What k3s accepts and refuses, and in which order its sources count."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.k3s_standin import configuration
from lab.k3s_standin.configuration import Configuration, UsageError
from lab.k3s_standin.console import FatalError


def load(
    folder: Path,
    command: str = "agent",
    arguments: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    **files: str,
) -> Configuration:
    """Load with these files: `main` is config.yaml, every other name a file of config.yaml.d."""
    main = folder / "config.yaml"
    for name, text in files.items():
        path = main if name == "main" else folder / "config.yaml.d" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return configuration.load(command, arguments, environment or {}, main)


def test_a_later_file_replaces_a_value_and_a_plus_adds_to_it(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        main="node-name: one\nnode-label: [a=1]\nkubelet-arg: [v=1]",
        a10="node-label: [b=2]\nkubelet-arg+: [max-pods=60]",
        a20="node-name: two\nkubelet-arg+: cpu-manager-policy=static",
    )
    assert settings.text("node-name") == "two"
    assert settings.items("node-label") == ["b=2"]
    assert settings.items("kubelet-arg") == ["v=1", "max-pods=60", "cpu-manager-policy=static"]


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(), min_size=1, max_size=3)), max_size=6))
def test_merging_keeps_everything_since_the_last_replacement(files: list[tuple[bool, list[int]]]) -> None:
    merged = configuration.merge([{"node-label+" if append else "node-label": values} for append, values in files])
    expected: list[int] = []
    for append, values in files:
        expected = expected + values if append else values
    assert merged.get("node-label", []) == expected


@given(st.dictionaries(st.sampled_from(["server", "node-name", "token"]), st.text("abc", min_size=1), min_size=1))
def test_one_file_alone_means_what_it_says(document: dict[str, str]) -> None:
    assert configuration.merge([document]) == document


@pytest.mark.parametrize(
    ("file", "environment", "arguments", "expected"),
    [
        ("token: file", {"K3S_TOKEN": "env"}, ("--token", "cli"), "cli"),
        ("token: file", {"K3S_TOKEN": "env"}, ("-t=cli",), "cli"),
        ("token: file", {"K3S_TOKEN": "env"}, (), "file"),
        ("t: file", {}, (), "file"),
        ("{}", {"K3S_TOKEN": "env"}, (), "env"),
        ("", {}, (), ""),
    ],
)
def test_command_line_counts_before_file_before_environment(
    tmp_path: Path, file: str, environment: dict[str, str], arguments: tuple[str, ...], expected: str
) -> None:
    assert load(tmp_path, main=file, environment=environment, arguments=arguments).text("token") == expected


def test_a_list_on_the_command_line_is_added_to_the_files(tmp_path: Path) -> None:
    assert load(tmp_path, main="node-label: [a=1]", arguments=("--node-label=b=2",)).items("node-label") == [
        "a=1",
        "b=2",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--no-such-flag",), "flag provided but not defined: -no-such-flag"),
        (("--cluster-cidr=10.0.0.0/8",), "flag provided but not defined: -cluster-cidr"),
        (("--token",), "flag needs an argument: -token"),
        (("--debug=perhaps",), 'invalid boolean value "perhaps" for -debug: parse error'),
        (("server",), "unexpected argument server"),
    ],
)
def test_an_agent_refuses_what_is_not_its_flag(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(tmp_path, arguments=arguments)


def test_an_unknown_key_stops_an_agent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="flag provided but not defined: -nodelabel"):
        load(tmp_path, main="nodelabel: [x=y]")


def test_an_unknown_key_is_skipped_by_a_server_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(tmp_path, "server", main="nodelabel: [x=y]\nnode-name: s1")
    assert settings.values == {"node-name": "s1"}
    assert "Unknown flag --nodelabel found in config.yaml, skipping" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[a, b]", "key: [", "just text"])
def test_a_file_that_is_not_a_mapping_is_fatal(tmp_path: Path, text: str) -> None:
    with pytest.raises(FatalError, match=r"config\.yaml"):
        load(tmp_path, main=text)


def test_a_named_file_must_exist_and_the_default_one_need_not(tmp_path: Path) -> None:
    assert load(tmp_path).values == {}
    with pytest.raises(FatalError, match="no such file or directory"):
        load(tmp_path, arguments=("--config", str(tmp_path / "absent.yaml")))


def test_only_yaml_files_of_the_folder_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "config.yaml.d"
    folder.mkdir()
    for name in ("20.yaml", "10.yml", "30.yaml.bak", "README"):
        (folder / name).write_text(yaml.safe_dump({"node-name": name}))
    assert load(tmp_path).text("node-name") == "20.yaml"


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("false", False), ('"1"', True), ("f", False)])
def test_truth_values_are_read_as_go_reads_them(tmp_path: Path, text: str, expected: bool) -> None:
    assert load(tmp_path, main=f"selinux: {text}").enabled("selinux") is expected


def test_the_token_file_wins_over_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    settings = load(tmp_path, main=f"token: direct\ntoken-file: {tmp_path}/token")
    assert configuration.secret(settings, "token") == "from-file"


def test_flags_without_effect_are_named(tmp_path: Path) -> None:
    settings = load(tmp_path, "server", main="embedded-registry: true\nsecrets-encryption: false\nnode-name: s1")
    assert settings.without_effect == ["embedded-registry"]


def test_the_first_of_several_addresses_is_the_nodes(tmp_path: Path) -> None:
    assert load(tmp_path, main='node-ip: "10.0.0.1,fd00::1"').first("node-ip") == "10.0.0.1"
