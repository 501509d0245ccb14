"""What a reranker's judgement of a passage means: the probability that it answers the question.

A logistic curve over named scores of a hit; its intercept is placed so that one half is the evidence
threshold. Owns the data file and reading it; `retrieval.calibrate` fits it. Rerankers whose scores are
probabilities already (the cross-encoders) need no entry and keep the same threshold until they are
calibrated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.tokens import DATA
from retrieval.types import ANXIN_E5

FILE = DATA / "calibration.json"
EVIDENCE_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Calibration:
    """probability = 1 / (1 + exp(-(sum of coefficient * score + intercept)))."""

    coefficients: Mapping[str, float] = field(default_factory=dict)
    intercept: float = 0.0
    threshold: float = EVIDENCE_THRESHOLD

    def probabilities(self, names: Sequence[str], rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) from (n, names). Raises ValueError for a curve over scores that are not among `names`."""
        if not set(self.coefficients) <= set(names):
            raise ValueError("calibrated for other scores than these; run retrieval.calibrate again")
        vector = np.array([self.coefficients.get(name, 0.0) for name in names])
        exponents = np.clip(rows @ vector + self.intercept, -700.0, 700.0)
        return np.asarray(1.0 / (1.0 + np.exp(-exponents)))


def shipped_calibration(reranker: str, embedder: str = ANXIN_E5, path: Path = FILE) -> Calibration:
    """The entry of a reranker over an embedder's vectors; without one, the plain threshold."""
    entry = json.loads(path.read_text(encoding="utf-8")).get(f"{reranker}/{embedder}")
    if entry is None:
        return Calibration()
    return Calibration(entry["coefficients"], float(entry["intercept"]))
