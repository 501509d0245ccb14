"""Fits the model of `claims_model.py`: `python -m app.safety.claims_train PAIRS.jsonl … --drafts DRAFTS.jsonl …`.

PAIRS have `claim`, `passage`, `supported`; from safe DRAFTS (`codes` empty) every cited sentence is a supported pair.
Owns reading them, the fit and the two thresholds, chosen by cross-validation; writes `codes/support.json`. Needs
scikit-learn (a development dependency). Measured sets are never read.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.safety.citations import bare_claim, cited_numbers
from app.safety.claims import ClaimChecker
from app.safety.claims_model import SUPPORT_FILE, describe
from app.safety.claims_support import agrees
from app.safety.claims_text import Reading, differences
from app.safety.gate import GRAPH
from app.safety.review import SafetyReviewer
from retrieval.graph import MedicalGraph

PENALTY_C = 0.3
DRAFT_WEIGHT = 0.5
# Share of the hand-written unsupported pairs (made to look supported) that may pass; numbers and names apart.
CITED_ALARMS = 0.42
UNCITED_ALARMS = 0.32
SEED = 3

_SENTENCE = re.compile(r"[^。!?！？\n]+[。!?！？]?")


@dataclass(frozen=True, slots=True)
class Pair:
    claim: Reading
    passage: Reading
    supported: bool
    assumed: frozenset[str] = frozenset()
    weight: float = 1.0


def read_pairs(path: Path, checker: ClaimChecker) -> Iterator[Pair]:
    """The labelled pairs of a file."""
    for row in _rows(path):
        yield Pair(checker.read(row["claim"]), checker.read(row["passage"]), row["supported"])


def read_drafts(path: Path, checker: ClaimChecker) -> Iterator[Pair]:
    """The cited sentences of a file's safe drafts, with what they cite."""
    for row in _rows(path):
        if row["codes"]:
            continue
        assumed = checker.read(row["question"]).keys
        for sentence in _SENTENCE.findall(row["draft"]):
            cited = cited_numbers(sentence)
            if cited and max(cited) <= len(row["evidence"]):
                passage = "。".join(row["evidence"][number - 1]["text"] for number in cited)
                claim = checker.read(bare_claim(sentence))
                yield Pair(claim, checker.read(passage), True, assumed, DRAFT_WEIGHT)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def train(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The contents of `support.json` for these pairs, with the cross-validated figures."""
    found = [
        describe(p.claim, p.passage, differences(p.claim, p.passage), len(p.claim.numbers), p.assumed)
        for p in pairs
    ]
    names = sorted(found[0])
    rows = np.array([[features[name] for name in names] for features in found])
    labels = np.array([pair.supported for pair in pairs])
    weights = np.array([pair.weight for pair in pairs])
    agreeing = np.array([agrees(p.claim, p.claim.numbers, p.passage, p.assumed) for p in pairs])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY_C, max_iter=1000))
    scores = cross_val_predict(
        model,
        rows,
        labels,
        cv=StratifiedKFold(5, shuffle=True, random_state=SEED),
        method="decision_function",
        params={"logisticregression__sample_weight": weights},
    )
    model.fit(rows, labels, logisticregression__sample_weight=weights)
    written = weights == 1.0
    hard = scores[written & agreeing & ~labels]
    share = len(hard) / (written & ~labels).sum()
    thresholds = {
        name: float(np.quantile(hard, 1 - min(1.0, alarms / share)))
        for name, alarms in (("cited", CITED_ALARMS), ("uncited", UNCITED_ALARMS))
    }
    accepted = (scores >= thresholds["cited"]) & agreeing
    scaler, fitted = model[0], model[1]
    return {
        "names": names,
        "mean": [round(float(v), 5) for v in scaler.mean_],
        "scale": [round(float(v), 5) for v in scaler.scale_],
        "weights": [round(float(v), 5) for v in fitted.coef_[0]],
        "bias": round(float(fitted.intercept_[0]), 5),
        **{name: round(value, 3) for name, value in thresholds.items()},
        "figures": {
            "pairs": len(pairs),
            "recall": round(float(accepted[written & labels].mean()), 3),
            "unsupported_accepted": round(float(accepted[written & ~labels].mean()), 3),
            "draft_recall": round(float(accepted[~written].mean()), 3) if (~written).any() else None,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, nargs="+")
    parser.add_argument("--drafts", type=Path, nargs="*", default=[])
    chosen = parser.parse_args()
    checker = SafetyReviewer.load(graph=MedicalGraph.load(GRAPH)).claims
    pairs = [pair for path in chosen.pairs for pair in read_pairs(path, checker)]
    pairs += [pair for path in chosen.drafts for pair in read_drafts(path, checker)]
    stored = train(pairs)
    SUPPORT_FILE.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(stored["figures"]))


if __name__ == "__main__":
    main()
