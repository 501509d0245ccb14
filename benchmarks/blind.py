"""Figures on the sets that were written blind (`tests/safety/data/*_measuredN.jsonl`), counts only.

Covers what each set has of messages, drafts, claim pairs and inputs. The sets are for measuring: the texts of misses are
not printed, so that nobody tunes to them.

    python -m benchmarks.blind [measured8 measured9 …]

Prints one JSON object a set.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.safety.gate import DATA, GRAPH
from app.safety.gate_review import measure_attacks, measure_claims, measure_drafts
from app.safety.gate_triage import measure_triage
from app.safety.review import SafetyReviewer
from app.safety.triage import TriageEngine
from retrieval.graph import MedicalGraph

SETS = ("measured8", "measured9")


def figures(name: str, reviewer: SafetyReviewer, triage: TriageEngine) -> dict[str, Any]:
    """The counts and shares of one set, by kind."""
    measures: dict[str, Callable[[Path], dict[str, Any]]] = {
        "triage": lambda path: measure_triage(path),
        "drafts": lambda path: measure_drafts(path, reviewer, triage),
        "claims": lambda path: measure_claims(path, reviewer),
        "attacks": lambda path: measure_attacks(path, reviewer),
    }
    found: dict[str, Any] = {"set": name}
    for kind, measure in measures.items():
        path = DATA / f"{kind}_{name}.jsonl"
        if path.exists():
            found[kind] = {
                k: len(v) if isinstance(v, list) else v for k, v in measure(path).items() if k != "passed"
            }
    return found


def main(names: Sequence[str]) -> None:
    reviewer = SafetyReviewer.load(graph=MedicalGraph.load(GRAPH))
    triage = TriageEngine.load()
    for name in names or SETS:
        print(json.dumps(figures(name, reviewer, triage), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
