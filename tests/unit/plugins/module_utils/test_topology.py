"""How GPUs are connected."""

from __future__ import annotations

from hypothesis import given, settings

from ansible_collections.baremetal.gpu.plugins.module_utils.topology import is_matrix, parse
from ansible_collections.baremetal.gpu.tests.unit.plugins.mangling import mangled

MATRIX = """\t\x1b[4mGPU0\tGPU1\tGPU2\tNIC0\tCPU Affinity\tNUMA Affinity\x1b[0m
GPU0\t X \tNV18\tNV18\tPIX\t0-55\t0
GPU1\tNV18\t X \tSYS\tSYS\t0-55\t0
GPU2\tNV18\tSYS\t X \tSYS\t56-111\t1
NIC0\tPIX\tSYS\tSYS\t X

Legend:

  NV#  = Connection traversing a bonded set of # NVLinks
"""
ONE = "        GPU0    CPU Affinity    NUMA Affinity\nGPU0     X      0-19    0\n"


def test_each_pair_of_gpus_has_its_connection() -> None:
    assert is_matrix(MATRIX)
    assert parse(MATRIX) == {"GPU0-GPU1": "NV18", "GPU0-GPU2": "NV18", "GPU1-GPU2": "SYS"}


def test_a_single_gpu_has_no_pair() -> None:
    assert is_matrix(ONE)
    assert parse(ONE) == {}


def test_another_text_is_no_matrix() -> None:
    assert not is_matrix("GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n")
    assert parse("") == {}


@given(mangled(MATRIX))
@settings(max_examples=50)
def test_a_mangled_matrix_raises_nothing(text: str) -> None:
    assert set(parse(text)) <= set(parse(MATRIX))
