"""Learns the embedded reranker's weights from groups of candidates with one labelled passage each.

    python -m retrieval.rerank.train FEATURES.npz … [--leave-out NAME …] [--embedder NAME] \
        [--material plain|documents] [--blend 0.5]

FEATURES.npz come from `benchmarks/retrieval.py` (plain texts) and `benchmarks/asked.py` (documents) with
`--features-out`. A listwise logistic regression (softmax over the candidates of a question, L2 penalty) over
standardised features; cross-validated figures are printed before the final fit on all groups. `--blend` mixes in the
embedder's plain weights: what was learned on few documents then carries over to others. Groups of a source that is left
out are never trained on, only reported on: what the weights do to text of another kind. Features that do not vary in
the data (fields its passages lack) get the coefficient of PRIORS.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.rerank.embedded import DEFAULT_EMBEDDER, WEIGHTS_FILE, entry_name
from retrieval.rerank.features import FEATURES
from retrieval.tokens import DATA

Array = NDArray[np.float64]
PRIORS = {"heading": 6.0, "entities": 2.0}
"""Per unit of the feature; chosen on the development half of the project's own acceptance questions."""
_PENALTY = 1e-3
_STEPS = 150
_RATE = 0.1
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Group:
    """One question's candidates: `features` (n, FEATURES); `answer` is the labelled row, None when not
    found.
    """

    features: Array
    answer: int | None
    source: str


def read_groups(path: Path) -> list[Group]:
    """Raises ValueError when the file was made with other features than this code computes."""
    with np.load(path, allow_pickle=False) as data:
        if tuple(data["names"]) != FEATURES:
            raise ValueError(f"{path}: made with other features; run the benchmark again")
        bounds = np.cumsum(data["sizes"])[:-1]
        parts = np.split(data["features"].astype(np.float64), bounds)
        return [
            Group(part, None if answer < 0 else int(answer), str(source))
            for part, answer, source in zip(parts, data["answers"], data["sources"], strict=True)
        ]


def fit(groups: list[Group]) -> Array:
    """Coefficients (FEATURES,) for features as they come."""
    usable = [group for group in groups if group.answer is not None]
    every = np.concatenate([group.features for group in usable])
    mean, spread = every.mean(axis=0), every.std(axis=0)
    varies = spread > 1e-9
    rows = (every[:, varies] - mean[varies]) / spread[varies]
    sizes = np.array([len(group.features) for group in usable])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    owner = np.repeat(np.arange(len(usable)), sizes)
    target = np.zeros(len(every))
    target[starts + np.array([group.answer for group in usable])] = 1.0
    learned = _descend(rows, target, starts, owner)
    coefficients = np.array([PRIORS.get(name, 0.0) for name in FEATURES])
    coefficients[varies] = learned / spread[varies]
    return coefficients


def _descend(rows: Array, target: Array, starts: NDArray[np.int64], owner: NDArray[np.int64]) -> Array:
    """Adam on the mean cross-entropy; the problem is convex, so neither start nor step matters to the
    result.
    """
    weights, first, second = (np.zeros(rows.shape[1]) for _ in range(3))
    for step in range(1, _STEPS + 1):
        scores = rows @ weights
        scores = np.exp(scores - np.maximum.reduceat(scores, starts)[owner])
        chance = scores / np.add.reduceat(scores, starts)[owner]
        gradient = rows.T @ (chance - target) / len(starts) + _PENALTY * weights
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weights -= _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-9)
    return weights


def rank_of_answer(group: Group, coefficients: Array) -> float:
    """1 for the top; infinity when the answer was not among the candidates."""
    if group.answer is None:
        return float("inf")
    scores = group.features @ coefficients
    return float((scores > scores[group.answer]).sum() + 1)


def figures(ranks: Array) -> dict[str, float]:
    """Recall at 1, 10 and 100, and nDCG at 10, of one relevant passage a question."""
    gain = np.where(ranks <= 10, 1.0 / np.log2(1.0 + ranks), 0.0)
    return {f"R@{k}": float((ranks <= k).mean()) for k in (1, 10, 100)} | {"nDCG@10": float(gain.mean())}


def cross_validate(groups: list[Group], left_out: frozenset[str]) -> Array:
    """The rank of every answer by weights that never saw its question (nor any source left out)."""
    folds = np.random.default_rng(0).integers(0, _FOLDS, len(groups))
    ranks = np.zeros(len(groups))
    for fold in range(_FOLDS):
        seen = [g for g, f in zip(groups, folds, strict=True) if f != fold and g.source not in left_out]
        coefficients = fit(seen)
        for i in np.flatnonzero(folds == fold):
            ranks[i] = rank_of_answer(groups[i], coefficients)
    return ranks


def main() -> None:
    """Command line, see the module's description."""
    parser = argparse.ArgumentParser(description="Train the embedded reranker.")
    parser.add_argument("features", type=Path, nargs="+")
    parser.add_argument("--leave-out", nargs="*", default=[], help="sources never trained on")
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER, help="whose vectors the features are made of")
    parser.add_argument("--blend", type=float, default=0.0, help="share of the plain weights in the result")
    parser.add_argument("--material", choices=["plain", "documents"], default="plain")
    parser.add_argument("--out", type=Path, default=DATA / WEIGHTS_FILE)
    arguments = parser.parse_args()
    groups = [group for path in arguments.features for group in read_groups(path)]
    left_out = frozenset(arguments.leave_out)
    ranks = cross_validate(groups, left_out)
    report = {"all": figures(ranks)}
    for source in sorted({group.source for group in groups}):
        report[source] = figures(ranks[[group.source == source for group in groups]])
    for name, values in report.items():
        print(f"{name:20s}", "  ".join(f"{key} {value:.3f}" for key, value in values.items()))
    trained = [group for group in groups if group.source not in left_out]
    entries = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    learned = dict(zip(FEATURES, fit(trained).tolist(), strict=True))
    plain = entries[arguments.embedder]["coefficients"] if arguments.blend else learned
    named = {n: round(arguments.blend * plain[n] + (1 - arguments.blend) * c, 5) for n, c in learned.items()}
    entries[entry_name(arguments.embedder, arguments.material)] = {
        "coefficients": named,
        "groups": len(trained),
        "cross_validated": report,
    }
    arguments.out.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(named))


if __name__ == "__main__":
    main()
