"""What the outcomes of runs mean: findings about a run, the measurement of a pair, and findings about an isolation."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.log import Block, block_from_dict
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.running import BY_ITSELF, DEADLINE
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Match
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import isolation
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.data import Signature
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.judgement import (
    BANDWIDTH,
    COMPLETE,
    CORRECT,
    RANKS,
    REQUIREMENTS,
    TRANSPORT,
    Expectation,
    Run,
    judge,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_pictures import PAIRS, pairs_of

ENDED = "BG-NCCL-020"
HEALTHY = "BG-NCCL-030"
CULPRITS: Mapping[str, tuple[str, str, str]] = {
    isolation.NODE: (
        "BG-NCCL-031",
        FAIL,
        "take the node out of service; compare its clocks, PCIe and links with a healthy one",
    ),
    isolation.RAIL: (
        "BG-NCCL-032",
        FAIL,
        "take the node out of service; look at the GPU, the adapter and the cable of these rails",
    ),
    isolation.LINK: (
        "BG-NCCL-033",
        FAIL,
        "look at cables and switch ports on the path between the two; both nodes are healthy",
    ),
    isolation.CLASS_LINK: ("BG-NCCL-034", FAIL, "look at the links between the leaf switches; the nodes are healthy"),
    isolation.CLUSTER_WIDE: ("BG-NCCL-035", FAIL, "look at what all nodes share: configuration, software, switches"),
    isolation.TRANSIENT: ("BG-NCCL-036", WARN, "nothing at once; when it comes again, look at the load of the network"),
    isolation.UNDECIDED: (
        "BG-NCCL-037",
        UNKNOWN,
        "measure again; for two nodes test each half of the link and each host alone",
    ),
}
"""Code, status and remedy by kind of culprit."""

_WORST = (FAIL, UNKNOWN, WARN, OK)
_SPOILING = (COMPLETE, CORRECT, RANKS, TRANSPORT)


@dataclass(frozen=True)
class Judge:
    """What is needed to judge a run of any kind. ``simulated`` marks every finding."""

    signatures: Mapping[str, Signature]
    simulated: bool = False

    def findings(self, outcome: Mapping[str, Any], expected: Expectation, subject: str) -> list[Finding]:
        """How the run ended, and what its output shows."""
        ended = str(outcome["ended"])
        said = str(outcome.get("message") or "")
        evidence = {"exit_code": outcome.get("exit_code"), "message": said, "pods": outcome.get("pods") or {}}
        if ended == BY_ITSELF:
            status, reason, remedy = OK, "the run ended by itself", ""
        elif ended == DEADLINE:
            status, reason = FAIL, "the run did not end in time and was ended"
            remedy = "a collective hangs: look at the last lines, query ncclras on the hosts, and isolate by pairs"
        else:
            status, reason = UNKNOWN, f"the run could not be started{': ' + said if said else ''}"
            remedy = "correct what the launcher, the scheduler or the kubelet says"
        found = [Finding(ENDED, subject, status, reason, remedy, evidence, REQUIREMENTS)]
        if ended != BY_ITSELF and not outcome["reading"]["lines"]:
            return self._marked(found)
        return self._marked([*found, *judge(run_of(outcome), expected, self.signatures, subject)])

    def measurement(
        self, pair: isolation.Pair, outcome: Mapping[str, Any], expected: Expectation
    ) -> isolation.Measurement:
        """The bus bandwidth of a pair; without one where the run failed, was wrong or was not about the pair."""
        found = self.findings(outcome, expected, "pair")
        for finding in found:
            if finding.status in (FAIL, UNKNOWN) and finding.code in (ENDED, *_SPOILING):
                return isolation.Measurement(pair, None, finding.reason)
        values = [finding.evidence.get("busbw_gb_per_s") for finding in found if finding.code == BANDWIDTH]
        value = values[0] if len(values) == 1 else None
        return isolation.Measurement(pair, value, None if value is not None else "no bandwidth was measured")

    def conclusion(self, conclusion: isolation.Conclusion, subject: str) -> list[Finding]:
        """One finding about all pairs with every measurement, and one per culprit with those about its nodes."""
        culprits = [self._culprit(culprit, conclusion, subject) for culprit in conclusion.culprits]
        bad = sum(entry.bad for entry in conclusion.evidence)
        told = f"{len(conclusion.evidence)} measurements in {conclusion.rounds} rounds"
        # Without a culprit nothing was bad.
        worst = min((finding.status for finding in culprits), key=_WORST.index, default=OK)
        reason = f"all pairs reach their minimum ({told})" if not bad else f"{bad} measurements are bad ({told})"
        remedy = "look at the findings about culprits" if culprits else ""
        evidence = {PAIRS: pairs_of(conclusion.evidence), "cleared": list(conclusion.cleared)}
        summary = Finding(HEALTHY, subject, worst, reason, remedy, evidence, REQUIREMENTS)
        return self._marked([summary, *culprits])

    def _culprit(self, culprit: isolation.Culprit, conclusion: isolation.Conclusion, subject: str) -> Finding:
        code, status, remedy = CULPRITS[culprit.kind]
        about = [
            entry for entry in conclusion.evidence if not set(culprit.nodes).isdisjoint(entry.measurement.pair.nodes)
        ]
        rails = f" rails {', '.join(map(str, culprit.rails))}" if culprit.rails else ""
        named = subject if culprit.kind == isolation.CLUSTER_WIDE else f"{'-'.join(culprit.nodes)}{rails}"
        evidence = {
            "kind": culprit.kind,
            "nodes": list(culprit.nodes),
            "rails": list(culprit.rails),
            "measurements": pairs_of(about),
        }
        return Finding(code, named, status, f"{culprit.kind}: {culprit.reason}", remedy, evidence, REQUIREMENTS)

    def skipped(self, subject: str, reason: str) -> list[Finding]:
        return self._marked([Finding(ENDED, subject, SKIPPED, reason, "", {}, REQUIREMENTS)])

    def _marked(self, findings: Sequence[Finding]) -> list[Finding]:
        return [replace(finding, simulated=True) for finding in findings] if self.simulated else list(findings)


def subjects_of(paths: Sequence[str], subject: str) -> list[str]:
    """What findings about each file are about: a verdict keeps one per code and subject, so several files must differ."""
    if len(paths) < 2:
        return [subject] * len(paths)
    names = [posixpath.basename(path) for path in paths]
    return [f"{subject} {name if names.count(name) == 1 else path}" for name, path in zip(names, paths, strict=True)]


def run_of(outcome: Mapping[str, Any]) -> Run:
    """The output of a run as the judgement takes it; ranks that ran in pods are on the nodes of these."""
    reading, pods = outcome["reading"], outcome.get("pods") or {}
    return Run(
        blocks=tuple(_on_nodes(block_from_dict(block), pods) for block in reading["blocks"]),
        matches=tuple(Match(**match) for match in reading["matches"]),
        transports=reading["transports"],
        where=str(outcome["name"]),
    )


def _on_nodes(block: Block, pods: Mapping[str, Any]) -> Block:
    # A pod's hostname is its name.
    block.ranks = [replace(rank, host=str(pods.get(rank.host) or rank.host)) for rank in block.ranks]
    return block
