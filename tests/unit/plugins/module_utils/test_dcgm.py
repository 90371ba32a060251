"""What DCGM says: its diagnostic in two versions, and its exporter's metrics."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.dcgm_diag import DcgmFormatError, parse
from ansible_collections.baremetal.gpu.plugins.module_utils.dcgm_metrics import DcgmMetricsError
from ansible_collections.baremetal.gpu.plugins.module_utils.dcgm_metrics import parse as parse_metrics
from ansible_collections.baremetal.gpu.tests.unit.plugins.mangling import mangled

WARNING = {"warning": "Reset the GPU.", "error_id": 85, "error_category": 2, "error_severity": 6}
VERSION_4 = json.dumps(
    {
        "DCGM Diagnostic": {
            "test_categories": [
                {
                    "category": "Deployment",
                    "tests": [
                        {
                            "name": "software",
                            "results": [
                                {"entity_group": "GPU", "entity_id": 0, "status": "Pass"},
                                {"entity_group": "GPU", "entity_id": 3, "status": "Fail", "warnings": [WARNING]},
                            ],
                            "test_summary": {"status": "Fail", "info": ["SRAM Threshold checking was skipped."]},
                        },
                        {"name": "memory", "test_summary": {"status": "Skip"}},
                    ],
                }
            ]
        },
        "entity_groups": [{"entities": [{"device_id": "2330", "entity_id": 0}]}],
        "metadata": {"version": "4.4.1", "Driver Version Detected": "550.90.07"},
    },
    indent=1,
)
VERSION_3 = "WARNING: {odd}\n" + json.dumps(
    {
        "DCGM GPU Diagnostic": {
            "test_categories": [
                {
                    "category": "Deployment",
                    "tests": [
                        None,
                        {"name": "Denylist", "results": [{"gpu_ids": "0,1,2", "status": "PASS"}]},
                        {"name": "Inforom", "results": [{"gpu_id": 2, "status": "FAIL", "warnings": "corrupt"}]},
                    ],
                }
            ],
            "version": "3.1.0",
        }
    }
)
METRICS = (
    "# TYPE DCGM_FI_DEV_GPU_TEMP gauge\n"
    'DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-1",pci_bus_id="00000000:53:00.0",modelName="NVIDIA H100 80GB HBM3",'
    'DCGM_FI_DRIVER_VERSION="550.90.07"} 41\n'
    'DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-1",pci_bus_id="00000000:53:00.0"} 79\n'
    'DCGM_FI_DEV_XID_ERRORS{gpu="1",UUID="GPU-2",pci_bus_id="00000000:64:00.0"} 0\n'
    'DCGM_FI_DEV_ROW_REMAP_FAILURE{gpu="0",UUID="GPU-1"} 1\n'
    'DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-2"} nan\n'
)


def test_version_4_names_entities_and_numbers_its_errors() -> None:
    found = parse(VERSION_4)
    assert (found.version, found.driver_version, found.device_ids) == ("4.4.1", "550.90.07", ("2330",))
    assert [(item.test, item.gpus, item.status) for item in found.results] == [
        ("software", ("0",), "pass"),
        ("software", ("3",), "fail"),
        ("memory", (), "skip"),
    ]
    complaint = found.results[1].warnings[0]
    assert (complaint.error_id, complaint.category, complaint.severity) == (85, 2, 6)


def test_version_3_may_hold_nulls_and_text_before_it() -> None:
    found = parse(VERSION_3)
    assert (found.version, len(found.results)) == ("3.1.0", 2)
    assert [(item.gpus, item.status) for item in found.results] == [(("0", "1", "2"), "pass"), (("2",), "fail")]
    assert found.results[1].warnings[0].text == "corrupt"


def test_a_run_that_did_not_test_says_why() -> None:
    assert parse('{"DCGM Diagnostic": {"runtime_error": "unsupported GPU 0"}}').runtime_error == "unsupported GPU 0"


@pytest.mark.parametrize("text", ["", "{}", "[]", VERSION_4[:200], '{"DCGM Diagnostic": []}', "{" * 5000])
def test_what_is_no_diagnostic_is_refused(text: str) -> None:
    with pytest.raises(DcgmFormatError):
        parse(text)


def test_metrics_give_values_and_the_last_xid() -> None:
    document, xids = parse_metrics(METRICS)
    first, second = document.gpus
    assert (document.driver_version, first.product_name, first.bus_id) == (
        "550.90.07",
        "NVIDIA H100 80GB HBM3",
        "0000:53:00.0",
    )
    assert (first.temperature["gpu_c"], first.remapped_rows["failure"]) == (41, True)
    assert second.power["draw_w"] is None
    assert [(item.number, item.device) for item in xids] == [(79, "0000:53:00.0")]


def test_metrics_of_something_else_are_refused() -> None:
    with pytest.raises(DcgmMetricsError):
        parse_metrics("up 1\n")


@given(st.data())
@settings(max_examples=60)
def test_a_mangled_document_raises_only_the_parser_s_own_error(data: st.DataObject) -> None:
    with contextlib.suppress(DcgmFormatError):
        parse(data.draw(mangled(data.draw(st.sampled_from([VERSION_3, VERSION_4])))))
    with contextlib.suppress(DcgmMetricsError):
        parse_metrics(data.draw(mangled(METRICS)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["test_categories", "tests", "results", "warnings", "status", "name", "entity_id", "metadata"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
@settings(max_examples=80)
def test_a_document_of_any_shape_raises_only_the_parser_s_own_error(root: object, entities: object) -> None:
    with contextlib.suppress(DcgmFormatError):
        parse(json.dumps({"DCGM Diagnostic": root, "entity_groups": entities, "metadata": entities}))
